"""From bytes to batches: where images come from, how they are prepared.

Others use `sources.load`, `datasets` and `preprocessing`, and for training
`augmentation` and `mixing`.
"""
