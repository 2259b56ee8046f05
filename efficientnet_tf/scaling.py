"""Compound scaling: how width and depth round, and a variant for any φ."""

import dataclasses
import math

from efficientnet_tf import variants

DEPTH_DIVISOR = 8

# Grid search of section 5.1, https://arxiv.org/abs/1905.11946.
ALPHA, BETA, GAMMA = 1.2, 1.1, 1.15


def round_filters(filters, width, divisor=DEPTH_DIVISOR):
    """Scales filters by `width` to a multiple of `divisor`.

    Rounds to the nearest multiple, but never loses more than 10 %.
    """
    if width == 1.0:
        return filters
    scaled = filters * width
    rounded = max(divisor, int(scaled + divisor / 2) // divisor * divisor)
    if rounded < 0.9 * scaled:
        rounded += divisor
    return int(rounded)


def round_repeats(repeats, depth):
    """Scales the number of a stage's blocks by `depth`, rounded up."""
    return math.ceil(repeats * depth)


def compound(
    phi, *, alpha=ALPHA, beta=BETA, gamma=GAMMA, base="efficientnet_b0"
):
    """Returns `base` scaled by the compound coefficient φ.

    Depth grows by α^φ, width by β^φ and resolution by γ^φ, so multiply-adds
    grow by about (α·β²·γ²)^φ. φ may be any real number. The published B1–B7
    are not exactly on this curve (their table in `variants` is the truth).

    Raises:
      ValueError: a coefficient is below 1, or the result below 32 pixels.
    """
    for name, value in (("alpha", alpha), ("beta", beta), ("gamma", gamma)):
        if not value >= 1:
            raise ValueError(f"{name} must be at least 1, got {value!r}.")
    base = variants.get_variant(base)
    resolution = round(base.resolution * gamma**phi)
    if resolution < 32:
        raise ValueError(
            f"phi={phi!r} gives {resolution} pixels; the network strides by "
            "32, so choose a larger phi."
        )
    # "We linearly increase dropout from 0.2 for B0 to 0.5 for B7", sec. 5.2.
    dropout = min(0.5, max(0.0, base.dropout + 0.3 * phi / 7))
    return dataclasses.replace(
        base,
        width=base.width * beta**phi,
        depth=base.depth * alpha**phi,
        resolution=resolution,
        dropout=dropout,
    )
