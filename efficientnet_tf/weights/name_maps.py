"""Maps the names in other libraries' weight files to this family's layers.

torchvision pads strided convolutions symmetrically where TensorFlow pads the
bottom and right more, so its weights give slightly different outputs here;
timm's `tf_efficientnet_*` and lukemelas's models pad as TensorFlow does.
"""

import dataclasses
import os
import re

import numpy as np
from absl import logging

from efficientnet_tf.models import plan as plan_lib, registry, variants
from efficientnet_tf.weights import input_layers, keras_names, readers

_BATCH_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}

# Left over from training: counters, and optimizer state.
_IGNORED = re.compile(
    r"(num_batches_tracked|global_step|(beta[12]_power|learning_rate))$"
    r"|/(RMSProp|Momentum|Adam|LARS\w*|Adagrad|Ftrl)(_\d+)?$"
    r"|^top_level_model_weights/"
)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Weights under our names, and the normalization they were trained with.

    `arrays` maps "layer/weight" to an array in Keras's layout. A tensor that
    belongs to no layer of the network keeps its own name, so that
    `loading.assign` can refuse it by that name. `normalization` is None where
    the file does not say; the variant's own applies then. `left_out` names the
    file's layers around the network, such as another head.
    """

    arrays: dict[str, np.ndarray]
    normalization: variants.Normalization | None = None
    left_out: tuple[str, ...] = ()


def read(path: str | os.PathLike, model: registry.Model) -> Checkpoint:
    """Reads a weight file of any library for the network `model`.

    Args:
      path: any file that `readers.read` reads.
      model: a name, a variant file or a `Variant`.

    Returns:
      A `Checkpoint`; `loading.assign` checks whether the shapes fit.

    Raises:
      OSError: there is no such file.
      ValueError: its format is unknown, it is truncated or refused, or it is
        not of this family.
    """
    plan = plan_lib.plan_network(model)
    tensors = readers.read(path)
    if tensors.layout == "keras":
        usual = variants.get_normalization(
            registry.get_variant(model).normalization
        )
        return _from_keras(tensors, plan, path, usual)
    convert = {
        "tensorflow": _from_tensorflow,
        "pytorch": _from_pytorch,
    }[tensors.layout]
    arrays = convert(tensors.arrays, plan.blocks)
    if keras_names.STEM not in arrays:
        raise ValueError(keras_names.describe_other(path, tensors.arrays))
    return Checkpoint(arrays)


def _from_keras(tensors, plan, path, usual):
    arrays, place, left_out = keras_names.find_network(
        tensors.arrays, plan, path
    )
    if place or left_out:
        logging.info(
            "Took the network of %s%s; left out %s.",
            path,
            f" from its part {place}" if place else "",
            ", ".join(left_out) or "nothing",
        )
    normalization = _find_normalization(tensors, place, path)
    channels = np.shape(arrays[keras_names.STEM])[2:3]
    if normalization is None and channels == (1,):
        normalization = input_layers.average(usual)
    return Checkpoint(arrays, normalization, left_out)


def _find_normalization(tensors, place, path):
    if tensors.normalization is not None:
        mean, std = np.asarray(tensors.normalization, np.float64)
        return input_layers.make_normalization(mean, std)
    if tensors.config is not None:
        return input_layers.find_normalization(
            tensors.config, tensors.arrays, path
        )
    input_layers.warn_of_others(tensors.layers, place, path)
    return input_layers.read_weights(
        tensors.arrays,
        tensors.layers,
        place,
        # The published files are in the older layout.
        maybe_published=not tensors.numbered,
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


# PyTorch ---------------------------------------------------------------------


def _from_pytorch(arrays, blocks):
    if "_conv_stem.weight" in arrays:
        table = _lukemelas_names(blocks)
    elif "conv_stem.weight" in arrays:
        table = _timm_names(blocks)
    else:
        table = _torchvision_names(blocks)
    renamed = {}
    for name, value in arrays.items():
        layer, _, weight = name.rpartition(".")
        if layer not in table:
            if not _IGNORED.search(name):
                renamed[name] = value
            continue
        layer = table[layer]
        if layer.endswith("_bn"):
            if weight in _BATCH_NORM:
                renamed[f"{layer}/{_BATCH_NORM[weight]}"] = value
        elif weight == "weight":
            renamed[f"{layer}/kernel"] = _transpose(layer, value)
        else:
            renamed[f"{layer}/{weight}"] = value
    return renamed


def _transpose(layer, kernel):
    """Maps (out, in, h, w) to (h, w, in, out), depthwise (c, 1, h, w) too."""
    if kernel.ndim == 2:
        return kernel.T
    if kernel.ndim != 4:
        raise ValueError(f"{layer}: a kernel of shape {kernel.shape}.")
    if layer.endswith("_dwconv"):
        return kernel.transpose(2, 3, 0, 1)
    return kernel.transpose(2, 3, 1, 0)


def _lukemelas_names(blocks):
    table = {
        "_conv_stem": "stem_conv",
        "_bn0": "stem_bn",
        "_conv_head": "top_conv",
        "_bn1": "top_bn",
        "_fc": "predictions",
    }
    parts = {
        "_expand_conv": "expand_conv",
        "_bn0": "expand_bn",
        "_depthwise_conv": "dwconv",
        "_bn1": "bn",
        "_se_reduce": "se_reduce",
        "_se_expand": "se_expand",
        "_project_conv": "project_conv",
        "_bn2": "project_bn",
    }
    for index, block in enumerate(blocks):
        for theirs, ours in parts.items():
            table[f"_blocks.{index}.{theirs}"] = f"{block.name}_{ours}"
    return table


def _timm_names(blocks):
    table = {
        "conv_stem": "stem_conv",
        "bn1": "stem_bn",
        "conv_head": "top_conv",
        "bn2": "top_bn",
        "classifier": "predictions",
    }
    inverted = {
        "conv_pw": "expand_conv",
        "bn1": "expand_bn",
        "conv_dw": "dwconv",
        "bn2": "bn",
        "conv_pwl": "project_conv",
        "bn3": "project_bn",
    }
    separable = {  # Without expansion: DepthwiseSeparableConv.
        "conv_dw": "dwconv",
        "bn1": "bn",
        "conv_pw": "project_conv",
        "bn2": "project_bn",
    }
    for block in blocks:
        parts = inverted if block.expand_ratio > 1 else separable
        squeeze = {
            "se.conv_reduce": "se_reduce",
            "se.conv_expand": "se_expand",
        }
        for theirs, ours in {**parts, **squeeze}.items():
            name = f"blocks.{block.stage - 1}.{block.index - 1}.{theirs}"
            table[name] = f"{block.name}_{ours}"
    return table


def _torchvision_names(blocks):
    stages = blocks[-1].stage
    table = {
        "features.0.0": "stem_conv",
        "features.0.1": "stem_bn",
        f"features.{stages + 1}.0": "top_conv",
        f"features.{stages + 1}.1": "top_bn",
        "classifier.1": "predictions",
    }
    for block in blocks:
        steps = [
            {"0": "dwconv", "1": "bn"},
            {"fc1": "se_reduce", "fc2": "se_expand"},
            {"0": "project_conv", "1": "project_bn"},
        ]
        if block.expand_ratio > 1:
            steps = [{"0": "expand_conv", "1": "expand_bn"}, *steps]
        place = f"features.{block.stage}.{block.index - 1}.block"
        for number, step in enumerate(steps):
            for theirs, ours in step.items():
                table[f"{place}.{number}.{theirs}"] = f"{block.name}_{ours}"
    return table
