"""Comparing many networks that are trained alike: compound scaling and trials.

`compound_search` looks for α, β and γ, `compound_study` compares growing one
dimension with growing all; `workflow` trains either's networks and finishes a
search, `reports` writes their results, and `explorer` the page that scales the
family live.
"""
