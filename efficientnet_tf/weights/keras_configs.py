"""The configuration of a Keras model in a file: checked once, where it is read.

Whoever reads it after `parse` may rely on its shape: a model is an object with
a "class_name" and a "config", whose "layers", if it has any, are such objects.
`check_loadable` goes further: what Keras makes of it runs nothing of the file's
and takes no more memory than its weights.
"""

import math
import os
from collections.abc import Iterator
from typing import Any

from efficientnet_tf.utils import documents, untrusted

_MAX_LAYERS = 20_000  # L2 has 1,900.
_MAX_SIDE = 1 << 20  # Of any shape.

_OWN = "efficientnet_tf>"  # How Keras registers our classes and functions.

# Module -> classes: what our networks are made of. A list of what is allowed,
# since Keras has ever more classes that carry code, load models or read files.
_ALLOWED = {
    "keras": ("DTypePolicy",),
    "keras.initializers": (
        "GlorotUniform",
        "Ones",
        "VarianceScaling",
        "Zeros",
    ),
    "keras.layers": (
        "Activation",
        "Add",
        "BatchNormalization",
        "Concatenate",
        "Conv2D",
        "Dense",
        "DepthwiseConv2D",
        "Dropout",
        "GlobalAveragePooling2D",
        "GlobalMaxPooling2D",
        "InputLayer",
        "LayerNormalization",
        "MaxPooling2D",
        "MultiHeadAttention",
        "Multiply",
        "Rescaling",
        "Reshape",
        "ZeroPadding2D",
    ),
    "keras.src.models.functional": ("Functional",),
    "keras.src.ops.numpy": ("GetItem",),
    None: ("__keras_tensor__", "__slice__"),
}
_OWN_LAYERS = (
    "BatchNormalization",
    "ClassToken",
    "Dropout",
    "FakeQuant",
    "FakeQuantProbabilities",
    "QuantizedConv2D",
    "QuantizedDense",
    "QuantizedDepthwiseConv2D",
    "QuantizedRescaling",
)

# Layers with weights, whose input's shape must be stated: Keras allocates them
# by it.
_WEIGHTED = {
    "BatchNormalization",
    "ClassToken",
    "Conv2D",
    "Dense",
    "DepthwiseConv2D",
    "LayerNormalization",
    "MultiHeadAttention",
    "QuantizedConv2D",
    "QuantizedDense",
    "QuantizedDepthwiseConv2D",
}
# Fields that multiply the number of a layer's weights.
_SIZES = (
    "depth_multiplier",
    "filters",
    "key_dim",
    "kernel_size",
    "num_heads",
    "output_shape",
    "units",
    "value_dim",
)


def parse(text: bytes | str, path: str | os.PathLike) -> dict[str, Any]:
    """Returns a model's config from its JSON text.

    Raises:
      untrusted.DamagedError: it is not JSON, or not a model's.
    """
    model = documents.parse(text, path)
    waiting, found = [(model, "its model")], 0
    while waiting:
        layer, place = waiting.pop()
        found += 1
        if found > _MAX_LAYERS:
            raise untrusted.DamagedError(
                f"{path} has more than {_MAX_LAYERS:,} layers; refused."
            )
        where = f"{path}, {place}"
        documents.check_object(layer, _LAYER, where)
        documents.require(layer, ("class_name", "config"), where)
        config = documents.check_object(layer["config"], _CONFIG, where)
        for number, inner in enumerate(config.get("layers", ())):
            waiting.append((inner, f"layer {number} of {place}"))
    return model


_LAYER = {
    "class_name": str,
    "config": dict,
    "inbound_nodes": list,
}
_CONFIG = {
    "name": str | None,
    "layers": list,
    "input_layers": list | dict,
    "output_layers": list | dict,
}


def list_layers(model: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the layers of a model's config; [] of a layer's."""
    return model["config"].get("layers", [])


def check_loadable(
    model: dict[str, Any], path: str | os.PathLike, size: int
) -> None:
    """Checks a config from `parse` before Keras builds the model.

    Args:
      model: the config.
      path: the file's name in messages.
      size: bytes of the file.

    Raises:
      untrusted.DamagedError: the model has something that our networks have
        not, such as a Lambda layer, or its layers would take more memory than
        the file's weights can fill.
    """
    # It is not used: networks are loaded uncompiled.
    model = {k: v for k, v in model.items() if k != "compile_config"}
    weights = 0
    for each in _list_objects(model):
        name = _name_foreign(each)
        if name is not None:
            raise untrusted.DamagedError(
                f"{path} has a {untrusted.shorten(name)[:80]}, which no "
                "network of ours has and which could run code or read files; "
                "refused."
            )
        weights += _count_weights(each, path)
    untrusted.check_claim(4 * weights, path, size)


def _list_objects(value) -> Iterator[dict]:
    """Yields all that Keras would make an object of."""
    if isinstance(value, dict):
        if "class_name" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _list_objects(inner)


def _name_foreign(value):
    """Returns the name of an object that is not allowed, else None."""
    kind, module = value["class_name"], value.get("module")
    registered = value.get("registered_name")
    if not all(isinstance(x, str | None) for x in (kind, module, registered)):
        return "class whose name is no text"
    if kind == "function":
        config = str(value.get("config"))
        return None if config == f"{_OWN}silu" else f"function {config}"
    if registered == f"{_OWN}{kind}" and kind in _OWN_LAYERS:
        return None
    if kind in _ALLOWED.get(module, ()) and registered in (None, kind):
        return None
    return f"{kind} of {registered or module}"


def _count_weights(layer, path):
    """Returns at least the number of a layer's weights."""
    config = layer.get("config")
    if layer["class_name"] == "InputLayer":
        sides = [config.get("batch_shape"), config.get("batch_input_shape")]
        _list_sides(sides, path)
    if layer["class_name"] not in _WEIGHTED:
        return 0
    shapes = layer.get("build_config")
    if not isinstance(shapes, dict) or not isinstance(config, dict):
        raise untrusted.DamagedError(
            f"{path}: a {layer['class_name']} states no shape of its input."
        )
    inputs = _list_sides(list(shapes.values()), path) or [1]
    sizes = _list_sides([config.get(name) for name in _SIZES], path)
    # Of these one place has a weight, of the others each channel; four vectors
    # or matrices at most.
    whole = layer["class_name"] in ("ClassToken", "LayerNormalization")
    channels = math.prod(inputs) if whole else max(inputs)
    return channels * math.prod(sizes) * (1 if sizes else 4)


def _list_sides(value, path):
    """Returns all numbers in nested lists."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [side for inner in value for side in _list_sides(inner, path)]
    if value is None:
        return []
    if type(value) is not int or not 0 <= value <= _MAX_SIDE:
        raise untrusted.DamagedError(
            f"{path}: a shape has {untrusted.shorten(repr(value)[:40])}."
        )
    return [value]
