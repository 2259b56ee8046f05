"""A SavedModel's serving signature as a network, checked before use."""

import pathlib
from typing import Any

import keras
import numpy as np
from absl import logging

from efficientnet_tf.utils import untrusted
from efficientnet_tf.weights import checkpoint_index, tensorflow_files

SAVED_MODEL_FILE = tensorflow_files.SAVED_MODEL_FILE
SIGNATURE = "serving_default"
# Outputs of our own exports.
PROBABILITIES, NUMBERS = "probabilities", "numbers"
NAMES = "class_names"


def warn(path: pathlib.Path) -> None:
    """Says, of a SavedModel that a user has named, that it is a program."""
    logging.warning(
        "%s is a SavedModel, a program whose operations can read and write "
        "files; load only what you trust.",
        path,
    )


class SavedModel:
    """The serving signature of a SavedModel, for images of any size.

    Args:
      path: its folder, which the user has named: a SavedModel is a program.

    Raises:
      OSError: a file is missing.
      untrusted.DamagedError: it is damaged, or maps other things than images to
        probabilities.
    """

    def __init__(self, path: pathlib.Path):
        import tensorflow as tf  # Not installed for a student under JAX.

        untrusted.check_file(path / SAVED_MODEL_FILE)
        prefix = path / "variables" / "variables"
        if prefix.with_suffix(".index").exists():
            checkpoint_index.check(str(prefix))
        with untrusted.reading(path, "not a readable SavedModel"):
            # Kept, because the variables live only as long as this object.
            self._loaded = tf.saved_model.load(str(path))
        if SIGNATURE not in self._loaded.signatures:
            raise untrusted.DamagedError(
                f"{path} has no signature {SIGNATURE!r}."
            )
        self._serve = self._loaded.signatures[SIGNATURE]
        self._input, self.size = _check_inputs(path, self._serve)
        self._output, classes = _check_outputs(path, self._serve)
        self.output_shape = (None, classes)
        self.class_names = None
        if NAMES in self._serve.structured_outputs and None not in self.size:
            self.class_names = self._read_names(path)

    def _read_names(self, path):
        images = keras.ops.zeros((1, *self.size, 3))
        with untrusted.reading(path, "not a readable SavedModel"):
            names = self._serve(**{self._input: images})[NAMES].numpy()
            names = tuple(name.decode() for name in names.tolist())
        if len(names) != self.output_shape[-1]:
            raise untrusted.DamagedError(
                f"{path} names {len(names)} of its {self.output_shape[-1]} "
                "classes."
            )
        return names

    def __call__(self, images: Any, training: bool = False) -> Any:
        """Returns the probabilities [N, classes] of images [N, H, W, 3]."""
        if None not in self.size:
            images = keras.ops.image.resize(images, self.size)
        return self._serve(**{self._input: images})[self._output]

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        """Returns the probabilities [N, classes] of images [N, H, W, 3]."""
        return np.asarray(self(keras.ops.convert_to_tensor(images)))


def _check_inputs(path, serve):
    """Returns the name of a signature's images, and their height and width."""
    inputs = serve.structured_input_signature[1]
    if len(inputs) != 1:
        raise untrusted.DamagedError(
            f"{path} takes {len(inputs)} inputs; it must take images alone."
        )
    ((name, spec),) = inputs.items()
    shape = spec.shape.as_list() if spec.shape.rank == 4 else ()
    if (
        spec.dtype.name != "float32"
        or len(shape) != 4
        or shape[0] is not None
        or shape[3] not in (3, None)
        or shape[1:3].count(None) == 1
    ):
        raise untrusted.DamagedError(
            f"{path} takes {spec.dtype.name} {spec.shape}; it must take images "
            "float32 [N, H, W, 3], of any N."
        )
    return name, tuple(shape[1:3])


def _check_outputs(path, serve):
    """Returns the name of a signature's probabilities, and how many."""
    outputs = serve.structured_outputs
    name = NUMBERS if NUMBERS in outputs else PROBABILITIES
    if name not in outputs:
        name = next(iter(outputs), None)
    spec = outputs.get(name)
    shape = [] if spec is None or spec.shape.rank != 2 else spec.shape.as_list()
    if (
        len(shape) != 2
        or shape[0] is not None
        or shape[1] is None
        or not spec.dtype.is_floating
    ):
        found = f"{spec.dtype.name} {spec.shape}" if spec else "nothing"
        raise untrusted.DamagedError(
            f"{path} gives {found}; it must give probabilities [N, classes], "
            "of any N."
        )
    return name, shape[1]
