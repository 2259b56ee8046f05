"""A network at a scale, whichever it is: a row, a baseline or a file."""

import dataclasses
import math
from typing import Annotated

from efficientnet_tf.models import baselines, builder, costs, scaling, variants
from efficientnet_tf.utils import configs, files

# Of width and depth: far above what fits into any memory, and below what takes
# long to count.
MAX_SCALE = 1000.0


@dataclasses.dataclass(frozen=True)
class Scaled:
    """A base network at a scale; what a variant file holds.

    `base` is a name of the family or of `baselines`; `resolution` is in pixels.
    """

    base: str
    width: Annotated[float, configs.Above(0, MAX_SCALE)]
    depth: Annotated[float, configs.Above(0, MAX_SCALE)]
    resolution: int
    dropout: Annotated[float, configs.Fraction()]

    def __post_init__(self):
        configs.check(self)
        if self.resolution < builder.MIN_SIZE:
            raise ValueError(
                f"resolution={self.resolution} is below {builder.MIN_SIZE}, by "
                "which the networks stride."
            )

    @property
    def variant(self):
        """The `Variant` it is; None for one that is not made of MBConv."""
        if self.base == "mobilenet_v2":
            row = baselines.MOBILENET_V2
        elif self.base in variants.VARIANTS:
            row = variants.VARIANTS[self.base]
        else:
            return None
        fields = dataclasses.asdict(self)
        del fields["base"]
        return dataclasses.replace(row, **fields)

    @property
    def interpolation(self):
        return self.variant.interpolation if self.variant else "bicubic"


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of one image: as in `profiling.Profile`."""

    params: int
    multiply_adds: int
    activations: int


def get(name):
    """Returns the `Scaled` of a name or a variant file; one passes through.

    Raises:
      ValueError: an unknown name, or a file that makes no network.
      FileNotFoundError: there is no such file.
    """
    if isinstance(name, Scaled):
        return name
    fields = {}
    if variants.is_file(name):
        fields = variants.read_file(name)
        name = fields.pop("base")
    if name in baselines.BASELINES:
        whole = Scaled(name, 1.0, 1.0, baselines.RESOLUTION, 0.0)
    elif name in variants.VARIANTS:
        row = variants.VARIANTS[name]
        whole = Scaled(name, row.width, row.depth, row.resolution, row.dropout)
    else:
        raise ValueError(
            f"Unknown model {name!r}; choose one of "
            f"{', '.join((*variants.VARIANTS, *baselines.BASELINES))}, or a "
            f"{variants.FILE_SUFFIX} file."
        )
    return dataclasses.replace(whole, **fields)


def write(path, network):
    """Writes a `Scaled` as a variant file."""
    files.write_json(path, dataclasses.asdict(network))


def scale(network, factors, divisor=1):
    """Returns a `Scaled` with its dimensions times `scaling.Factors`.

    Resolutions go to the nearest multiple of `divisor`.
    """
    return dataclasses.replace(
        network,
        width=network.width * factors.width,
        depth=network.depth * factors.depth,
        resolution=scaling.round_resolution(
            network.resolution, factors.resolution, divisor
        ),
    )


def build(
    network, *, classes=1000, size=0, dropout_rate=None, drop_path_rate=None
):
    """Builds a `Scaled`, or what `get` takes, with random weights.

    Args:
      network: a `Scaled`, a name or a variant file.
      classes: of the dense layer.
      size: pixels a side; 0: its own; None: any, where the family allows it.
      dropout_rate: before the dense layer; None: its own.
      drop_path_rate: of the last block; None: its own.

    Raises:
      ValueError: what was asked for is not possible.
    """
    network = get(network)
    size = network.resolution if size == 0 else size
    if dropout_rate is None:
        dropout_rate = network.dropout
    if network.variant is not None:
        return builder.build(
            network.variant,
            classes=classes,
            input_shape=(size, size, 3),
            dropout_rate=dropout_rate,
            drop_path_rate=drop_path_rate,
            name=network.base,
        )
    if drop_path_rate:
        raise ValueError(
            f"drop_path_rate={drop_path_rate}: {network.base} drops no paths."
        )
    return baselines.build(
        network.base,
        depth=network.depth,
        width=network.width,
        resolution=size,
        classes=classes,
        dropout_rate=dropout_rate,
    )


def count(network, classes=1000):
    """Returns the `Cost` of a `Scaled`, or of what `get` takes; builds none."""
    network = get(network)
    if network.variant is not None:
        found = costs.count(network.variant, classes=classes)
        return Cost(found.params, found.multiply_adds, found.activations)
    parts, filters = _COUNTS[network.base](network, network.resolution)
    return Cost(*costs.add(*parts, _dense(filters, classes)))


def _count_mobilenet_v1(network, size):
    """Returns counts of all but the dense layer, and its input's filters."""
    size = costs.strided(size, 2)
    filters = scaling.round_filters(32, network.width)
    parts = [costs.conv(3, 3, filters, size)]
    for stage, strides in _blocks(baselines.MOBILENET_V1, network.depth):
        size = costs.strided(size, strides)
        parts.append(costs.conv(3, 1, filters, size))
        out = scaling.round_filters(stage.filters, network.width)
        parts.append(costs.conv(1, filters, out, size))
        filters = out
    return parts, filters


