"""Children of a supernet as slices of its largest network's weights.

A child has the first channels of each layer, the centre of each kernel and the
first blocks of each stage, as in https://arxiv.org/abs/2003.11142.
"""

from collections.abc import Callable
from typing import Any

import keras

from efficientnet_tf.models import builder, variants
from efficientnet_tf.search.architect import spaces

# Whose values are slices of the largest one.
SLICED = ("kernel_size", "expand_ratio", "filters", "repeats", "se_ratio")
BLOCKS = ("mbconv", "fused_mbconv")


def find_largest(space: spaces.Space) -> spaces.Genotype:
    """Returns the network that has all others of a space in it."""
    return _choose(space, max)


def find_smallest(space: spaces.Space) -> spaces.Genotype:
    """Returns the network that all others of a space have in them."""
    return _choose(space, min)


def check(space: spaces.Space) -> None:
    """Raises ValueError if not all of a space's networks can share weights."""
    template = space.template
    if template.stem != "conv" or template.head == "class_token":
        raise ValueError(
            f"a supernet has the stem 'conv' and a convolutional head, not "
            f"stem={template.stem!r}, head={template.head!r}."
        )
    for number, stage in enumerate(template.stages):
        own = {d.field: d.values for d in space.decisions if d.stage == number}
        reason = _find_conflict(stage, own)
        if reason:
            raise ValueError(
                f"stage {number + 1} cannot share weights: {reason}."
            )


def take_out(
    network: keras.Model, variant: variants.Variant, classes: int
) -> keras.Model:
    """Returns a child with a copy of its slice of the weights.

    It has no dropout; its batch norm has the largest network's averages until
    `scoring.calibrate`.

    Args:
      network: the largest one, trained.
      variant: one of the space's networks.
      classes: of the network.
    """
    child = builder.build(
        variant, classes=classes, dropout_rate=0.0, drop_path_rate=0.0
    )
    for layer in child.layers:
        if not layer.weights:
            continue
        whole = network.get_layer(layer.name).weights
        for variable, source in zip(layer.weights, whole, strict=True):
            variable.assign(slice_weight(source, tuple(variable.shape)))
    return child


def slice_weight(weight: Any, shape: tuple[int, ...]) -> Any:
    """Returns the first values along each axis, of kernels the centre.

    Args:
      weight: a variable or a tensor.
      shape: of the slice.
    """
    # Of convolutions: height, width, input and output channels.
    spatial = 2 if len(shape) == 4 else 0
    begins = [
        (large - small) // 2 if axis < spatial else 0
        for axis, (large, small) in enumerate(
            zip(weight.shape, shape, strict=True)
        )
    ]
    return keras.ops.slice(weight, begins, shape)


def _choose(space: spaces.Space, of: Callable) -> spaces.Genotype:
    return tuple(d.values.index(of(d.values)) for d in space.decisions)


def _find_conflict(stage, decided):
    """Returns why a stage's networks share no weights, or None."""
    if stage.block not in BLOCKS:
        return f"its block is {stage.block!r}, and must be one of {BLOCKS}"
    for field, values in decided.items():
        if field not in SLICED:
            return (
                f"it decides {field} {values}, and may decide "
                f"{', '.join(SLICED)} only"
            )
    kernels = decided.get("kernel_size", (stage.kernel_size,))
    if len({kernel % 2 for kernel in kernels}) > 1:
        return f"kernels {kernels} have no common centre"
    if len(kernels) > 1 and stage.strides > min(kernels):
        # Their padding differs by more than the smaller one's border.
        return f"it strides by {stage.strides}, past kernels of {min(kernels)}"
    ratios = decided.get("expand_ratio", ())
    if stage.block == "fused_mbconv" and 1 in ratios:
        return (
            f"expand_ratio {ratios}: without expansion a fused_mbconv has "
            "another kernel"
        )
    return None
