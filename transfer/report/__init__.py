"""Results beside the paper's: tables, figures, one HTML page.

Others use `results.read_results`, `results.summarize` and `write.write`.
"""