def _count_resnet50(network, size):
    size = costs.strided(size, 2)
    filters = scaling.round_filters(64, network.width)
    parts = [_biased(7, 3, filters, size)]
    size = costs.strided(size, 2)
    last = None
    for stage, strides in _blocks(baselines.RESNET50, network.depth):
        inner = scaling.round_filters(stage.filters, network.width)
        out = inner * baselines.RESNET_EXPANSION
        after = costs.strided(size, strides)
        if stage is not last:
            parts.append(_biased(1, filters, out, after))
        parts += [
            _biased(1, filters, inner, size),
            _biased(3, inner, inner, after),
            _biased(1, inner, out, after),
        ]
        size, filters, last = after, out, stage
    return parts, filters


def _count_vit(network, size):
    vit = baselines.VIT
    heads = max(1, round(vit.heads * network.width))
    filters = heads * vit.head_size
    side = costs.strided(size, vit.patch_size)
    tokens = side**2 + 1  # With the class token.
    norm = (2 * filters, 0, 0)
    hidden = vit.mlp_ratio * filters
    layer = costs.add(
        norm,
        *[_dense(filters, filters, tokens)] * 4,  # Queries, keys, values, out.
        (0, 2 * tokens**2 * filters, 0),
        norm,
        _dense(filters, hidden, tokens),
        _dense(hidden, filters, tokens),
    )
    layers = scaling.round_repeats(vit.layers, network.depth)
    stem = _dense(3 * vit.patch_size**2, filters, side**2)
    learned = ((1 + tokens) * filters, 0, 0)
    return [stem, learned, *[layer] * layers, norm], filters


_COUNTS = {
    "mobilenet_v1": _count_mobilenet_v1,
    "resnet50": _count_resnet50,
    "vit": _count_vit,
}


def _dense(in_filters, filters, places=1):
    weights = in_filters * filters
    return weights + filters, weights * places, filters * places


def _biased(kernel_size, in_filters, filters, size):
    return costs.add(
        costs.conv(kernel_size, in_filters, filters, size), (filters, 0, 0)
    )


def _blocks(stages, depth):
    """Yields (stage, strides) of each block after scaling."""
    for stage in stages:
        for i in range(scaling.round_repeats(stage.repeats, depth)):
            yield stage, stage.strides if i == 0 else 1


def grow(network, growth, direction, **coefficients):
    """Returns `network` scaled to `growth` times its multiply-adds.

    Repeats, filters and pixels are whole numbers, so it is the nearest there
    is on the way.

    Args:
      network: a `Scaled`.
      growth: at least 1.
      direction: a row of `DIRECTIONS`.
      coefficients: alpha, beta, gamma of "compound".

    Raises:
      ValueError: a growth below 1, or an unknown direction.
    """
    if not 1 <= growth < math.inf:
        raise ValueError(f"growth must be at least 1, got {growth!r}.")
    if direction not in DIRECTIONS:
        raise ValueError(
            f"Unknown direction {direction!r}; choose one of "
            f"{', '.join(DIRECTIONS)}."
        )
    target = growth * count(network).multiply_adds

    def at(amount):
        by = DIRECTIONS[direction](amount, **coefficients)
        found = scale(network, by)
        return found, count(found).multiply_adds

    # The cost rises in steps; the crossing is between `low` and `high`.
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


# How a network is made larger: an amount from 0 on → `scaling.Factors`.
DIRECTIONS = {
    "depth": _alone("depth"),
    "width": _alone("width"),
    "resolution": _alone("resolution"),
    "compound": scaling.factors,
}
