"""What a Keras model does to pixels before its first convolution."""

import dataclasses
import re
from collections.abc import Mapping

import numpy as np
from absl import logging

from efficientnet_tf.models import variants
from efficientnet_tf.utils import untrusted
from efficientnet_tf.weights import keras_graphs, readers

_IMAGENET = variants.NORMALIZATIONS["imagenet"]
# Of pixels in [0, 1], as in the Normalization layer of
# keras.applications.efficientnet.
_IMAGENET_STD = np.divide(_IMAGENET.std, 255)

# Layers that leave the values of an image as they are, outside of training.
_NEUTRAL = re.compile(
    r"InputLayer|Random\w+|Resizing|CenterCrop|ZeroPadding2D|Cropping2D"
    r"|(Spatial|Gaussian|Alpha)?Dropout(2D)?|GaussianNoise|Identity|Concatenate"
    r"|Cast|UpSampling2D|RandAugment|AugMix|MixUp|CutMix"
)
_NORMALIZING = ("Rescaling", "Normalization")
# Of Keras's classes, in its own configs and in those of tf.keras.
_MODULES = ("keras", "tf_keras", "tensorflow")
# Networks see values of a few units. Where pixels would reach more than this, a
# layer that is not known must have rescaled them.
_LARGEST_VALUE = 50.0


def find_normalization(
    tensors: readers.Tensors, place: str, path: object
) -> variants.Normalization | None:
    """Returns the normalization that all layers before the stem add up to.

    A layer that is not known here is logged, and left out as if it changed
    nothing: the network's own layers come after it.

    Args:
      tensors: a Keras file's.
      place: the network's in it.
      path: the file's name in messages.

    Returns:
      None without a config, where no layer normalizes, or where its values
      are not in the file.

    Raises:
      ValueError: see `read_weights`.
    """
    if tensors.config is None:
        return None
    before, reached = keras_graphs.find_before(tensors.config, place)
    known, unknown = _split(before)
    found, reason = None, ""
    try:
        steps = [_read_step(x, tensors.arrays, around) for around, x in known]
    except (KeyError, TypeError, ValueError, OverflowError):
        reason = "the file does not state all their values"
    else:
        if not reached:
            steps.append(_read_inner(tensors, place))
        found, reason = _add_up(steps, path, doubtful=bool(unknown))
    left_out = [layer for _, layer in known] if reason else []
    _warn(unknown, left_out, reason, path)
    return found


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


def _split(before):
    """Returns those that normalize, as (models around, layer), and unknown."""
    known, unknown = [], []
    for around, layer in before:
        stock = _is_stock(layer)
        if stock and layer["class_name"] in _NORMALIZING:
            known.append((around, layer))
        elif not stock or not _is_neutral(layer):
            unknown.append(layer)
    return known, unknown


def _is_stock(layer):
    """Whether a class is Keras's own: names are free to all."""
    module = str(layer.get("module") or "keras").split(".")[0]
    registered = layer.get("registered_name") or layer["class_name"]
    return module in _MODULES and registered == layer["class_name"]


def _is_neutral(layer):
    # Grey images are joined with themselves.
    one = len(set(keras_graphs.list_sources(layer))) < 2
    return one and _NEUTRAL.fullmatch(layer["class_name"])


def _read_inner(tensors, place):
    """Returns the step of a network whose layers a config does not hold."""
    found = read_weights(
        tensors.arrays,
        tensors.layers,
        place,
        # The published files are in the older layout.
        maybe_published=not tensors.numbered,
    )
    if found is None:
        return None
    std = np.asarray(found.std)
    return 1 / std, -np.asarray(found.mean) / std


def _add_up(steps, path, *, doubtful):
    """Returns the normalization of all steps, and why it is left out.

    `doubtful`: there are others, which are not known.
    """
    if None in steps:
        return None, "the network's own is not in the file"
    if not steps:
        return None, ""
    scale, offset = np.ones(3), np.zeros(3)
    for step in steps:
        scale, offset = scale * step[0], offset * step[0] + step[1]
    if not np.isfinite([scale, offset]).all() or not scale.all():
        raise untrusted.DamagedError(
            f"{path}: its layers make nothing of pixels: they scale them by "
            f"{scale.tolist()}."
        )
    reach = np.abs([offset, 255 * scale + offset]).max()
    if doubtful and reach > _LARGEST_VALUE:
        return None, f"that alone would take pixels to {reach:,.0f}"
    return make_normalization(-offset / scale, 1 / scale), ""


def _warn(unknown, left_out, reason, path):
    parts = []
    if unknown:
        parts.append(
            f"left out {_name(unknown)} before the network, as if pixels "
            "passed unchanged: what happens to them there is not known here"
        )
    if left_out:
        parts.append(f"left out {_name(left_out)} before the stem: {reason}")
    if parts:
        logging.warning("%s: %s.", path, "; ".join(parts))


def _name(layers):
    names = [
        f"{keras_graphs.get_name(x) or 'without a name'} ({x['class_name']})"
        for x in layers
    ]
    return f"the layer{'s' if names[1:] else ''} {', '.join(names)}"


def _read_step(layer, arrays, around):
    """Returns (scale, offset) of a layer, [3] each.

    Raises KeyError, TypeError, ValueError or OverflowError where values lack.
    """
    config = layer["config"]
    if layer["class_name"] == "Rescaling":
        return _spread(config["scale"]), _spread(config["offset"])
    mean, variance = (
        _spread(
            config[key]
            if config.get(key) is not None
            else _find_weight(arrays, around, config["name"], key)
        )
        for key in ("mean", "variance")
    )
    # The layer's own guard against a variance of 0.
    std = np.maximum(np.sqrt(variance), 1e-7)
    return (std, mean) if config.get("invert") else (1 / std, -mean / std)


def _spread(value):
    if isinstance(value, dict):  # How Keras writes an array.
        value = value["config"]["value"]
    array = np.asarray(value, np.float64).reshape(-1)
    return np.broadcast_to(array, (3,))


def _find_weight(arrays, around, layer, weight):
    exact = f"{around}/{layer}/{weight}".lstrip("/")
    if exact in arrays:
        return arrays[exact]
    # The models in the names of an .h5 are those that the layer was built in.
    found = [
        value
        for name, value in arrays.items()
        if name.endswith(f"/{layer}/{weight}")
    ]
    if len(found) != 1:
        raise KeyError(exact)
    return found[0]
