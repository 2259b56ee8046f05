"""The paper's transfer tasks, and one fine-tuning run on them or your images.

Others use `tasks.get_task`, `recipes.get_recipe` and
`finetune.finetune_and_evaluate`.
"""
