"""Networks grown to a cost in one dimension, or in all three at once."""

import dataclasses
import functools
import math

from efficientnet_tf.models import costs, registry, scaling, variants
from efficientnet_tf.utils import configs


def grow(
    model: registry.Model, growth: float, direction: str, **coefficients: float
) -> variants.Variant:
    """Returns a network scaled to `growth` times its multiply-adds.

    Repeats, filters and pixels are integers, so it is the closest network in
    that direction.

    Args:
      model: a name, a variant file or a `Variant`.
      growth: at least 1.
      direction: a key of `DIRECTIONS`.
      **coefficients: alpha, beta and gamma, for "compound" and "weighted";
        late and max_resolution, for "weighted".

    Raises:
      ValueError: a growth below 1, or an unknown direction.
    """
    if not 1 <= growth < math.inf:
        raise ValueError(f"growth must be at least 1, got {growth!r}.")
    if direction not in DIRECTIONS:
        raise ValueError(configs.unknown("direction", direction, DIRECTIONS))
    target = growth * costs.count_costs(model).multiply_adds

    def at(amount):
        by = DIRECTIONS[direction](amount, **coefficients)
        found = scaling.scale(model, by)
        return found, costs.count_costs(found).multiply_adds

    # The cost is a step function; bisect for the step that crosses the target.
    low, high = 0.0, 1.0
    while at(high)[1] < target:
        low, high = high, 2 * high
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle)[1] < target else (low, middle)
    ends = (at(low), at(high))
    return min(ends, key=lambda end: abs(math.log(end[1] / target)))[0]


def _alone(dimension):
    def factors(amount):
        ones = scaling.Factors(1.0, 1.0, 1.0)
        return dataclasses.replace(ones, **{dimension: 1.0 + amount})

    return factors


# Direction -> function from an amount, 0 or more, to `scaling.Factors`.
DIRECTIONS = {
    "depth": _alone("depth"),
    "width": _alone("width"),
    "resolution": _alone("resolution"),
    "compound": scaling.factors,
    # Later stages more, as EfficientNetV2 was scaled.
    "weighted": functools.partial(scaling.factors, late=1.0),
}
# Those of the paper.
UNIFORM = tuple(name for name in DIRECTIONS if name != "weighted")
