"""Loads files from before the layers had the names of keras.applications."""

import os
import re
import tempfile

import keras
from absl import logging

from efficientnet_tf.models import (  # Registers layers.
    class_token,  # noqa: F401
    fake_quantization,  # noqa: F401
    layers,  # noqa: F401
    plan,
)
from efficientnet_tf.utils import untrusted
from efficientnet_tf.weights import keras_configs, keras_files

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
      ValueError: it is damaged, or has what no network of ours has.
    """
    path = os.fspath(path)
    config, weights = keras_files.read_loadable(path)
    former = any(
        current_name(layer["config"].get("name") or "")
        != layer["config"].get("name", "")
        for layer in keras_configs.list_layers(config)
    )
    with untrusted.reading(path):
        if not former:
            return keras.models.load_model(path, compile=False)
        logging.info(NOTE, path)
        network = keras.saving.deserialize_keras_object(_rename(config))
        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, keras_files.WEIGHTS_FILE)
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
