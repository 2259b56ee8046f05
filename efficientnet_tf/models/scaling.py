"""Compound scaling: rounding of width and depth, and a variant for any φ."""

import dataclasses
import math
import sys

from absl import logging

from efficientnet_tf.models import registry, variants

DEPTH_DIVISOR = 8

# Grid search of section 5.1, https://arxiv.org/abs/1905.11946.
ALPHA, BETA, GAMMA = 1.2, 1.1, 1.15
# The target of α·β²·γ² there and in `search`, and its tolerance.
GROWTH, TOLERANCE = 2.0, 0.1


def round_filters(
    filters: int,
    width: float,
    divisor: int = DEPTH_DIVISOR,
    *,
    limit: float = 0.9,
) -> int:
    """Scales filters by `width` to a multiple of `divisor`.

    Rounds to the nearest multiple, but never below the share `limit` of them.
    """
    if width == 1.0:
        return filters
    scaled = filters * width
    rounded = max(divisor, int(scaled + divisor / 2) // divisor * divisor)
    if rounded < limit * scaled:
        rounded += divisor
    return int(rounded)


def round_resolution(resolution: int, factor: float, divisor: int = 1) -> int:
    """Scales pixels a side by `factor` to the nearest multiple of `divisor`."""
    if divisor < 1:
        raise ValueError(
            f"resolution_divisor must be at least 1, got {divisor!r}."
        )
    scaled = resolution * factor / divisor
    if not math.isfinite(scaled):
        raise ValueError(
            f"{resolution} pixels times {factor:g} are too many; choose "
            "smaller coefficients."
        )
    return round(scaled) * divisor


def round_repeats(repeats: int, depth: float) -> int:
    """Scales a stage's number of blocks by `depth`, rounded up."""
    return math.ceil(repeats * depth)


@dataclasses.dataclass(frozen=True)
class Growth:
    """The factors by which a scaled network costs more than its base."""

    multiply_adds: float
    params: float
    activations: float


@dataclasses.dataclass(frozen=True)
class Factors:
    """The factors that depth, width and resolution are multiplied by.

    With `late` above 0, depth is weighted: of n stages, stage i, counted from
    0, gets depth to the power of 1 - late + 2 * late * i / (n - 1). At 1 the
    first stage keeps its blocks, and the last grows twice as fast as all would.
    `max_resolution` caps the result, in pixels; 0: no cap.

    Tan and Le, 2021, §3.3 of https://arxiv.org/abs/2104.00298, scaled V2-S to M
    and L by hand: "gradually add more layers to later stages", and no more than
    480 pixels. The weights are ours.
    """

    depth: float
    width: float
    resolution: float
    late: float = 0.0
    max_resolution: int = 0

    def __post_init__(self):
        if not 0 <= self.late <= 1:
            raise ValueError(f"late must be from 0 to 1, got {self.late!r}.")
        if self.max_resolution and self.max_resolution < variants.MIN_SIZE:
            raise ValueError(
                f"max_resolution={self.max_resolution!r} must be 0, or at "
                f"least {variants.MIN_SIZE} pixels."
            )


def factors(
    phi: float,
    alpha: float = ALPHA,
    beta: float = BETA,
    gamma: float = GAMMA,
    *,
    late: float = 0.0,
    max_resolution: int = 0,
) -> Factors:
    """Returns the `Factors` α^φ, β^φ and γ^φ for a real φ.

    Raises:
      ValueError: a coefficient is below 1, or φ is not a number or too large;
        see `Factors` for the others.
    """
    for name, value in (("alpha", alpha), ("beta", beta), ("gamma", gamma)):
        if not 1 <= value < math.inf:
            raise ValueError(f"{name} must be at least 1, got {value!r}.")
    if not math.isfinite(phi):
        raise ValueError(f"phi must be a finite number, got {phi!r}.")
    try:
        return Factors(alpha**phi, beta**phi, gamma**phi, late, max_resolution)
    except OverflowError:
        largest = max(alpha, beta, gamma)
        limit = math.log(sys.float_info.max) / math.log(largest)
        raise ValueError(
            f"phi={phi!r} is too large; with a coefficient of {largest:g} it "
            f"must be at most {math.ceil(limit) - 1}."
        ) from None


def growth(
    phi: float, alpha: float = ALPHA, beta: float = BETA, gamma: float = GAMMA
) -> Growth:
    """Predicts the `Growth` for φ, without rounding.

    For regular convolutions, section 3.3: multiply-adds grow by (α·β²·γ²)^φ,
    parameters by (α·β²)^φ, activations by (α·β·γ²)^φ. `costs.growth` counts the
    scaled networks instead.
    """
    by = factors(phi, alpha, beta, gamma)
    return Growth(
        multiply_adds=by.depth * by.width**2 * by.resolution**2,
        params=by.depth * by.width**2,
        activations=by.depth * by.width * by.resolution**2,
    )


def compound(
    phi: float,
    alpha: float = ALPHA,
    beta: float = BETA,
    gamma: float = GAMMA,
    *,
    base: registry.Model = "efficientnet_b0",
    resolution_divisor: int = 1,
    late: float = 0.0,
    max_resolution: int = 0,
) -> variants.Variant:
    """Returns `base` scaled by the compound coefficient φ.

    Depth grows by α^φ, width by β^φ and resolution by γ^φ, so multiply-adds
    grow by about (α·β²·γ²)^φ. φ may be any real number. The published B1–B7
    are not exactly on this curve: the table in `variants` holds their real
    values, and docs/scaling.md shows how far they are from it.

    Args:
      phi: the compound coefficient; 0 is the base itself.
      alpha: the base of depth.
      beta: the base of width.
      gamma: the base of resolution.
      base: a name, a variant file or a `Variant`.
      resolution_divisor: resolutions are rounded to multiples of it, in pixels.
      late: how much deeper later stages become than earlier ones, from 0 to 1,
        as EfficientNetV2 was scaled; see `Factors`.
      max_resolution: a cap in pixels; 0: none.

    Raises:
      ValueError: a coefficient is below 1, the result below 32 pixels, or the
        cap below the base's resolution.
    """
    by = factors(
        phi, alpha, beta, gamma, late=late, max_resolution=max_resolution
    )
    step = alpha * beta**2 * gamma**2
    if abs(step - GROWTH) > TOLERANCE:
        logging.warning(
            "alpha * beta^2 * gamma^2 = %.3g, the growth of multiply-adds per "
            "step of phi; compound scaling has about %g.",
            step,
            GROWTH,
        )
    return grow(base, phi, by, resolution_divisor)


def grow(
    base: registry.Model,
    phi: float,
    by: Factors,
    resolution_divisor: int = 1,
) -> variants.Variant:
    """Returns `base` scaled by `Factors`, with dropout adjusted to φ.

    Raises:
      ValueError: the resolution falls below the total stride of 32.
    """
    base = registry.get_variant(base)
    pixels = round_resolution(
        base.resolution, by.resolution, resolution_divisor
    )
    if pixels < variants.MIN_SIZE:
        raise ValueError(
            f"phi={phi!r} gives {pixels} pixels, below the network's total "
            f"stride of {variants.MIN_SIZE}; choose a larger phi."
        )
    grown = scale(base, by, resolution_divisor)
    if not base.dropout:
        return grown
    # "We linearly increase dropout from 0.2 for B0 to 0.5 for B7", sec. 5.2.
    dropout = min(0.5, max(0.0, base.dropout + 0.3 * phi / 7))
    return dataclasses.replace(grown, dropout=dropout)


def scale(
    model: registry.Model, by: Factors, resolution_divisor: int = 1
) -> variants.Variant:
    """Returns a variant with its dimensions multiplied by `Factors`.

    The resolution is rounded to a multiple of `resolution_divisor`. With
    weighted depth, the stages have their repeats written out, and the variant a
    depth of 1.

    Raises:
      ValueError: the base's resolution is above the cap.
    """
    variant = registry.get_variant(model)
    pixels = round_resolution(
        variant.resolution, by.resolution, resolution_divisor
    )
    if by.max_resolution:
        if variant.resolution > by.max_resolution:
            raise ValueError(
                f"max_resolution={by.max_resolution} is below the base's "
                f"{variant.resolution} pixels."
            )
        pixels = min(pixels, by.max_resolution)
    scaled = dataclasses.replace(
        variant, width=variant.width * by.width, resolution=pixels
    )
    if not by.late:
        return dataclasses.replace(scaled, depth=variant.depth * by.depth)
    return dataclasses.replace(
        scaled, depth=1.0, stages=_deepen(variant, by.depth, by.late)
    )


def _deepen(variant, depth, late):
    """Returns the stages with their repeats scaled, later ones by more."""
    stages, last = [], len(variant.stages) - 1
    for index, stage in enumerate(variant.stages):
        weight = 1 - late + 2 * late * index / last if last else 1.0
        repeats = round_repeats(stage.repeats, variant.depth * depth**weight)
        if variant.fixed_ends and index in (0, last):
            repeats = stage.repeats
        stages.append(dataclasses.replace(stage, repeats=repeats))
    return tuple(stages)


def implied_phi(
    model: registry.Model, base: registry.Model = "efficientnet_b0"
) -> Factors:
    """Returns the φ that depth, width and resolution each imply.

    On the curve of α, β and γ the three are equal.
    """
    variant, base = registry.get_variant(model), registry.get_variant(base)
    return Factors(
        depth=math.log(variant.depth / base.depth, ALPHA),
        width=math.log(variant.width / base.width, BETA),
        resolution=math.log(variant.resolution / base.resolution, GAMMA),
    )
