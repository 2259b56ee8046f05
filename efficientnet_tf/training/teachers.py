"""The teacher that a student is distilled from, by name or from a file."""

import pathlib

import keras
from absl import logging

from efficientnet_tf.inference import classifier
from efficientnet_tf.models import registry
from efficientnet_tf.utils import run_folder
from efficientnet_tf.weights import loading

SAVED_MODEL_FILE = "saved_model.pb"
SIGNATURE = "serving_default"


def check(teacher: str) -> None:
    """Raises ValueError unless `load` can tell what kind of teacher it is."""
    name, separator, _ = teacher.partition(":")
    known = separator and name in registry.list_models()
    if teacher and not known and not _file_of(teacher):
        raise ValueError(
            f"Unknown teacher {teacher!r}; give MODEL:WEIGHTS, such as "
            "efficientnet_lite2:imagenet, a run's workdir or a SavedModel."
        )


def load(teacher: str, classes: int) -> "keras.Model | _SavedModel | None":
    """Returns a frozen network, or None for "".

    Args:
      teacher: "MODEL:WEIGHTS", such as "efficientnet_lite2:imagenet", which
        gets the student's images as they are; or a run's workdir or a
        SavedModel, which get them resized to their own resolution. A
        SavedModel's serving signature must map images [N, H, W, 3] in [0, 255]
        to probabilities.
      classes: the student's number of classes.

    Raises:
      ValueError: an unknown teacher, or one with another number of classes.
    """
    if not teacher:
        return None
    check(teacher)
    file = _file_of(teacher)
    if file is None:
        network = _from_name(teacher, classes)
    elif file.name == run_folder.MODEL_FILE:
        network = _from_run(file.parent)
    else:
        network = _SavedModel(file.parent)
    network.trainable = False
    found = network.output_shape[-1]
    if found != classes:
        raise ValueError(
            f"The teacher {teacher!r} knows {found} classes, but the data set "
            f"has {classes}."
        )
    logging.info("Teacher: %s.", teacher)
    return network


def _file_of(teacher):
    """Returns the file that tells what a folder holds, or None."""
    path = pathlib.Path(teacher).expanduser()
    for name in (run_folder.MODEL_FILE, SAVED_MODEL_FILE):
        if (path / name).exists():
            return path / name
    return None


def _from_name(teacher, classes):
    name, _, weights = teacher.partition(":")
    # Any size, since the teacher gets the student's images.
    return loading.build(
        name, weights=weights, input_shape=(None, None, 3), classes=classes
    )


def _from_run(folder):
    """Returns a run's network for images of any size."""
    run = classifier.from_run(folder)
    images = keras.Input((None, None, 3))
    size = (run.resolution, run.resolution)
    return keras.Model(images, run.model(keras.ops.image.resize(images, size)))


class _SavedModel:
    """The serving signature of a SavedModel, for images of any size."""

    def __init__(self, path):
        import tensorflow as tf  # Not installed for a student under JAX.

        # Kept, because the variables live only as long as this object.
        self._loaded = tf.saved_model.load(str(path))
        if SIGNATURE not in self._loaded.signatures:
            raise ValueError(f"{path} has no signature {SIGNATURE!r}.")
        self._serve = self._loaded.signatures[SIGNATURE]
        inputs = self._serve.structured_input_signature[1]
        outputs = self._serve.structured_outputs
        if len(inputs) != 1:
            raise ValueError(
                f"{path} takes {len(inputs)} inputs; it must take images alone."
            )
        ((self._input, spec),) = inputs.items()
        self._size = tuple(spec.shape)[1:3]
        self._output = "probabilities"
        if self._output not in outputs:
            self._output = next(iter(outputs))
        self.output_shape = tuple(outputs[self._output].shape)

    def __call__(self, images, training=False):
        if None not in self._size:
            images = keras.ops.image.resize(images, self._size)
        return self._serve(**{self._input: images})[self._output]
