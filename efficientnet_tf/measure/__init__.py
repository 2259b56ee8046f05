"""What a network costs on this machine, and which one to take for a budget.

Other rooms use `choose.survey` and `choose.choose`, `cache.measure`,
`cost_table` and `cost_charts`, and `pareto.pareto_front`.
"""
