"""Maps the names in other libraries' weight files to this family's layers."""

import dataclasses
import os
import re

import numpy as np
from absl import logging

from efficientnet_tf.models import (
    blocks as blocks_lib,
    plan as plan_lib,
    registry,
    variants,
)
from efficientnet_tf.weights import (
    families,
    former_names,
    readers,
    torch_names,
)

_IMAGENET = variants.NORMALIZATIONS["imagenet"]
# Of pixels in [0, 1], as in the Normalization layer of
# keras.applications.efficientnet.
_IMAGENET_STD = np.divide(_IMAGENET.std, 255)

# Left over from training: counters, and optimizer state.
_IGNORED = re.compile(
    r"(global_step|(beta[12]_power|learning_rate))$"
    r"|/(RMSProp|Momentum|Adam|LARS\w*|Adagrad|Ftrl)(_\d+)?$"
    r"|^top_level_model_weights/"
)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Weights under our names, and the network that they were trained in.

    `arrays` maps "layer/weight" to an array in Keras's layout. A tensor that
    belongs to no layer of the network keeps its own name, so that
    `loading.assign` can refuse it by that name. `padding` is that of a
    `Variant`, and `normalization` what the images got; `normalization_note` is
    empty where the file states it, otherwise it says how it is known, or that
    it is assumed. `source` says in words whose PyTorch weights they are.
    """

    arrays: dict[str, np.ndarray]
    normalization: variants.Normalization
    normalization_note: str = ""
    padding: str = "same"
    source: str = ""


def read(
    path: str | os.PathLike,
    model: registry.Model,
    *,
    source_family: str | None = None,
    label: str | None = None,
) -> Checkpoint:
    """Reads a weight file of any library for the network `model`.

    Args:
      path: any file that `readers.read` reads.
      model: a name, a variant file or a `Variant`.
      source_family: an item of `families.FAMILIES`, for a PyTorch file that
        does not tell.
      label: the name that the file came under, if it is not its path.

    Returns:
      A `Checkpoint`; `loading.assign` checks whether the shapes fit.

    Raises:
      OSError: there is no such file.
      ValueError: its format is unknown, it is truncated or refused, it is
        not of this family, or which network it belongs to cannot be told.
    """
    families.check(source_family)
    variant = registry.get_variant(model)
    blocks = plan_lib.plan_network(variant).blocks
    tensors = readers.read(path)
    label = os.fspath(path) if label is None else label
    if tensors.layout == "pytorch":
        return _read_torch(tensors, variant, label, source_family)
    if source_family is not None:
        raise ValueError(
            f"source_family={source_family!r} is for PyTorch files, which "
            f"{label} is not; leave it out."
        )
    arrays = tensors.arrays
    if tensors.layout == "keras":
        arrays = _rename_former(arrays, path)
        arrays = _from_keras(arrays, blocks)
    else:
        arrays = _from_tensorflow(arrays, blocks)
    if "stem_conv/kernel" not in arrays:
        raise ValueError(_not_ours(label, tensors))
    normalization, note = _settle(
        _normalization(tensors), label, variant.normalization
    )
    symmetric = blocks_lib.STEM_PADDING in tensors.layers
    padding = "symmetric" if symmetric else "same"
    return Checkpoint(arrays, normalization, note, padding)


def _read_torch(tensors, variant, label, source_family):
    layout = torch_names.find_layout(tensors.arrays)
    if layout is None:
        raise ValueError(_not_ours(label, tensors))
    origin = families.identify(
        label, layout[0], tensors.architecture, source_family
    )
    family = families.FAMILIES[origin.family]
    epsilon = families.epsilon(origin.family, variant)
    folded = epsilon != blocks_lib.BN_EPSILON
    arrays = torch_names.rename(
        tensors.arrays,
        layout,
        plan_lib.plan_network(variant).blocks,
        epsilon,
    )
    normalization, note = _settle(
        origin.normalization,
        label,
        family.normalization or variant.normalization,
    )
    return Checkpoint(
        arrays,
        normalization,
        note,
        padding=family.padding,
        source=f"weights of {origin.family} ({origin.evidence}): "
        f"{family.padding} padding, batch-norm epsilon {epsilon:g}"
        + (" folded into the scales" if folded else ""),
    )


def _settle(stated, label, usual):
    """Returns a file's normalization, and a note unless the file states it."""
    if stated is not None:
        return stated, ""
    named = families.normalization_by_name(label)
    if named is None:
        return variants.NORMALIZATIONS[usual], "assumed, the file does not say"
    name = "advprop" if named == "advprop" else usual
    return variants.NORMALIZATIONS[name], "by the file's name"


def _not_ours(label, tensors):
    some = ", ".join(sorted(tensors.arrays)[:3]) or "nothing"
    return (
        f"{label} is not an EfficientNet: it has no stem convolution, only "
        f"{some}..."
    )


def _rename(arrays, layers):
    """Renames the layers of "layer/weight" by the table {theirs: ours}."""
    renamed = {}
    for name, value in arrays.items():
        layer, _, weight = name.rpartition("/")
        if layer in layers:
            weight = "kernel" if weight.endswith("kernel") else weight
            renamed[f"{layers[layer]}/{weight}"] = value
        elif not _IGNORED.search(name):
            renamed[name] = value
    return renamed


