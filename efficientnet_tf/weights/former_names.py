"""Loads files from before the layers had the names of keras.applications."""

import json
import os
import re
import tempfile
import zipfile

import keras
from absl import logging

from efficientnet_tf.models import layers, plan  # noqa: F401  Registers layers.

_BLOCK = re.compile(r"block(\d+)_(\d+)_(\w+)")
_PARTS = {
    "depthwise_conv": "dwconv",
    "depthwise_bn": "bn",
    "depthwise_activation": "activation",
}
NOTE = "%s has the layer names of an early version; renamed."


def current_name(layer: str) -> str:
    """Returns the present name of a layer of an early version."""
    match = _BLOCK.fullmatch(layer)
    if match:
        block = plan.name_block(int(match[1]), int(match[2]))
        return f"{block}_{_PARTS.get(match[3], match[3])}"
    return re.sub(r"^head_(?=(conv|bn|activation)$)", "top_", layer)


def load_network(path: str | os.PathLike) -> keras.Model:
    """Loads a `.keras` file, uncompiled, with the present layer names.

    Raises:
      OSError: there is no such file.
      ValueError: Keras cannot load it.
    """
    network = keras.models.load_model(path, compile=False)
    if all(current_name(x.name) == x.name for x in network.layers):
        return network
    logging.info(NOTE, path)
    with zipfile.ZipFile(path) as archive:
        config = _rename(json.loads(archive.read("config.json")))
        weights = archive.read("model.weights.h5")
    network = keras.saving.deserialize_keras_object(config)
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "model.weights.h5")
        with open(file, "wb") as stream:
            stream.write(weights)
        network.load_weights(file)
    return network


def _rename(config):
    """Renames layers wherever a model's config names them."""
    if isinstance(config, dict):
        return {key: _rename(value) for key, value in config.items()}
    if isinstance(config, list):
        return [_rename(value) for value in config]
    return current_name(config) if isinstance(config, str) else config
