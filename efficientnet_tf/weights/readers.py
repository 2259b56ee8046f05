"""Reads weight files into arrays under the names that the files use.

Which layer a name belongs to is the business of `name_maps`.
"""

import dataclasses
import os
from typing import Any

import numpy as np

from efficientnet_tf.utils import untrusted
from efficientnet_tf.weights import keras_files, tensorflow_files, torch_files

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
ZIP_MAGIC = b"PK\x03\x04"
PICKLE_PROTOCOL_OPCODE = b"\x80"


@dataclasses.dataclass(frozen=True)
class Tensors:
    """The content of a file.

    `layout` is "keras", "tensorflow" or "pytorch". In the "keras" layout
    `layers` names all layers of the saved model, those without weights
    included, and `config` is that of the model, where the file has them;
    `numbered` says that it is in the layout of Keras 3. `normalization` is the
    (mean, std) that our own files state. `architecture` is what a PyTorch file
    calls its network, if it does.
    """

    layout: str
    arrays: dict[str, np.ndarray]
    layers: tuple[str, ...] = ()
    numbered: bool = False
    config: dict[str, Any] | None = None
    normalization: tuple | None = None
    architecture: str | None = None


def read(path: str | os.PathLike) -> Tensors:
    """Reads a weight file of any format, recognized by its content.

    Args:
      path: a Keras `.h5`, `.weights.h5` or `.keras`; a PyTorch `.pth` or
        `.safetensors`; the prefix of a TensorFlow checkpoint, a directory
        with one, or a SavedModel.

    Raises:
      OSError: there is no such file.
      ValueError: the format is unknown, or the file is truncated or refused.
    """
    path = os.fspath(path)
    prefix = path.removesuffix(".index")
    if os.path.isdir(path) or os.path.exists(f"{prefix}.index"):
        return _read_tensorflow(prefix)
    if not os.path.exists(path):
        raise FileNotFoundError(f"There is no weight file at {path}.")
    with untrusted.open_file(path) as file:
        head = file.read(16)
    if head.startswith(HDF5_MAGIC):
        return Tensors("keras", **vars(keras_files.read_hdf5(path, path)))
    if head.startswith(ZIP_MAGIC):
        saved = keras_files.read_archive(path)
        if saved is None:
            return _from_state_dict(torch_files.read_pickled(path))
        return Tensors("keras", **vars(saved))
    # Before pickles: a header's length may begin like one.
    if head[4:9] == b"\0\0\0\0{":
        return _from_state_dict(torch_files.read_safetensors(path))
    if head.startswith(PICKLE_PROTOCOL_OPCODE):
        return _from_state_dict(torch_files.read_pickled(path))
    if head[8:9] == b"{":
        return _from_state_dict(torch_files.read_safetensors(path))
    raise untrusted.DamagedError(
        f"{path} is not a weight file of a known format: expected a Keras .h5, "
        ".weights.h5 or .keras, a TensorFlow checkpoint or SavedModel, a "
        "PyTorch .pth or .safetensors."
    )


def _from_state_dict(state):
    return Tensors("pytorch", state.arrays, architecture=state.architecture)


def _read_tensorflow(path):
    layout, arrays = tensorflow_files.read_checkpoint(path)
    saved_model = os.path.join(path, tensorflow_files.SAVED_MODEL_FILE)
    normalization, layers = None, ()
    if os.path.exists(saved_model):
        normalization, layers = tensorflow_files.read_graph(path)
    return Tensors(layout, arrays, layers, normalization=normalization)
