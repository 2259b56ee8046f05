"""From bytes to batches: where images come from, how they are prepared.

Others use `sets.sources.load`, `datasets` and `preprocessing`, and for training
`augment.augmentation` and `augment.mixing`.
"""
