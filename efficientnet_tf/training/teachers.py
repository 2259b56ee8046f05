"""The teacher that a student is distilled from, by name or from a file."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
from absl import logging

from efficientnet_tf.data import imagenet
from efficientnet_tf.inference import (
    class_names as class_names_lib,
    classifier,
    signatures,
)
from efficientnet_tf.models import registry
from efficientnet_tf.utils import run_folder, targets


def check(teacher: str) -> None:
    """Raises ValueError unless `load` can tell what kind of teacher it is."""
    name, separator, _ = teacher.partition(":")
    known = separator and name in registry.list_models()
    if teacher and not known and not _file_of(teacher):
        raise ValueError(
            f"Unknown teacher {teacher!r}; give MODEL:WEIGHTS, such as "
            "efficientnet_lite2:imagenet, a run's workdir or a SavedModel."
        )


def load(
    teacher: str, class_names: Sequence[str]
) -> "Callable[..., Any] | None":
    """Returns a frozen network, or None for "".

    Args:
      teacher: "MODEL:WEIGHTS", such as "efficientnet_lite2:imagenet", which
        gets the student's images as they are; or a run's workdir or a
        SavedModel, which get them resized to their own resolution. A
        SavedModel's serving signature must map images [N, H, W, 3] in [0, 255]
        to probabilities.
      class_names: the student's. The teacher's classes are matched with them by
        name; a SavedModel without names must have as many.

    Raises:
      ValueError: an unknown teacher, or one with other classes.
    """
    if not teacher:
        return None
    check(teacher)
    file = _file_of(teacher)
    if file is None:
        network, known = _from_name(teacher)
    elif file.name == run_folder.MODEL_FILE:
        network, known = _from_run(file.parent)
    else:
        signatures.warn(file.parent)
        network = signatures.SavedModel(file.parent)
        known = network.class_names
    network.trainable = False
    outputs = _match(teacher, network, known, class_names)
    logging.info("Teacher: %s.", teacher)
    if outputs == tuple(range(len(class_names))):
        return network
    return _Reordered(network, outputs)


def _match(teacher, network, known, wanted):
    """Returns the teacher's output of each of the student's classes."""
    found = network.output_shape[-1]
    if found != len(wanted):
        raise ValueError(
            f"The teacher {teacher!r} knows {found} classes, but the data set "
            f"has {len(wanted)}."
        )
    if known is None:
        logging.warning(
            "The teacher %s does not name its classes; its outputs are taken "
            "in the data set's order.",
            teacher,
        )
        return tuple(range(found))
    try:
        return class_names_lib.match(known, wanted).outputs
    except ValueError as error:
        raise ValueError(f"The teacher {teacher!r}: {error}") from None


class _Reordered:
    """A teacher with its outputs in the order of the student's classes."""

    def __init__(self, network, order):
        self.trainable = False
        self._network = network
        self._order = order

    def __call__(self, images, training=False):
        scores = self._network(images, training=training)
        return keras.ops.take(scores, self._order, axis=-1)


def _file_of(teacher):
    """Returns the file that tells what a folder holds, or None."""
    path = pathlib.Path(teacher).expanduser()
    for name in (run_folder.MODEL_FILE, signatures.SAVED_MODEL_FILE):
        if (path / name).exists():
            return path / name
    return None


def _from_name(teacher):
    """Returns (network for images of any size, class names)."""
    name, _, weights = teacher.partition(":")
    network = classifier.load_imagenet_network(name, weights, None)
    return network, imagenet.class_names()


def _from_run(folder):
    """Returns (a run's network for images of any size, class names)."""
    run = classifier.from_run(folder)
    targets.check_class(run.target, "A teacher", f"the run {folder}")
    images = keras.Input((None, None, 3))
    resized = keras.ops.image.resize(images, run.size)
    return keras.Model(images, run.model(resized)), run.class_names
