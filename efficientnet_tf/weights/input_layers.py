"""What a Keras model does to pixels before its first convolution."""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from absl import logging

from efficientnet_tf.models import variants
from efficientnet_tf.utils import untrusted

_IMAGENET = variants.NORMALIZATIONS["imagenet"]
# Of pixels in [0, 1], as in the Normalization layer of
# keras.applications.efficientnet.
_IMAGENET_STD = np.divide(_IMAGENET.std, 255)

# Layers that leave the values of an image as they are, outside of training.
_NEUTRAL = re.compile(
    r"InputLayer|Random\w+|Resizing|CenterCrop|ZeroPadding2D|Cropping2D"
    r"|(Spatial)?Dropout(2D)?|GaussianNoise|Identity|Concatenate|Cast|RandAugment"
    r"|AugMix|MixUp|CutMix"
)
_STEM = "stem_conv"


def find_normalization(
    config: Mapping[str, Any], arrays: Mapping[str, np.ndarray], path: object
) -> variants.Normalization | None:
    """Returns the normalization that all layers before the stem add up to.

    Args:
      config: of a Keras model, with the network in it.
      arrays: the model's weights, for its Normalization layers.
      path: the file's name in messages.

    Returns:
      None where no layer normalizes, or where one does what cannot be written
      as (pixel - mean) / std, which is logged.
    """
    scale, offset, normalizes = np.ones(3), np.zeros(3), False
    for layer in _list_before_stem(config) or ():
        try:
            step = _read_step(layer, arrays)
        except (KeyError, TypeError, ValueError, OverflowError):
            logging.warning(
                "%s: the layer %s (%s) before the network is left out; what "
                "it does to pixels is not known here.",
                path,
                layer["config"].get("name"),
                layer["class_name"],
            )
            return None
        if step is not None:
            scale, offset = scale * step[0], offset * step[0] + step[1]
            normalizes = True
    if not normalizes:
        return None
    if not np.isfinite([scale, offset]).all() or not scale.all():
        raise untrusted.DamagedError(
            f"{path}: its layers make nothing of pixels: they scale them by "
            f"{scale.tolist()}."
        )
    return make_normalization(-offset / scale, 1 / scale)


def read_weights(
    arrays: Mapping[str, np.ndarray],
    layers: tuple[str, ...],
    place: str,
    *,
    maybe_published: bool,
) -> variants.Normalization | None:
    """Returns the normalization of keras.applications' layers by their weights.

    For files without a config; `place` is the network's. The graph of
    keras.applications computes (x / 255 - mean) / sqrt(V), where V is the
    variance in its file. The published files hold V = std, not std squared; the
    graph for weights="imagenet" therefore multiplies by 1 / sqrt(std) in a
    second Rescaling, which gives (x / 255 - mean) / std, as trained. The
    published files predate that second layer, so V = std alone also implies it
    in a file that may be one of them. Elsewhere, and with any other V and no
    second layer (V = std squared, or mean 0 and V = 1 of random weights), the
    first formula applies.
    https://github.com/tensorflow/tensorflow/issues/49930

    Raises:
      ValueError: the layer is not for RGB or grey images.
    """
    start = f"{place}/" if place else ""
    values = {}
    for name, value in arrays.items():
        match = re.fullmatch(
            rf"{re.escape(start)}normalization(_\d+)?/(\w+)", name
        )
        if match:
            values[match[2]] = value
    if not {"mean", "variance"} <= set(values):
        return None
    mean = np.zeros(3)
    try:
        mean = _spread(values["mean"])
        variance = _spread(values["variance"])
    except ValueError:
        variance = np.zeros(3)
    std = np.sqrt(variance.clip(0))
    # Of what is no number, no comparison holds either.
    if not (std > 0).all() or not np.isfinite([mean, std]).all():
        raise ValueError(
            "The normalization layer is not for RGB or grey images."
        )
    rescalings = [x for x in layers if x.startswith(f"{start}rescaling")]
    published = maybe_published and np.allclose(
        std**2, _IMAGENET_STD, atol=1e-6
    )
    if published or len(rescalings) > 1:
        std = std * np.sqrt(_IMAGENET_STD)
    return make_normalization(255 * mean, 255 * std)


def average(normalization: variants.Normalization) -> variants.Normalization:
    """Returns the one that one-channel networks had: the means of three."""
    mean, std = (
        sum(values) / 3 for values in dataclasses.astuple(normalization)
    )
    return variants.Normalization((mean,) * 3, (std,) * 3)


