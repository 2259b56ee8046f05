"""How many numbers all layers of a network give, counted from its plan.

What a network keeps of one image where nothing is freed. It equals `outputs` of
`profile.profile`, which builds the network and so needs Keras and seconds.
"""

from efficientnet_tf.models import costs, plan as plan_lib, registry


def count_outputs(model: registry.Model, classes: int = 1000) -> int:
    """Returns the elements of the outputs of all layers, for one image.

    Args:
      model: a name, a variant file or a `Variant`.
      classes: number of classes.
    """
    variant = registry.get_variant(model)
    plan = plan_lib.plan_network(variant)
    size = variant.resolution
    count = 3 * size**2  # Normalized.
    stem, size = _STEMS[variant.stem](plan.stem_filters, size, variant.padding)
    count += stem
    for block in plan.blocks:
        count += _BLOCKS[block.block](block, size)
        size = costs.strided(size, block.strides)
    count += _HEADS[variant.head](plan, size)
    # Of a class token there is nothing to pool.
    count += plan.features * (variant.head != "class_token")
    count += plan.features * (variant.dropout > 0)
    return count + classes


def _padded(filters, size, kernel_size, strides, padding):
    """Counts the output of a layer that pads; 0 where the next one does."""
    if padding == "same" or strides == 1 or kernel_size == 1:
        return 0
    return filters * (size + 2 * (kernel_size // 2)) ** 2


def _depthwise(plan, filters, size):
    """Counts a depthwise convolution, its normalization and activation."""
    out = costs.strided(size, plan.strides)
    pad = _padded(filters, size, plan.kernel_size, plan.strides, plan.padding)
    return pad + 3 * filters * out**2


def _mbconv(plan, size):
    expanded = plan.in_filters * plan.expand_ratio
    area = costs.strided(size, plan.strides) ** 2
    count = _depthwise(plan, expanded, size)
    if plan.expand_ratio > 1:
        count += 3 * expanded * size**2
    count += _squeeze(plan, expanded, area)
    count += 2 * plan.filters * area  # Without an activation.
    return count + _shortcut(plan, area)


def _fused_mbconv(plan, size):
    expanded = plan.in_filters * plan.expand_ratio
    area = costs.strided(size, plan.strides) ** 2
    kernel = plan.kernel_size, plan.strides, plan.padding
    count = _padded(plan.in_filters, size, *kernel) + _shortcut(plan, area)
    if plan.expand_ratio == 1:
        count += _squeeze(plan, expanded, size**2)
        return count + 3 * plan.filters * area
    count += _squeeze(plan, expanded, area)
    return count + (3 * expanded + 2 * plan.filters) * area


def _squeeze(plan, filters, area):
    """Counts the averages, two convolutions of them, and the product."""
    if not plan.squeezed_filters:
        return 0
    return 2 * filters + plan.squeezed_filters + filters * area


def _shortcut(plan, area):
    """Counts the sum, and what drops paths before it."""
    if not plan.has_shortcut:
        return 0
    return (1 + (plan.drop_rate > 0)) * plan.filters * area


def _separable(plan, size):
    area = costs.strided(size, plan.strides) ** 2
    return _depthwise(plan, plan.in_filters, size) + 3 * plan.filters * area


def _bottleneck(plan, size):
    inner = plan.filters // plan.expand_ratio
    area = costs.strided(size, plan.strides) ** 2
    pad = _padded(inner, size, plan.kernel_size, plan.strides, plan.padding)
    # A convolution and a normalization, the sum and its activation.
    wide = 4 + 2 * (not plan.has_shortcut)
    return (
        3 * inner * size**2
        + pad
        + 3 * inner * area
        + wide * plan.filters * area
    )


def _transformer(plan, side):
    tokens = side**2 + 1
    # Two normalizations, attention's four products by weights, two sums and the
    # MLP's end; what attention computes of tokens is no layer's output.
    return tokens * plan.filters * (9 + plan.expand_ratio)


_BLOCKS = {
    "mbconv": _mbconv,
    "fused_mbconv": _fused_mbconv,
    "separable": _separable,
    "bottleneck": _bottleneck,
    "transformer": _transformer,
}


def _conv_stem(filters, size, padding):
    """Returns the stem's count, and the side of its output."""
    out = costs.strided(size, 2)
    return _padded(3, size, 3, 2, padding) + 3 * filters * out**2, out


def _conv_pool_stem(filters, size, padding):
    middle = costs.strided(size, 2)
    out = costs.strided(middle, 2)
    count = _padded(3, size, 7, 2, padding) + 3 * filters * middle**2
    count += _padded(filters, middle, 3, 2, padding) + filters * out**2
    return count, out


def _patches_stem(filters, size, padding):
    side = costs.strided(size, plan_lib.PATCH_SIZE)
    return filters * (2 * side**2 + 1), side


_STEMS = {
    "conv": _conv_stem,
    "conv_pool": _conv_pool_stem,
    "patches": _patches_stem,
}
_HEADS = {
    "conv": lambda plan, size: 3 * plan.head_filters * size**2,
    "none": lambda plan, size: 0,
    "class_token": lambda plan, side: plan.features * (side**2 + 2),
}
