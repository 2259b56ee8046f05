"""What a network costs, counted from its plan without building it."""

import dataclasses
import math
from typing import Any

from efficientnet_tf.models import plan as plan_lib, registry, scaling


@dataclasses.dataclass(frozen=True)
class StageCost:
    """A stage after scaling, and its cost for one image.

    `resolution` is that of the input and `filters` those of the output, as in
    Table 1 of the paper. `params` counts trainable parameters, `activations`
    the output elements of convolutions and dense layers.
    """

    name: str
    operator: str
    kernel_size: int
    strides: int
    resolution: int
    filters: int
    repeats: int
    params: int
    multiply_adds: int
    activations: int


@dataclasses.dataclass(frozen=True)
class Costs:
    """A network's cost for one image; the totals are sums over its stages."""

    stages: tuple[StageCost, ...]

    @property
    def params(self) -> int:
        return sum(stage.params for stage in self.stages)

    @property
    def multiply_adds(self) -> int:
        return sum(stage.multiply_adds for stage in self.stages)

    @property
    def activations(self) -> int:
        return sum(stage.activations for stage in self.stages)


def count_costs(
    model: registry.Model, resolution: int | None = None, classes: int = 1000
) -> Costs:
    """Returns the `Costs` of a network; they equal the built network's.

    Args:
      model: a name, a variant file or a `Variant`.
      resolution: pixels a side; by default the variant's own.
      classes: number of classes.
    """
    variant = registry.get_variant(model)
    plan = plan_lib.plan_network(variant)
    size = resolution or variant.resolution
    stem, size = _STEMS[variant.stem](plan.stem_filters, size)
    stages = [stem]
    for blocks in plan.stages:
        first = blocks[0]
        stages.append(_count_stage(blocks, size))
        size = strided(size, first.strides)
    stages += _HEADS[variant.head](plan, size)
    stages.append(
        StageCost(
            "predictions",
            "Dense",
            1,
            1,
            1,
            classes,
            1,
            *_dense(plan.features, classes),
        )
    )
    return Costs(tuple(stages))


def growth(
    phi: float,
    alpha: float = scaling.ALPHA,
    beta: float = scaling.BETA,
    gamma: float = scaling.GAMMA,
    **options: Any,
) -> scaling.Growth:
    """Returns the exact `scaling.Growth` of `scaling.compound` over its base.

    It differs from the prediction of `scaling.growth` by rounding: repeats are
    rounded up, filters to multiples of 8.

    Args:
      phi: as in `scaling.compound`.
      alpha: as there.
      beta: as there.
      gamma: as there.
      **options: its other arguments.
    """
    scaled = count_costs(scaling.compound(phi, alpha, beta, gamma, **options))
    base = count_costs(options.get("base", "efficientnet_b0"))
    return scaling.Growth(
        scaled.multiply_adds / base.multiply_adds,
        scaled.params / base.params,
        scaled.activations / base.activations,
    )


def conv(
    kernel_size: int, in_filters: int, filters: int, size: int
) -> tuple[int, ...]:
    """Counts a convolution with batch normalization.

    Args:
      kernel_size: side of the kernel.
      in_filters: input filters of one group.
      filters: output filters.
      size: side of the output.

    Returns:
      (parameters, multiply-adds, activations).
    """
    weights = kernel_size**2 * in_filters * filters
    # Batch normalization has a scale and an offset per filter.
    return weights + 2 * filters, weights * size**2, filters * size**2


def add(*counts: tuple[int, ...]) -> tuple[int, ...]:
    """Adds tuples of counts elementwise."""
    return tuple(map(sum, zip(*counts, strict=True)))


def strided(size: int, strides: int) -> int:
    """Returns the side of a strided feature map with "same" padding."""
    return math.ceil(size / strides)


def _count_stage(blocks, size):
    """Returns the `StageCost` of a stage's `BlockPlan`s."""
    first, *others = blocks
    count = _BLOCKS[first.block]
    out = strided(size, first.strides)
    counts = add(count(first, size), *(count(block, out) for block in others))
    operator = _OPERATORS.get(first.block, first.block.capitalize())
    return StageCost(
        f"block{first.stage}",
        operator.format(first.expand_ratio),
        first.kernel_size,
        first.strides,
        size,
        first.filters,
        len(blocks),
        *counts,
    )


def _mbconv(plan, size):
    """Returns (parameters, multiply-adds, activations) of one MBConv block."""
    expanded = plan.in_filters * plan.expand_ratio
    out = strided(size, plan.strides)
    parts = []
    if plan.expand_ratio > 1:
        parts.append(conv(1, plan.in_filters, expanded, size))
    parts.append(conv(plan.kernel_size, 1, expanded, out))
    parts.append(conv(1, expanded, plan.filters, out))
    return add(*parts, *_squeeze_excite(plan))