def warn_of_others(layers: tuple[str, ...], place: str, path: object) -> None:
    """Logs layers around the network that normalize, in a file without config.

    Such a file holds neither their order nor the values of a Rescaling.
    """
    others = [
        layer
        for layer in layers
        if place
        and not layer.startswith(f"{place}/")
        and re.search(r"(^|/)(rescaling|normalization)(_\d+)?$", layer)
    ]
    if others:
        logging.warning(
            "%s: %s outside the network may rescale its input, by values that "
            "the file does not state; left out. A .keras file states them.",
            path,
            ", ".join(others),
        )


def make_normalization(
    mean: np.ndarray, std: np.ndarray
) -> variants.Normalization:
    """Returns a `Normalization`, the exact row where the values are a row's.

    A file has them rounded to float32.
    """
    for row in variants.NORMALIZATIONS.values():
        if np.allclose(mean, row.mean) and np.allclose(std, row.std):
            return row
    return variants.Normalization(tuple(mean.tolist()), tuple(std.tolist()))


def _read_step(layer, arrays):
    """Returns (scale, offset) of a layer, [3] each; None if it is neutral.

    Raises KeyError, TypeError or ValueError for any other layer.
    """
    config, kind = layer["config"], layer["class_name"]
    if kind == "Rescaling":
        return _spread(config["scale"]), _spread(config["offset"])
    if kind == "Normalization" and not config.get("invert"):
        mean, variance = (
            _spread(
                config[key]
                if config.get(key) is not None
                else _find_weight(arrays, config["name"], key)
            )
            for key in ("mean", "variance")
        )
        # The layer's own guard against a variance of 0.
        std = np.maximum(np.sqrt(variance), 1e-7)
        return 1 / std, -mean / std
    if not _NEUTRAL.fullmatch(kind):
        raise ValueError(kind)
    return None


def _spread(value):
    if isinstance(value, dict):  # How Keras writes an array.
        value = value["config"]["value"]
    array = np.asarray(value, np.float64).reshape(-1)
    return np.broadcast_to(array, (3,))


def _find_weight(arrays, layer, weight):
    end = f"{layer}/{weight}"
    found = [
        value
        for name, value in arrays.items()
        if name == end or name.endswith(f"/{end}")
    ]
    if len(found) != 1:
        raise KeyError(end)
    return found[0]


# A model's config ------------------------------------------------------------


def _list_before_stem(model):
    """Returns the configs of the layers from the input to the stem.

    None: the stem is not in this model.
    """
    for layer in model["config"].get("layers", ()):
        if layer["config"].get("name") == _STEM:
            return list(_list_upstream(model, layer))
        if "layers" in layer["config"]:
            inner = _list_before_stem(layer)
            if inner is not None:
                return [*_list_upstream(model, layer), *inner]
    return None


def _list_upstream(model, layer) -> Iterator[dict]:
    """Yields the layers before one, from the input on; models as their layers.

    Where a layer has several inputs it is followed to the first.
    """
    layers = model["config"]["layers"]
    if model["class_name"] == "Sequential":
        before = layers[: layers.index(layer)]
    else:
        by_name = {x["config"].get("name"): x for x in layers}
        before = []
        while (name := _find_source(layer.get("inbound_nodes"))) in by_name:
            # Each once: a file may name them in a circle.
            layer = by_name.pop(name)
            before.append(layer)
        before.reverse()
    for each in before:
        yield from _flatten(each)


def _flatten(layer):
    if "layers" not in layer["config"]:
        yield layer
    elif layer["class_name"] == "Sequential":
        for inner in layer["config"]["layers"]:
            yield from _flatten(inner)
    else:
        nodes = layer["config"].get("output_layers")
        yield from _list_upstream(layer, {"inbound_nodes": nodes})


def _find_source(nodes):
    """Returns the name of the first layer that a node's inputs come from.

    Keras 3 writes it in "keras_history", Keras 2 in nested lists; both as
    [name, node, tensor, ...].
    """
    if isinstance(nodes, dict):
        nodes = list(nodes.values())
    if not isinstance(nodes, list | tuple):
        return None
    if len(nodes) >= 3 and isinstance(nodes[0], str) and nodes[1] in range(999):
        return nodes[0]
    return next(filter(None, map(_find_source, nodes)), None)