# Keras -----------------------------------------------------------------------


def _from_keras(arrays, blocks):
    """Takes names of keras.applications, which are ours, or numbered ones."""
    if any(re.match(r"conv2d(_\d+)?/", name) for name in arrays):
        table = _numbered_names(blocks)
    else:
        table = {name: name for name in _layer_names(blocks)}
    arrays = {
        name: value
        for name, value in arrays.items()
        if not re.match(r"normalization(_\d+)?/", name)
    }
    return _rename(arrays, table)


def _rename_former(arrays, path):
    """Gives arrays from an early version's file the present layer names."""
    renamed = {}
    for name, value in arrays.items():
        layer, _, weight = name.rpartition("/")
        renamed[f"{former_names.current_name(layer)}/{weight}"] = value
    if set(renamed) != set(arrays):
        logging.info(former_names.NOTE, path)
    return renamed


def _layer_names(blocks):
    """Returns the names of the layers with weights, in the network's order."""
    names = ["stem_conv", "stem_bn"]
    for block in blocks:
        parts = ["dwconv", "bn"]
        if block.expand_ratio > 1:
            parts = ["expand_conv", "expand_bn", *parts]
        if block.squeezed_filters:
            parts += ["se_reduce", "se_expand"]
        parts += ["project_conv", "project_bn"]
        names += [f"{block.name}_{part}" for part in parts]
    return [*names, "top_conv", "top_bn", "predictions"]


def _numbered_names(blocks):
    """Returns {class and count: layer}, the names in files of early Keras 3."""
    counts = {}
    table = {}
    for name in _layer_names(blocks):
        kind = "conv2d"
        if name.endswith("_bn"):
            kind = "batch_normalization"
        elif name.endswith("_dwconv"):
            kind = "depthwise_conv2d"
        elif name == "predictions":
            kind = "dense"
        count = counts.setdefault(kind, 0)
        table[f"{kind}_{count}" if count else kind] = name
        counts[kind] += 1
    return table


def _normalization(tensors):
    """Returns the normalization that the file states, or None.

    The graph of keras.applications computes (x / 255 - mean) / sqrt(V), where
    V is the variance in its file. The published files hold V = std, not std
    squared; the graph for weights="imagenet" therefore multiplies by
    1 / sqrt(std) in a second Rescaling, which gives (x / 255 - mean) / std, as
    trained. The published files predate that second layer, so V = std alone
    also implies it; with any other V and no second layer (V = std squared, or
    mean 0 and V = 1 of random weights) the first formula applies.
    https://github.com/tensorflow/tensorflow/issues/49930
    """
    if tensors.normalization is not None:
        return variants.Normalization(*tensors.normalization)
    values = {
        name.split("/")[1]: value
        for name, value in tensors.arrays.items()
        if re.match(r"normalization(_\d+)?/", name)
    }
    if tensors.layout != "keras" or not {"mean", "variance"} <= set(values):
        return None
    mean = np.asarray(values["mean"], np.float64).reshape(-1)
    std = np.sqrt(np.asarray(values["variance"], np.float64).reshape(-1))
    if mean.shape != (3,) or std.shape != (3,) or not std.all():
        raise ValueError("The normalization layer is not for RGB images.")
    rescalings = [n for n in tensors.layers if n.startswith("rescaling")]
    published = np.allclose(std**2, _IMAGENET_STD, atol=1e-6)
    if published or len(rescalings) > 1:
        std = std * np.sqrt(_IMAGENET_STD)
    # The file has these values rounded to float32; the table has them exactly.
    if np.allclose(255 * mean, _IMAGENET.mean) and np.allclose(
        255 * std, _IMAGENET.std
    ):
        return _IMAGENET
    return variants.Normalization(
        tuple((255 * mean).tolist()), tuple((255 * std).tolist())
    )


# TensorFlow ------------------------------------------------------------------


def _from_tensorflow(arrays, blocks):
    """Names of efficientnet_model.py in tensorflow/tpu, numbered per block.

    The scope before "/stem" or "/blocks_0" is the model's name.
    """
    table = {
        "stem/conv2d": "stem_conv",
        "stem/batch_normalization": "stem_bn",
        "head/conv2d": "top_conv",
        "head/batch_normalization": "top_bn",
        "head/dense": "predictions",
    }
    for index, block in enumerate(blocks):
        norms = ["bn", "project_bn"]
        convs = ["project_conv"]
        if block.expand_ratio > 1:
            norms = ["expand_bn", *norms]
            convs = ["expand_conv", *convs]
        theirs = f"blocks_{index}"
        for kind, names in (
            ("batch_normalization", norms),
            ("conv2d", convs),
            ("depthwise_conv2d", ["dwconv"]),
            ("se/conv2d", ["se_reduce", "se_expand"]),
        ):
            for i, name in enumerate(names):
                place = f"{theirs}/{kind}_{i}".removesuffix("_0")
                table[place] = f"{block.name}_{name}"

    def unscoped(name):
        name = re.sub(r"^.*?(?=(stem|head|blocks_\d+)/)", "", name)
        return name.replace("/tpu_batch_norm", "/batch_norm")

    return _rename({unscoped(k): v for k, v in arrays.items()}, table)
