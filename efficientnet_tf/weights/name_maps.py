"""Maps the names in other libraries' weight files to this family's layers."""

import dataclasses
import os
import re

import numpy as np
from absl import logging

from efficientnet_tf.models import (
    blocks as blocks_lib,
    costs,
    layers as layers_lib,
    plan as plan_lib,
    registry,
    variants,
)
from efficientnet_tf.utils import untrusted
from efficientnet_tf.weights import (
    families,
    input_layers,
    keras_names,
    readers,
    torch_names,
)

# Left over from training: counters, and optimizer state.
_IGNORED = re.compile(
    r"(global_step|(beta[12]_power|learning_rate))$"
    r"|/(RMSProp|Momentum|Adam|LARS\w*|Adagrad|Ftrl)(_\d+)?$"
    r"|^top_level_model_weights/"
)

# Two copies of the weights in float64 with three of the optimizer's state; and
# what stands beside them, such as the head of another task.
_BYTES_PER_PARAMETER = 64
_BYTES_BESIDE = 512 << 20


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Weights under our names, and the network that they were trained in.

    `arrays` maps "layer/weight" to an array in Keras's layout. A tensor that
    belongs to no layer of the network keeps its own name, so that
    `loading.assign` can refuse it by that name. `padding` is that of a
    `Variant`, and `normalization` what the images got; `normalization_note` is
    empty where the file states it, otherwise it says how it is known, or that
    it is assumed. `source` says in words whose PyTorch weights they are.
    `left_out` names the file's layers around the network, such as another head.
    """

    arrays: dict[str, np.ndarray]
    normalization: variants.Normalization
    normalization_note: str = ""
    padding: str = "same"
    source: str = ""
    left_out: tuple[str, ...] = ()


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
    label = os.fspath(path) if label is None else label
    _check_size(path, variant, label)
    tensors = readers.read(path)
    if tensors.layout == "pytorch":
        return _read_torch(tensors, variant, label, source_family)
    if source_family is not None:
        raise ValueError(
            f"source_family={source_family!r} is for PyTorch files, which "
            f"{label} is not; leave it out."
        )
    if tensors.layout == "keras":
        return _read_keras(tensors, variant, label)
    blocks = plan_lib.plan_network(variant).blocks
    arrays = _from_tensorflow(tensors.arrays, blocks)
    if keras_names.STEM not in arrays:
        raise ValueError(keras_names.describe_other(label, tensors.arrays))
    return Checkpoint(arrays, *_settle(None, label, variant.normalization))


def _check_size(path, variant, label):
    """Raises DamagedError for a file that cannot be this network's."""
    if not os.path.isfile(path):
        return
    size, params = os.path.getsize(path), costs.count_costs(variant).params
    if size > _BYTES_PER_PARAMETER * params + _BYTES_BESIDE:
        raise untrusted.DamagedError(
            f"{label} has {size:,} bytes, far more than the {params:,} "
            "parameters of the network need; refused."
        )


def _read_keras(tensors, variant, label):
    arrays, place, left_out = keras_names.find_network(
        tensors.arrays, plan_lib.plan_network(variant), label
    )
    if place or left_out:
        logging.info(
            "Took the network of %s%s; left out %s.",
            label,
            f" from its part {place}" if place else "",
            ", ".join(left_out) or "nothing",
        )
    stated = _find_normalization(tensors, place, label)
    channels = np.shape(arrays[keras_names.STEM])[2:3]
    if stated is None and channels == (1,):
        usual = variants.get_normalization(variant.normalization)
        stated = input_layers.average(usual)
    normalization, note = _settle(stated, label, variant.normalization)
    padding = _find_padding(tensors.layers, place)
    if padding is None:
        padding = variant.padding
        logging.info(
            "%s does not name all layers, so its network's padding is assumed "
            "to be %r.",
            label,
            padding,
        )
    return Checkpoint(
        arrays, normalization, note, padding=padding, left_out=left_out
    )


def _find_padding(layers, place):
    """Returns an item of `variants.PADDINGS`; None: the file does not say.

    Files without a config need not name layers of inner models, nor those
    without weights.
    """
    start = f"{place}/" if place else ""
    names = {name.rpartition("/")[2] for name in layers}
    if f"{start}{keras_names.STEM_LAYER}" in layers:
        names = {name.removeprefix(start) for name in layers}
    if layers_lib.STEM_PADDING in names:
        return "symmetric"
    return "same" if keras_names.STEM_LAYER in names else None


def _find_normalization(tensors, place, label):
    if tensors.normalization is not None:
        mean, std = np.asarray(tensors.normalization, np.float64)
        return input_layers.make_normalization(mean, std)
    if tensors.config is not None:
        return input_layers.find_normalization(tensors, place, label)
    input_layers.warn_of_others(tensors.layers, place, label)
    return input_layers.read_weights(
        tensors.arrays,
        tensors.layers,
        place,
        # The published files are in the older layout.
        maybe_published=not tensors.numbered,
    )


def _read_torch(tensors, variant, label, source_family):
    layout = torch_names.find_layout(tensors.arrays)
    if layout is None:
        raise ValueError(keras_names.describe_other(label, tensors.arrays))
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
        families.usual_normalization(origin.family, variant),
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


# TensorFlow ------------------------------------------------------------------


def _from_tensorflow(arrays, blocks):
    """Names of tensorflow/tpu and google/automl, numbered per block.

    They are those of efficientnet_model.py and of effnetv2_model.py. The scope
    before "/stem" or "/blocks_0" is the model's name.
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
        if block.block == "fused_mbconv":
            norms = ["project_bn"]
        if block.expand_ratio > 1:
            norms = ["expand_bn", *norms]
            convs = ["expand_conv", *convs]
        theirs = f"blocks_{index}"
        for kind, names in (
            ("batch_normalization", norms),
            ("conv2d", convs),
            ("depthwise_conv2d", [block.depthwise]),
            ("se/conv2d", ["se_reduce", "se_expand"]),
        ):
            for i, name in enumerate(names):
                place = f"{theirs}/{kind}_{i}".removesuffix("_0")
                table[place] = f"{block.name}_{name}"

    def unscoped(name):
        name = re.sub(r"^.*?(?=(stem|head|blocks_\d+)/)", "", name)
        return name.replace("/tpu_batch_norm", "/batch_norm")

    return _rename({unscoped(k): v for k, v in arrays.items()}, table)
