"""The search for a baseline: spaces, objectives, searchers, evaluators."""
