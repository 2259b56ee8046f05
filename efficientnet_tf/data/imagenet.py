"""ImageNet's classes: WordNet ids and names, in the order of the labels."""

import functools
import importlib.resources


def wordnet_ids() -> tuple[str, ...]:
    """Returns the WordNet id of each label; TFDS has the same order."""
    return tuple(wordnet_id for wordnet_id, _ in _read_classes())


def class_names() -> tuple[str, ...]:
    """Returns the English name of each label."""
    return tuple(name for _, name in _read_classes())


@functools.cache
def _read_classes():
    """Returns (WordNet id, name) of each class."""
    text = importlib.resources.files("efficientnet_tf.data")
    text = text.joinpath("imagenet_classes.txt").read_text()
    return tuple(tuple(line.split(maxsplit=1)) for line in text.splitlines())
