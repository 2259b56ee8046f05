"""The largest network as any of its children, chosen by a tensor.

Children are masked, not sliced: the channels that a child lacks are zeros. So
the shapes are fixed, one graph serves every child, on each replica and under
XLA, while slices of Python sizes would be traced anew for each child. A step
costs as if all its children were the largest one. Scoring slices
(`slices.take_out`).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from efficientnet_tf.models import plan as plan_lib
from efficientnet_tf.search.architect import spaces
from efficientnet_tf.search.architect.supernet import slices


@dataclasses.dataclass(frozen=True)
class BlockSizes:
    """A block of a child, as scalar tensors or numbers."""

    kernel_size: Any
    in_filters: Any
    expand_ratio: Any
    squeezed_filters: Any
    filters: Any
    exists: Any


class Children:
    """The blocks of every network of a space, by its genotype.

    Args:
      space: whose networks share weights, see `slices.check`.
    """

    def __init__(self, space: spaces.Space):
        slices.check(space)
        self.sizes = np.array(space.sizes)
        self.smallest = np.array(slices.find_smallest(space))
        self.plan = plan_lib.plan_network(
            space.decode(slices.find_largest(space))
        )
        self._stages = [
            _read_stage(space, number)
            for number in range(len(space.template.stages))
        ]
        self._stem = (None, np.array([self.plan.stem_filters]))

    def sample(self, seed: Any) -> Any:
        """Returns a random genotype, by an integer tensor [2]."""
        import tensorflow as tf

        # XLA draws others by the same seed, in every process alike.
        drawn = tf.random.stateless_uniform(self.sizes.shape, seed)
        sizes = self.sizes.astype("float32")
        found = tf.cast(tf.floor(drawn * sizes), "int32")
        # The product may be rounded up to the size.
        return tf.minimum(found, self.sizes.astype("int32") - 1)

    def describe(self, genotype: Any) -> list[BlockSizes]:
        """Returns the blocks of a child, one for each of `plan.blocks`."""
        found, before = [], self._stem
        for choices, blocks in zip(self._stages, self.plan.stages, strict=True):
            chosen = {
                field: _look_up(choice, genotype)
                for field, choice in choices.items()
                if field != "se_ratio"
            }
            for block in blocks:
                given = before if block.index == 1 else choices["filters"]
                found.append(
                    BlockSizes(
                        chosen["kernel_size"],
                        _look_up(given, genotype),
                        chosen["expand_ratio"],
                        _look_up_squeezed(given, choices["se_ratio"], genotype),
                        chosen["filters"],
                        block.index <= chosen["repeats"],
                    )
                )
            before = choices["filters"]
        return found


def call(
    layers: Mapping[str, keras.layers.Layer],
    children: Children,
    images: Any,
    genotype: Any,
) -> Any:
    """Returns a child's probabilities [N, classes], as in training.

    Batch norm takes the batch's statistics and leaves its averages alone.
    Nothing is dropped: only the largest network is regularized, section 3.1 of
    https://arxiv.org/abs/2003.11142.

    Args:
      layers: the largest network's, by name.
      children: of its space.
      images: [N, H, W, 3].
      genotype: int [decisions].
    """
    x = layers["preprocessing"](images)
    x = _conv_bn_act(layers, x, "stem")
    for block, sizes in zip(
        children.plan.blocks, children.describe(genotype), strict=True
    ):
        x = BLOCKS[block.block](layers, x, block, sizes)
    if "top_conv" in layers:
        x = _conv_bn_act(layers, x, "top")
    return layers["predictions"](layers["avg_pool"](x))


def _mbconv(layers, x, block, sizes):
    y, middle = x, sizes.in_filters * sizes.expand_ratio
    if block.expand_ratio > 1:
        y = _conv_bn_act(layers, x, f"{block.name}_expand")
        y = keras.ops.where(sizes.expand_ratio > 1, y, _fit(x, y.shape[-1]))
        y = _mask(y, middle)
    y = _conv_bn_act(
        layers, y, block.name, block.depthwise, kernel_size=sizes.kernel_size
    )
    y = _squeeze_excite(layers, _mask(y, middle), block, sizes)
    y = _conv_bn_act(layers, y, f"{block.name}_project")
    return _finish(x, y, block, sizes)


def _fused_mbconv(layers, x, block, sizes):
    kernel = {"kernel_size": sizes.kernel_size}
    project = f"{block.name}_project"
    if block.expand_ratio == 1:
        y = _squeeze_excite(layers, x, block, sizes)
        y = _conv_bn_act(layers, y, project, **kernel)
        return _finish(x, y, block, sizes)
    y = _conv_bn_act(layers, x, f"{block.name}_expand", **kernel)
    y = _mask(y, sizes.in_filters * sizes.expand_ratio)
    y = _squeeze_excite(layers, y, block, sizes)
    return _finish(x, _conv_bn_act(layers, y, project), block, sizes)


BLOCKS = {"mbconv": _mbconv, "fused_mbconv": _fused_mbconv}


def _finish(x, y, block, sizes):
    """Masks the output, and adds the shortcut where the child has one."""
    y = _mask(y, sizes.filters)
    if block.strides > 1:
        return y
    ops = keras.ops
    # Those of a stage's first block may be equal in a child alone.
    equal = ops.equal(sizes.in_filters, sizes.filters)
    shortcut = _fit(x, y.shape[-1])
    y = y + ops.where(equal, shortcut, ops.zeros_like(shortcut))
    if block.index == 1:
        return y
    return ops.where(sizes.exists, y, x)


def _conv_bn_act(layers, x, name, convolution="conv", kernel_size=None):
    padding = layers.get(f"{name}_pad")
    x = x if padding is None else padding(x)
    layer = layers[f"{name}_{convolution}"]
    x = layer(x) if kernel_size is None else _convolve(layer, x, kernel_size)
    x = layers[f"{name}_bn"].normalize_by_batch(x)
    activation = layers.get(f"{name}_activation")
    return x if activation is None else activation(x)


def _convolve(layer, x, kernel_size):
    """Convolves with the centre of a layer's kernel."""
    ops = keras.ops
    side = layer.kernel_size[0]
    # Twice the distance from the centre.
    offsets = np.abs(2 * np.arange(side, dtype="int32") - (side - 1))
    inside = ops.cast(offsets < kernel_size, layer.kernel.dtype)
    kernel = layer.kernel * inside[:, None, None, None] * inside[:, None, None]
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    convolve = ops.depthwise_conv if depthwise else ops.conv
    return convolve(
        x, ops.cast(kernel, x.dtype), layer.strides, padding=layer.padding
    )


