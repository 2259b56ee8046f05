"""Training, from a recipe to a finished run, with `fit` as the loop.

Other rooms use `train.train_and_evaluate`, `recipes.get_recipe` and
`checkpoints`, and assemble a run of their own from `train_state.create` and
`callbacks.list_callbacks`.
"""
