"""What a network is: its specification, its plan, its layers and its cost.

Others use `registry.get_variant`, `builder.build`, `plan.plan_network`,
`costs.count_costs`, `profile.profile`, `features` and `scaling`.
"""
