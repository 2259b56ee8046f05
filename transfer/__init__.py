"""The paper's transfer tasks, and one fine-tuning run on them or your images.

Others use `config.tasks.get_task`, `config.recipes.get_recipe` and
`finetune.finetune_and_evaluate`.
"""
