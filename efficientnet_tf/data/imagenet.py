"""ImageNet's classes: WordNet ids and names, in the order of the labels."""

import functools
import importlib.resources
from typing import Any

import numpy as np


def wordnet_ids() -> tuple[str, ...]:
    """Returns the WordNet id of each label; TFDS has the same order."""
    return tuple(wordnet_id for wordnet_id, _ in _read_classes())


def class_names() -> tuple[str, ...]:
    """Returns the English name of each label."""
    return tuple(name for _, name in _read_classes())


def decode_predictions(
    preds: Any, top: int = 5
) -> list[list[tuple[str, str, float]]]:
    """Returns the likeliest ImageNet classes of each image, the first first.

    Args:
      preds: probabilities or logits [N, 1000].
      top: how many classes.

    Returns:
      For each image a list of (WordNet id, name, score), names with
      underscores as in keras.applications: ("n02510455", "giant_panda", 0.9).

    Raises:
      ValueError: another shape, or `top` out of range.
    """
    ids, names = wordnet_ids(), class_names()
    scores = np.asarray(preds)
    if scores.ndim != 2 or scores.shape[1] != len(ids):
        raise ValueError(
            f"preds must be a batch of ImageNet predictions [N, {len(ids)}], "
            f"got shape {scores.shape}."
        )
    if not 1 <= top <= len(ids):
        raise ValueError(f"top={top} must be from 1 to {len(ids)}.")
    return [
        [
            (ids[i], names[i].replace(" ", "_"), row[i])
            for i in np.argsort(-row, kind="stable")[:top]
        ]
        for row in scores
    ]


@functools.cache
def _read_classes():
    """Returns (WordNet id, name) of each class."""
    text = importlib.resources.files("efficientnet_tf.data")
    text = text.joinpath("imagenet_classes.txt").read_text()
    return tuple(tuple(line.split(maxsplit=1)) for line in text.splitlines())
