"""Reads weight files into arrays under the names that the files use.

Which layer a name belongs to is the business of `name_maps`.
"""

import dataclasses
import io
import json
import os
import re
import zipfile

import numpy as np

from efficientnet_tf.weights import torch_files

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
ZIP_MAGIC = b"PK\x03\x04"
PICKLE_PROTOCOL_OPCODE = b"\x80"

# Attributes that `loading.save` writes on the root of a .weights.h5.
MODEL_ATTRIBUTE = "efficientnet_tf_model"
NORMALIZATION_ATTRIBUTE = "efficientnet_tf_normalization"

EMA_SUFFIX = "/ExponentialMovingAverage"

# In the order in which Keras 3 numbers a layer's variables.
_BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
_NORMALIZATION = ("mean", "variance", "count")
_DENSE = ("kernel", "bias")


@dataclasses.dataclass(frozen=True)
class Tensors:
    """The content of a file.

    `layout` is "keras", "tensorflow" or "pytorch". In the "keras" layout
    `layers` names all layers of the saved model, those without weights
    included, and `normalization` is the (mean, std) that our own files state.
    `architecture` is what a PyTorch file calls its network, if it does.
    """

    layout: str
    arrays: dict[str, np.ndarray]
    layers: tuple[str, ...] = ()
    normalization: tuple | None = None
    architecture: str | None = None


def read(path: str | os.PathLike) -> Tensors:
    """Reads a weight file of any format, recognized by its content.

    Args:
      path: a Keras `.h5`, `.weights.h5` or `.keras`; a PyTorch `.pth` or
        `.safetensors`; the prefix of a TensorFlow checkpoint, or a directory
        with one.

    Raises:
      OSError: there is no such file.
      ValueError: the format is unknown, or the file is truncated or refused.
    """
    path = os.fspath(path)
    prefix = path.removesuffix(".index")
    if os.path.isdir(path) or os.path.exists(f"{prefix}.index"):
        return _read_checkpoint(prefix)
    if not os.path.exists(path):
        raise FileNotFoundError(f"There is no weight file at {path}.")
    with open(path, "rb") as file:
        head = file.read(16)
    if head.startswith(HDF5_MAGIC):
        return _read_hdf5(path, path)
    if head.startswith(ZIP_MAGIC):
        return _read_zip(path)
    if head.startswith(PICKLE_PROTOCOL_OPCODE):
        return _from_state_dict(torch_files.read_pickled(path))
    if head[8:9] == b"{":
        return _from_state_dict(torch_files.read_safetensors(path))
    raise ValueError(
        f"{path} is not a weight file of a known format: expected a Keras .h5, "
        ".weights.h5 or .keras, a TensorFlow checkpoint, a PyTorch .pth or "
        ".safetensors."
    )


def _from_state_dict(state):
    return Tensors("pytorch", state.arrays, architecture=state.architecture)


