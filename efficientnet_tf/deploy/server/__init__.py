"""A classifier behind HTTP: TF Serving's REST, Open Inference Protocol, curl.

Others use `serving.serve` and `limits.Limits`.
"""
