"""Maps the names in PyTorch's weight files to this family's layers."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from efficientnet_tf.models import blocks as blocks_lib, plan as plan_lib

_BATCH_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


# What the stem's kernel is called in each library.
STEMS = {
    "lukemelas": "_conv_stem.weight",
    "timm": "conv_stem.weight",
    "torchvision": "features.0.0.weight",
}


def find_layout(arrays: Iterable[str]) -> tuple[str, str] | None:
    """Returns whose names tensors have and their prefix, or None.

    The prefix is what a larger network calls this one: "model.", "encoder.".

    Raises:
      ValueError: there are several networks.
    """
    found = [
        (layout, name.removesuffix(stem))
        for name in arrays
        for layout, stem in STEMS.items()
        if name == stem or name.endswith(f".{stem}")
    ]
    if len(found) > 1:
        names = ", ".join(f"{prefix}*" for _, prefix in found)
        raise ValueError(f"The file holds several networks: {names}.")
    return found[0] if found else None


def rename(
    arrays: Mapping[str, np.ndarray],
    layout: tuple[str, str],
    blocks: Sequence[plan_lib.BlockPlan],
    epsilon: float = blocks_lib.BN_EPSILON,
) -> dict[str, np.ndarray]:
    """Returns {"layer/weight": array in Keras's layout} of a state dict.

    A tensor that belongs to no layer keeps its name.

    Args:
      arrays: the state dict.
      layout: whose names its tensors have, and their prefix.
      blocks: the network's blocks.
      epsilon: batch normalization's, in the network that it was trained in.
        Where ours differs, the scales make up for it, see `_fold`.
    """
    library, prefix = layout
    table = {
        f"{prefix}{theirs}": ours
        for theirs, ours in NAMES[library](blocks).items()
    }
    renamed = {}
    for name, value in arrays.items():
        layer, _, weight = name.rpartition(".")
        if layer not in table:
            if weight != "num_batches_tracked":
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
    if epsilon != blocks_lib.BN_EPSILON:
        _fold(renamed, epsilon)
    return renamed


def _fold(arrays, epsilon):
    """Makes up for another epsilon: exact in inference, for any statistics.

    gamma / sqrt(v + e) = gamma * sqrt((v + e') / (v + e)) / sqrt(v + e')
    """
    for name, variance in arrays.items():
        layer, _, weight = name.rpartition("/")
        gamma = f"{layer}/gamma"
        if weight != "moving_variance" or gamma not in arrays:
            continue
        if arrays[gamma].shape != variance.shape:
            continue  # Another network's; who assigns them says so.
        variance = np.asarray(variance, np.float64)
        ratio = (variance + blocks_lib.BN_EPSILON) / (variance + epsilon)
        scaled = np.asarray(arrays[gamma], np.float64) * np.sqrt(ratio)
        arrays[gamma] = scaled.astype(np.float32)


def _transpose(layer, kernel):
    """Maps (out, in, h, w) to (h, w, in, out), depthwise (c, 1, h, w) too."""
    if kernel.ndim != 4:  # Of a dense layer, or of another network.
        return kernel.T
    if layer.rpartition("_")[2] in plan_lib.DEPTHWISE_NAMES:
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
        "_depthwise_conv": plan_lib.DEPTHWISE,
        "_bn1": "bn",
        "_se_reduce": "se_reduce",
        "_se_expand": "se_expand",
        "_project_conv": "project_conv",
        "_bn2": "project_bn",
    }
    for index, block in enumerate(blocks):
        parts["_depthwise_conv"] = block.depthwise
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
    for block in blocks:
        parts = _timm_parts(block)
        squeeze = {
            "se.conv_reduce": "se_reduce",
            "se.conv_expand": "se_expand",
        }
        for theirs, ours in {**parts, **squeeze}.items():
            name = f"blocks.{block.stage - 1}.{block.index - 1}.{theirs}"
            table[name] = f"{block.name}_{ours}"
    return table


def _timm_parts(block):
    fused, expanded = block.block == "fused_mbconv", block.expand_ratio > 1
    if fused and expanded:  # EdgeResidual.
        return {
            "conv_exp": "expand_conv",
            "bn1": "expand_bn",
            "conv_pwl": "project_conv",
            "bn2": "project_bn",
        }
    if fused:  # ConvBnAct.
        return {"conv": "project_conv", "bn1": "project_bn"}
    if expanded:  # InvertedResidual.
        return {
            "conv_pw": "expand_conv",
            "bn1": "expand_bn",
            "conv_dw": block.depthwise,
            "bn2": "bn",
            "conv_pwl": "project_conv",
            "bn3": "project_bn",
        }
    return {  # DepthwiseSeparableConv.
        "conv_dw": block.depthwise,
        "bn1": "bn",
        "conv_pw": "project_conv",
        "bn2": "project_bn",
    }


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
            {"0": block.depthwise, "1": "bn"},
            {"fc1": "se_reduce", "fc2": "se_expand"},
            {"0": "project_conv", "1": "project_bn"},
        ]
        if block.block == "fused_mbconv":
            steps = steps[2:]
        if block.expand_ratio > 1:
            steps = [{"0": "expand_conv", "1": "expand_bn"}, *steps]
        place = f"features.{block.stage}.{block.index - 1}.block"
        for number, step in enumerate(steps):
            for theirs, ours in step.items():
                table[f"{place}.{number}.{theirs}"] = f"{block.name}_{ours}"
    return table


NAMES = {
    "lukemelas": _lukemelas_names,
    "timm": _timm_names,
    "torchvision": _torchvision_names,
}
