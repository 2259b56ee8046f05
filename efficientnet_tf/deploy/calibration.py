"""Images whose activations set the ranges of int8."""

from collections.abc import Callable

import numpy as np
from absl import logging

from efficientnet_tf.data import examples as examples_lib
from efficientnet_tf.utils import targets, words

# Of records, which cannot be read out of order, only so many are looked at.
_LOOKED_AT = 20_000


def pick(
    examples: examples_lib.Examples,
    count: int,
    preprocess: Callable,
    scored: examples_lib.Examples | None = None,
) -> np.ndarray:
    """Returns images [M, size, size, 3], as many of each class as there are.

    Args:
      examples: what the network was trained on.
      count: how many; M is less where there are fewer.
      preprocess: the classifier's.
      scored: what an export will be scored on; none of these is taken.

    Raises:
      ValueError: images that are also scored would be among them, or none is
        left.
    """
    shared = 0 if scored is None else examples.count_shared(scored)
    if shared:
        raise ValueError(
            f"{words.count(shared, 'image')} for calibration would be scored, "
            "too; name splits without common images."
        )
    if examples.target != targets.CLASS:
        # They have no classes to be balanced: all count alike.
        places = _find_unscored(examples, np.zeros(examples.size), scored)
        places = np.random.default_rng(0).permutation(places)[:count]
        return np.stack(
            [preprocess(image) for image, _ in examples.pick(places)]
        )
    is_indexed = isinstance(examples.source, examples_lib.Indexed)
    looked_at = examples.dataset.take(_LOOKED_AT)
    if is_indexed:  # Without reading the images.
        labels = examples.read_labels()
    else:
        labels = looked_at.map(lambda _, label: label)
        labels = np.fromiter(labels.as_numpy_iterator(), "int64")
        if examples.size > len(labels):
            logging.warning(
                "Calibrated on the first %d of %s.",
                len(labels),
                words.count(examples.size, "record"),
            )
    places = _balance(labels, _find_unscored(examples, labels, scored), count)
    if not len(places):
        raise ValueError("All images for calibration would be scored, too.")
    if is_indexed:
        return np.stack(
            [preprocess(image) for image, _ in examples.pick(places)]
        )
    wanted = np.isin(np.arange(len(labels)), places)
    rows = zip(wanted, looked_at, strict=True)
    return np.stack([preprocess(image) for keep, (image, _) in rows if keep])


def _find_unscored(examples, labels, scored):
    """Returns the places of images that are not scored, by their hashes."""
    hashes = getattr(examples.source, "sha256", None)
    if scored is None or hashes is None:
        return np.arange(len(labels))
    known = {*(getattr(scored.source, "sha256", None) or ())}
    return np.flatnonzero([digest not in known for digest in hashes])


def _balance(labels, places, count):
    """Returns `count` of the places, the classes in turn, in a fixed order."""
    places = np.random.default_rng(0).permutation(places)
    own = labels[places]
    # How many of its class come before each.
    order = np.argsort(own, kind="stable")
    starts = np.searchsorted(own[order], own[order], side="left")
    turn = np.empty(len(places), "int64")
    turn[order] = np.arange(len(places)) - starts
    return places[np.argsort(turn, kind="stable")[:count]]
