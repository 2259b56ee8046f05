"""A trained network in use: predictions, exact accuracy, what it looks at.

Others use `classifier.from_run`, `classifier.from_weights`,
`evaluate.evaluate`, `explain.class_activation_map` and
`activation_maps.with_activation_map`.
"""
