"""A few images of a set as files, for people to try a network on."""

import os
import pathlib
import re

import numpy as np
import tensorflow as tf
from absl import logging

from efficientnet_tf.data import decoding, examples as examples_lib
from efficientnet_tf.utils import figures, files, messages

# More classes than this have no image.
MOST_IMAGES = 100


def save(
    examples: examples_lib.Examples,
    folder: str | os.PathLike,
    deep_pixels: str,
) -> None:
    """Writes the first image of each class as a PNG file named by class.

    Unreadable images end it with a warning: a run that has come this far does
    not fail by them.

    Args:
      examples: the set.
      folder: where to.
      deep_pixels: the network's, see `decoding.decode`.
    """
    _, first = np.unique(examples.read_labels(), return_index=True)
    dataset = examples.pick(first[:MOST_IMAGES])
    try:
        for i, (image, label) in enumerate(dataset):
            name = re.sub(r"[^\w-]+", "_", examples.class_names[int(label)])
            pixels = decoding.decode(image, deep_pixels).numpy()
            name = files.shorten_name(f"{i}_{name}")
            figures.write_png(pathlib.Path(folder) / f"{name}.png", pixels)
    except tf.errors.OpError as error:
        logging.warning(
            "Not all example images are written: %s",
            messages.without_graph(error.message),
        )
