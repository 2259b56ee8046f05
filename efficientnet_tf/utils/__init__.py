"""What every room needs and no framework: files, configs, figures, workers.

Others use any of its modules: `files` and `run_folder` for what is on disk,
`configs` for checked dataclasses, `tables` and `figures` for output, `workers`
for runs that processes share, `extras` for optional packages.
"""