def _read_zip(path):
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if "model.weights.h5" not in names:
                return _from_state_dict(torch_files.read_pickled(path))
            tensors = _read_hdf5(
                io.BytesIO(archive.read("model.weights.h5")), path
            )
            config = json.loads(archive.read("config.json"))
    except (zipfile.BadZipFile, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged: {error}.") from error
    layers = config.get("config", {}).get("layers", ())
    return dataclasses.replace(tensors, normalization=_preprocessing_of(layers))


def _preprocessing_of(layers):
    """Returns (mean, std) of our model's first layer, or None."""
    for layer in layers:
        if layer.get("config", {}).get("name") == "preprocessing":
            scale = np.asarray(layer["config"]["scale"], np.float64)
            offset = np.asarray(layer["config"]["offset"], np.float64)
            if scale.shape == offset.shape == (3,):
                return tuple(-offset / scale), tuple(1 / scale)
    return None


def _read_hdf5(file, path):
    import h5py

    try:
        with h5py.File(file, "r") as root:
            items = _items(root)
            if "layers" in items:
                return _read_keras3(root, items)
            return _read_legacy(items)
    # What h5py raises for damaged files.
    except (OSError, RuntimeError, LookupError) as error:
        raise ValueError(f"{path} is damaged: {error}.") from error


def _read_legacy(items):
    """Reads <layer>/<layer>/<variable>, the layout of Keras 2."""
    # `model.save` puts the layers one level deeper, beside the optimizer.
    prefix = "model_weights/" if "model_weights" in items else ""
    arrays, layers = {}, []
    for path, item in items.items():
        if not path.startswith(prefix):
            continue
        parts = path.removeprefix(prefix).split("/")
        if len(parts) == 1:
            layers.append(parts[0])
        elif hasattr(item, "dtype"):
            # More parts where a model is a layer of another one.
            layer, variable = parts[-2:]
            name = f"{layer}/{variable.removesuffix(':0')}"
            arrays[name] = _array(item)
    return Tensors("keras", arrays, tuple(layers))


def _read_keras3(root, items):
    """Reads layers/<class>_<n>/vars/<i>, the layout of Keras 3."""
    arrays, layers = {}, []
    normalization = root.attrs.get(NORMALIZATION_ATTRIBUTE)
    if normalization is not None:
        mean, std = np.asarray(normalization, np.float64)
        normalization = tuple(mean.tolist()), tuple(std.tolist())
    for path, item in items.items():
        match = re.fullmatch(r"layers/([^/]+)(?:/vars/(\d+))?", path)
        if not match:
            continue
        # The group is named by the layer's class and a count; the layer's name
        # is an attribute, which early releases of Keras 3 did not write.
        variables = items.get(f"layers/{match[1]}/vars")
        name = getattr(variables, "attrs", {}).get("name", match[1])
        if match[2] is None:
            layers.append(name)
            continue
        names = _variable_names(name)
        index = int(match[2])
        if index >= len(names):
            raise ValueError(f"{name} has more than {len(names)} weights.")
        arrays[f"{name}/{names[index]}"] = _array(item)
    return Tensors("keras", arrays, tuple(layers), normalization)


def _variable_names(layer):
    if re.search(r"(_bn|^batch_normalization(_\d+)?)$", layer):
        return _BATCH_NORM
    if re.match(r"normalization(_\d+)?$", layer):
        return _NORMALIZATION
    return _DENSE


def _items(root):
    """Returns {path: group or dataset} of the file itself.

    `visititems` follows neither soft nor external links; the latter could lead
    to other files on this machine.
    """
    items = {}
    root.visititems(items.__setitem__)
    return items


def _array(dataset):
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{dataset.name} points outside the file; refused.")
    if dataset.dtype.kind not in "fiub":
        raise ValueError(f"{dataset.name} is not numeric.")
    return np.asarray(dataset[()])


def _read_checkpoint(path):
    """Reads a TensorFlow checkpoint, preferring averaged weights."""
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ImportError(
            f"{path} is a TensorFlow checkpoint; reading it needs TensorFlow: "
            "pip install tensorflow."
        ) from error

    prefix = _find_prefix(path)
    try:
        reader = tf.train.load_checkpoint(prefix)
        names = reader.get_variable_to_shape_map()
        arrays = {}
        for name in names:
            # The official evaluation restores moving averages, also of batch
            # statistics; utils.py of tensorflow/tpu.
            if f"{name}{EMA_SUFFIX}" not in names:
                arrays[name.removesuffix(EMA_SUFFIX)] = reader.get_tensor(name)
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        message = str(error).splitlines()[0]
        raise ValueError(f"{prefix} is damaged: {message}.") from error
    return Tensors("tensorflow", arrays)


def _find_prefix(path):
    if not os.path.isdir(path):
        return path
    # Not from the file `checkpoint`: published ones hold their authors' paths.
    prefixes = sorted(
        os.path.join(folder, file).removesuffix(".index")
        for folder, _, files in os.walk(path)
        for file in files
        if file.endswith(".index")
    )
    if not prefixes:
        raise ValueError(f"{path} is a directory without a checkpoint.")

    def step(prefix):
        number = re.search(r"-(\d+)$", prefix)
        return int(number[1]) if number else -1

    return max(prefixes, key=step)
