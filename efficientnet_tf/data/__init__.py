"""From bytes to batches: where images come from, how they are prepared.

Others use `sources.load`, `datasets`, `preprocessing`, and to train
`augmentation` and `mixing`.
"""
