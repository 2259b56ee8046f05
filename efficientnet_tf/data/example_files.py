"""A few images of a set as files, for people to try a network on."""

import os
import pathlib
import re

import tensorflow as tf
from absl import logging

from efficientnet_tf.data import decoding, examples as examples_lib
from efficientnet_tf.utils import figures

EXAMPLE_IMAGES = 8


def save(examples: examples_lib.Examples, folder: str | os.PathLike) -> None:
    """Writes the first images into a folder as PNG files named by class.

    Unreadable images end it with a warning: a run that has come this far does
    not fail by them.
    """
    dataset = examples.dataset.take(EXAMPLE_IMAGES)
    try:
        for i, (image, label) in enumerate(dataset):
            name = re.sub(r"[^\w-]+", "_", examples.class_names[int(label)])
            pixels = decoding.decode(image).numpy()
            figures.write_png(pathlib.Path(folder) / f"{i}_{name}.png", pixels)
    except tf.errors.OpError as error:
        logging.warning("Not all example images are written: %s", error.message)
