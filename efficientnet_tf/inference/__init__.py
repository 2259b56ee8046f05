"""A trained network in use: predictions for image files, exact accuracy.

Others use `classifier.from_run`, `classifier.from_weights` and
`evaluate.evaluate`.
"""
