"""What a variant of the family costs, counted on its plan without building."""

import dataclasses
import math

from efficientnet_tf.models import builder, scaling, variants


@dataclasses.dataclass(frozen=True)
class StageCost:
    """A stage after scaling, and what it costs for one image.

    `resolution` is of its input and `filters` of its output, as in Table 1 of
    the paper. `params` are the trainable ones; `activations` the elements of
    the outputs of convolutions and dense layers.
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
    """A network's cost for one image: sums of its stages'."""

    stages: tuple[StageCost, ...]

    @property
    def params(self):
        return sum(stage.params for stage in self.stages)

    @property
    def multiply_adds(self):
        return sum(stage.multiply_adds for stage in self.stages)

    @property
    def activations(self):
        return sum(stage.activations for stage in self.stages)


def count(model, resolution=None, classes=1000):
    """Returns the `Costs` of a variant; they equal those of `profiling`.

    Args:
      model: a name in `variants.VARIANTS` or a `Variant`.
      resolution: pixels a side; by default the variant's own.
      classes: size of the dense layer.
    """
    variant = variants.get_variant(model)
    size = resolution or variant.resolution
    stem, head = builder.plan_ends(variant)
    plans = builder.plan_blocks(variant)
    out = strided(size, 2)
    stages = [
        StageCost("stem", "Conv", 3, 2, size, stem, 1, *conv(3, 3, stem, out))
    ]
    for number, repeats in enumerate(builder.stage_repeats(variant), start=1):
        first, *others = plans[:repeats]
        plans = plans[repeats:]
        size, out = out, strided(out, first.strides)
        counts = add(
            _block(first, size), *(_block(plan, out) for plan in others)
        )
        stages.append(
            StageCost(
                f"block{number}",
                f"MBConv{first.expand_ratio}",
                first.kernel_size,
                first.strides,
                size,
                first.filters,
                repeats,
                *counts,
            )
        )
    in_filters = stages[-1].filters
    counts = conv(1, in_filters, head, out)
    stages.append(StageCost("head", "Conv", 1, 1, out, head, 1, *counts))
    counts = ((head + 1) * classes, head * classes, classes)
    stages.append(
        StageCost("predictions", "Dense", 1, 1, 1, classes, 1, *counts)
    )
    return Costs(tuple(stages))


def growth(
    phi,
    alpha=scaling.ALPHA,
    beta=scaling.BETA,
    gamma=scaling.GAMMA,
    **options,
):
    """Returns the exact `scaling.Growth` of `scaling.compound` over its base.

    Rounding takes it away from what `scaling.growth` predicts: repeats are
    rounded up, filters to multiples of 8.

    Args:
      phi, alpha, beta, gamma, options: of `scaling.compound`.
    """
    scaled = scaling.compound(phi, alpha, beta, gamma, **options)
    base = count(options.get("base", "efficientnet_b0"))
    scaled = count(scaled)
    return scaling.Growth(
        scaled.multiply_adds / base.multiply_adds,
        scaled.params / base.params,
        scaled.activations / base.activations,
    )


def conv(kernel_size, in_filters, filters, size):
    """Returns parameters, multiply-adds, activations of a normalized one.

    `in_filters` are those of one group; `size` is the output's side.
    """
    weights = kernel_size**2 * in_filters * filters
    # Batch normalization has a scale and an offset per filter.
    return weights + 2 * filters, weights * size**2, filters * size**2


def add(*counts):
    """Adds tuples of counts, item by item."""
    return tuple(map(sum, zip(*counts, strict=True)))


def strided(size, strides):
    """Returns the side of a map after "same" padding and strides."""
    return math.ceil(size / strides)


def _block(plan, size):
    """Parameters, multiply-adds and activations of one MBConv block."""
    expanded = plan.in_filters * plan.expand_ratio
    out = strided(size, plan.strides)
    parts = []
    if plan.expand_ratio > 1:
        parts.append(conv(1, plan.in_filters, expanded, size))
    parts.append(conv(plan.kernel_size, 1, expanded, out))
    if plan.squeezed_filters:
        weights = 2 * expanded * plan.squeezed_filters
        ends = expanded + plan.squeezed_filters
        parts.append((weights + ends, weights, ends))
    parts.append(conv(1, expanded, plan.filters, out))
    return add(*parts)