def _fused_mbconv(plan, size):
    expanded = plan.in_filters * plan.expand_ratio
    out = strided(size, plan.strides)
    parts = [conv(plan.kernel_size, plan.in_filters, plan.filters, out)]
    if plan.expand_ratio > 1:
        parts = [
            conv(plan.kernel_size, plan.in_filters, expanded, out),
            conv(1, expanded, plan.filters, out),
        ]
    return add(*parts, *_squeeze_excite(plan))


def _squeeze_excite(plan):
    """Returns the counts of the layers of squeeze-and-excitation, if any."""
    if not plan.squeezed_filters:
        return []
    expanded = plan.in_filters * plan.expand_ratio
    return [
        _dense(expanded, plan.squeezed_filters),
        _dense(plan.squeezed_filters, expanded),
    ]


def _separable(plan, size):
    out = strided(size, plan.strides)
    return add(
        conv(plan.kernel_size, 1, plan.in_filters, out),
        conv(1, plan.in_filters, plan.filters, out),
    )


def _bottleneck(plan, size):
    inner = plan.filters // plan.expand_ratio
    out = strided(size, plan.strides)
    parts = [
        _biased(1, plan.in_filters, inner, size),
        _biased(plan.kernel_size, inner, inner, out),
        _biased(1, inner, plan.filters, out),
    ]
    if not plan.has_shortcut:
        parts.append(_biased(1, plan.in_filters, plan.filters, out))
    return add(*parts)


def _transformer(plan, side):
    """Counts an encoder layer on side * side patches and the class token."""
    filters, tokens = plan.filters, side**2 + 1
    hidden = plan.expand_ratio * filters
    norm = (2 * filters, 0, 0)
    return add(
        norm,
        *[_dense(filters, filters, tokens)] * 4,  # Queries, keys, values, out.
        (0, 2 * tokens**2 * filters, 0),
        norm,
        _dense(filters, hidden, tokens),
        _dense(hidden, filters, tokens),
    )


# With the expansion, as papers have it; others are named as they are.
_OPERATORS = {"mbconv": "MBConv{}", "fused_mbconv": "Fused-MBConv{}"}
_BLOCKS = {
    "mbconv": _mbconv,
    "fused_mbconv": _fused_mbconv,
    "separable": _separable,
    "bottleneck": _bottleneck,
    "transformer": _transformer,
}


def _conv_stem(filters, size):
    """Returns the stem's `StageCost`, and the side of its output."""
    out = strided(size, 2)
    counts = conv(3, 3, filters, out)
    return StageCost("stem", "Conv", 3, 2, size, filters, 1, *counts), out


def _conv_pool_stem(filters, size):
    out = strided(size, 2)
    counts = _biased(7, 3, filters, out)
    stage = StageCost("stem", "Conv", 7, 4, size, filters, 1, *counts)
    return stage, strided(out, 2)


def _patches_stem(filters, size):
    patch = plan_lib.PATCH_SIZE
    side = strided(size, patch)
    learned = ((1 + side**2 + 1) * filters, 0, 0)  # Token and positions.
    counts = add(_dense(3 * patch**2, filters, side**2), learned)
    stage = StageCost("stem", "Conv", patch, patch, size, filters, 1, *counts)
    return stage, side


_STEMS = {
    "conv": _conv_stem,
    "conv_pool": _conv_pool_stem,
    "patches": _patches_stem,
}


def _conv_head(plan, size):
    """Returns the `StageCost`s between the last stage and the classifier."""
    filters = plan.head_filters
    counts = conv(1, plan.blocks[-1].filters, filters, size)
    return [StageCost("top", "Conv", 1, 1, size, filters, 1, *counts)]


def _class_token_head(plan, size):
    counts = (2 * plan.features, 0, 0)
    return [StageCost("top", "Norm", 1, 1, size, plan.features, 1, *counts)]


_HEADS = {
    "conv": _conv_head,
    "none": lambda plan, size: [],
    "class_token": _class_token_head,
}


def _dense(in_filters, filters, places=1):
    """Counts a dense layer, or a 1x1 convolution, with biases."""
    weights = in_filters * filters
    return weights + filters, weights * places, filters * places


def _biased(kernel_size, in_filters, filters, size):
    """Counts a convolution with batch normalization and biases."""
    return add(conv(kernel_size, in_filters, filters, size), (filters, 0, 0))