def _squeeze_excite(layers, x, block, sizes):
    if not block.squeezed_filters:
        return x
    name = f"{block.name}_se"
    gate = layers[f"{name}_reduce"](layers[f"{name}_squeeze"](x))
    gate = _mask(gate, sizes.squeezed_filters)
    gate = layers[f"{name}_expand"](gate)
    gate = keras.ops.where(
        sizes.squeezed_filters > 0, gate, keras.ops.ones_like(gate)
    )
    return x * gate


def _mask(x, channels):
    """Zeroes all but the first channels."""
    return x * keras.ops.cast(
        np.arange(x.shape[-1], dtype="int32") < channels, x.dtype
    )


def _fit(x, channels):
    """Cuts channels off, or appends zeros."""
    lacks = channels - x.shape[-1]
    if lacks <= 0:
        return x[..., :channels]
    return keras.ops.pad(x, [(0, 0)] * 3 + [(0, lacks)])


def _read_stage(space, number):
    """Returns {field: (place in the genotype or None, values)}, scaled."""
    choices = {}
    for field in slices.SLICED:
        place = next(
            (
                i
                for i, d in enumerate(space.decisions)
                if (d.stage, d.field) == (number, field)
            ),
            None,
        )
        count = 1 if place is None else space.sizes[place]
        values = [
            _read_value(space, number, field, place, i) for i in range(count)
        ]
        choices[field] = place, np.array(values)
    return choices


def _read_value(space, number, field, place, index):
    genotype = [0] * len(space.sizes)
    if place is not None:
        genotype[place] = index
    variant = space.decode(tuple(genotype))
    if field == "se_ratio":
        return variant.stages[number].se_ratio
    blocks = plan_lib.plan_network(variant).stages[number]
    return len(blocks) if field == "repeats" else getattr(blocks[0], field)


def _look_up(choice, genotype):
    place, values = choice
    if place is None:
        return int(values[0])
    return keras.ops.take(values.astype("int32"), genotype[place])


def _look_up_squeezed(given, ratio, genotype):
    """Returns the squeezed filters by the input's filters and the ratio."""
    # From a table: in float32 a product may fall below the whole number.
    table = np.array(
        [
            [max(1, int(filters * share)) if share else 0 for share in ratio[1]]
            for filters in given[1].tolist()
        ],
        "int32",
    )
    for place, _ in (given, ratio):
        index = 0 if place is None else genotype[place]
        table = keras.ops.take(table, index, axis=0)
    return table
