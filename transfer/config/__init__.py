"""What is fine-tuned, and how: tasks, recipes, and the fields of a run."""
