"""Many runs: hyper-parameters chosen on validation, final runs scored on test.

Others use `plan.Plan`, `workflow.run_grid`, and `runs` to read the results.
"""
