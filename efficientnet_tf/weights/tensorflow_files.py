"""Reads TensorFlow's weight files: checkpoints of TF1 and TF2, SavedModels.

A checkpoint of TF1 maps names to arrays. One of TF2 maps places in a graph of
objects to arrays, and the graph says how each variable is named.
"""

import functools
import os
import re
from typing import Any

import numpy as np

from efficientnet_tf.utils import run_folder, untrusted
from efficientnet_tf.weights import checkpoint_index

EMA_SUFFIX = "/ExponentialMovingAverage"
SAVED_MODEL_FILE = run_folder.SAVED_MODEL_FILE

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
# State of training beside the layers.
_TRAINING = re.compile(
    r"(^|/)(_?optimizer|keras_api|loss_tracker|metrics|_?trainer|save_counter)"
    r"(/|$)|\.OPTIMIZER_SLOT"
)
# Where a checkpoint may be, in folders below the one that is named.
_LEVELS = 3
# What the Rescaling layer of our networks becomes in a SavedModel.
_SCALE = re.compile(r"(^|/)preprocessing(_\d+)?/Cast/x$")
_OFFSET = re.compile(r"(^|/)preprocessing(_\d+)?/Cast_1/x$")
# Layers that tell how a network pads.
_STEM = re.compile(r"(?:^|/)(stem_conv|stem_pad)(?:_\d+)?/")


def read_checkpoint(path: str) -> tuple[str, dict[str, np.ndarray]]:
    """Reads a checkpoint, preferring averaged weights.

    Args:
      path: the prefix of a checkpoint, a directory with one, or a SavedModel.

    Returns:
      The layout of the names, "tensorflow" as in the official code or "keras",
      and the arrays by name.

    Raises:
      ImportError: TensorFlow is not installed.
      ValueError: there is no checkpoint, or it is damaged.
    """
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ImportError(
            f"{path} is a TensorFlow checkpoint; reading it needs TensorFlow: "
            "pip install tensorflow."
        ) from error

    prefix = _find_prefix(path)
    checkpoint_index.check(prefix)
    with untrusted.reading(prefix):
        reader = tf.train.load_checkpoint(prefix)
        names = reader.get_variable_to_shape_map()
        if _OBJECT_GRAPH in names:
            arrays = _read_objects(reader)
        else:
            arrays = _read_names(reader, names)
    official = any(re.search(r"(^|/)stem/conv2d/kernel$", n) for n in arrays)
    if _OBJECT_GRAPH in names and not official:
        return "keras", arrays
    return "tensorflow", arrays


def read_graph(folder: str) -> tuple[tuple | None, tuple[str, ...]]:
    """Returns what the graph of a SavedModel of ours says of its network.

    Returns:
      The (mean, std) of its input, or None; and its layers at the stem.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    path = os.path.join(folder, SAVED_MODEL_FILE)
    with untrusted.open_file(path) as file:
        text = file.read()
    with untrusted.reading(path):
        saved = saved_model_pb2.SavedModel.FromString(text)
        functions = saved.meta_graphs[0].graph_def.library.function
        nodes = [node for function in functions for node in function.node_def]
        stem = {
            layer for node in nodes for layer in _STEM.findall(f"{node.name}/")
        }
        return _read_normalization(nodes), tuple(sorted(stem))


def _read_normalization(nodes):
    import tensorflow as tf

    found: dict[str, Any] = {}
    for node in nodes:
        if node.op != "Const":
            continue
        for key, pattern in (("scale", _SCALE), ("offset", _OFFSET)):
            tensor = node.attr["value"].tensor
            # Compared before an array of that shape is made.
            sides = [dimension.size for dimension in tensor.tensor_shape.dim]
            if pattern.search(node.name) and sides == [3]:
                value = tf.make_ndarray(tensor)
                found[key] = np.asarray(value, np.float64)
    if len(found) < 2:
        return None
    if not np.isfinite(list(found.values())).all() or not found["scale"].all():
        raise ValueError("its layers make nothing of pixels")
    mean, std = -found["offset"] / found["scale"], 1 / found["scale"]
    return tuple(mean.tolist()), tuple(std.tolist())


def _read_names(reader, names):
    arrays = {}
    for name in names:
        # The official evaluation restores moving averages, also of batch
        # statistics; utils.py of tensorflow/tpu.
        if f"{name}{EMA_SUFFIX}" not in names:
            value = _read_numbers(reader, name)
            if value is not None:
                arrays[name.removesuffix(EMA_SUFFIX)] = value
    return arrays


def _read_numbers(reader, name):
    """Returns a tensor, or None for one of texts."""
    value = reader.get_tensor(name)
    if getattr(value, "dtype", None) == "bfloat16":
        value = value.astype(np.float32)
    return value if np.asarray(value).dtype.kind in "fiub" else None


def _read_objects(reader):
    """Names each variable "<models around it>/<layer>/<weight>"."""
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(
        reader.get_tensor(_OBJECT_GRAPH)
    )
    arrays = {}
    # A key may stand in many nodes.
    read = functools.cache(lambda key: _read_numbers(reader, key))
    for node in graph.nodes:
        for attribute in node.attributes:
            key = attribute.checkpoint_key
            if key.endswith(_VALUE_SUFFIX) and not _TRAINING.search(key):
                name = attribute.full_name.removesuffix(":0")
                place = key.removesuffix(_VALUE_SUFFIX).split("/")
                # The last steps lead to the layer and its weight, or, in what
                # Keras exports, to an item of one list.
                steps = 1 if place[-1].isdigit() else name.count("/") + 1
                around = place[:-steps]
                if around and around[-1] in ("variables", "_all_variables"):
                    around = around[:-1]
                value = read(key)
                if value is not None:
                    arrays["/".join([*around, name])] = value
    return arrays


def _find_prefix(path):
    if not os.path.isdir(path):
        return path
    if os.path.exists(os.path.join(path, SAVED_MODEL_FILE)):
        return os.path.join(path, "variables", "variables")
    # Not from the file `checkpoint`: published ones hold their authors' paths.
    prefixes = sorted(
        os.path.join(folder, file).removesuffix(".index")
        for folder, files in _walk(path)
        for file in files
        if file.endswith(".index")
    )
    if not prefixes:
        raise untrusted.DamagedError(
            f"{path} is a directory without a checkpoint."
        )

    def step(prefix):
        number = re.search(r"-(\d+)$", prefix)
        return int(number[1]) if number else -1

    return max(prefixes, key=step)


def _walk(path):
    """Yields (folder, files) of a folder and those near below it.

    A published archive has a folder within a folder; a home has a million.
    """
    for folder, folders, files in os.walk(path):
        if os.path.relpath(folder, path).count(os.sep) >= _LEVELS:
            folders.clear()
        yield folder, files
