"""A few images of a set as files, for people to try a network on."""

import os
import pathlib
import re

import numpy as np
import tensorflow as tf
from absl import logging

from efficientnet_tf.data import examples as examples_lib
from efficientnet_tf.data.images import decoding
from efficientnet_tf.utils import figures, files, messages, targets

# More classes than this have no image.
MOST_IMAGES = 100
# Where there are no classes.
SOME_IMAGES = 8


def save(
    examples: examples_lib.Examples,
    folder: str | os.PathLike,
    deep_pixels: str,
) -> None:
    """Writes the first image of each class as a PNG file named by class.

    Of labels, the first of each label; of numbers, a few from all over.

    Unreadable images end it with a warning: a run that has come this far does
    not fail by them.

    Args:
      examples: the set.
      folder: where to.
      deep_pixels: the network's, see `decoding.decode`.
    """
    named = _pick(examples)
    places = sorted(named)
    try:
        for i, (image, _) in enumerate(examples.pick(np.array(places))):
            name = re.sub(r"[^\w-]+", "_", named[places[i]])
            pixels = decoding.decode(image, deep_pixels).numpy()
            name = files.shorten_name(f"{i}_{name}")
            figures.write_png(pathlib.Path(folder) / f"{name}.png", pixels)
    except tf.errors.OpError as error:
        logging.warning(
            "Not all example images are written: %s",
            messages.without_graph(error.message),
        )


def _pick(examples):
    """Returns {place: a name} of the images to write."""
    labels, names = examples.read_labels(), examples.class_names
    if examples.target == targets.NUMBERS:
        places = np.linspace(0, len(labels) - 1, SOME_IMAGES).astype(int)
        return {int(place): "image" for place in places}
    if examples.target == targets.LABELS:
        first = [(c.argmax(), n) for c, n in zip(labels.T, names, strict=True)]
        chosen = [(place, n) for place, n in first if labels[place].any()]
    else:
        values, first = np.unique(labels, return_index=True)
        chosen = [
            (place, names[value])
            for place, value in zip(first, values, strict=True)
        ]
    return {int(place): name for place, name in chosen[:MOST_IMAGES]}
