"""Grids of runs: `plan.Plan` says what to run; `runs.work` does it."""
