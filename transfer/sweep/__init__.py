"""Many runs: hyper-parameters chosen on validation, final runs scored on test.

Others use `plan.Plan`, and `runs` to work on it and to read its results.
"""
