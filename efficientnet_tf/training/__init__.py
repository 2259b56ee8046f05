"""Training: recipes, optimizers, the train step under `fit`, a whole run.

Others use `train.train_and_evaluate`, `recipes.get_recipe`, `checkpoints`, and
for a run of their own `train_state.create` and `callbacks.list_callbacks`.
"""
