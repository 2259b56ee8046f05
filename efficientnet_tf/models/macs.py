"""The multiply-adds of one call of one Keras layer, from its shapes."""

import math
from collections.abc import Iterable, Sequence

import keras

from efficientnet_tf.models import class_token


def count_macs(
    layer: keras.Operation,
    inputs: Sequence[tuple[int, ...]],
    output: tuple[int, ...],
) -> int | None:
    """Returns the multiply-adds of one call, or None without a rule.

    Rules apply to subclasses too. The rule of a layer made of other layers
    leaves out what the rules of the inner layers count.

    Args:
      layer: a Keras layer, or an operation such as `keras.ops.matmul` in a
        functional model.
      inputs: the shapes of its arguments.
      output: the shape of its first output.
    """
    for kind in type(layer).__mro__:
        rule = RULES.get(kind) or _OPERATION_RULES.get(kind.__name__)
        if rule is not None:
            return rule(layer, inputs, output)
    return None


def needs_rule(layer: keras.Operation, weights: Iterable) -> bool:
    """Whether a layer multiplies, or may multiply, by its own `weights`."""
    matrices = any(len(weight.shape) > 1 for weight in weights)
    return isinstance(layer, _MULTIPLYING) or (
        matrices and not isinstance(layer, FREE)
    )


def count_einsum(equation: str, *shapes: tuple[int, ...]) -> int:
    """Returns the multiply-adds of an einsum: the product of all sizes."""
    left = equation.replace(" ", "").partition("->")[0]
    sizes: dict[str, int] = {}
    for labels, shape in zip(left.split(","), shapes, strict=True):
        start, dots, end = labels.partition("...")
        if dots:
            hidden = shape[len(start) : len(shape) - len(end)]
            # Broadcast dimensions align at their ends.
            for place, size in enumerate(reversed(hidden)):
                key = f"...{place}"
                sizes[key] = max(size, sizes.get(key, 1))
            shape = (*shape[: len(start)], *shape[len(shape) - len(end) :])
        for label, size in zip(start + end, shape, strict=True):
            sizes[label] = max(size, sizes.get(label, 1))
    return math.prod(sizes.values())


def _dense(layer, inputs, output):
    return _size(layer.kernel) * math.prod(output[:-1])


def _einsum_dense(layer, inputs, output):
    return count_einsum(layer.equation, inputs[0], layer.kernel.shape)


def _conv(layer, inputs, output):
    # A grouped convolution's kernel has the input filters of one group only.
    return _size(layer.kernel) * _positions(layer, output)


def _separable(layer, inputs, output):
    kernels = _size(layer.depthwise_kernel) + _size(layer.pointwise_kernel)
    return kernels * _positions(layer, output)


def _multi_head_attention(layer, inputs, output):
    # Every query attends to every key, twice: scores, then weighted values.
    query, value = inputs[:2]
    queries, keys = math.prod(query[1:-1]), math.prod(value[1:-1])
    size = layer.key_dim + layer.value_dim
    return query[0] * layer.num_heads * queries * keys * size


def _matmul(layer, inputs, output):
    # [..., M, K] times [..., K, N], or vectors.
    return math.prod(output) * inputs[0][-1]


def _einsum(layer, inputs, output):
    return count_einsum(layer.subscripts, *inputs)


def _positions(layer, shape):
    """Returns at how many positions a kernel is applied, over the batch."""
    spatial = shape[1:-1]
    if layer.data_format == "channels_first":
        spatial = shape[2:]
    return shape[0] * math.prod(spatial)


def _size(weight):
    return math.prod(weight.shape)


# Layer -> rule: a function of the layer, the shapes of its inputs and the shape
# of its output. You can add a row for a layer of your own.
RULES = {
    keras.layers.Dense: _dense,
    keras.layers.EinsumDense: _einsum_dense,
    keras.layers.Conv2D: _conv,
    keras.layers.DepthwiseConv2D: _conv,
    keras.layers.SeparableConv2D: _separable,
    keras.layers.MultiHeadAttention: _multi_head_attention,
}

# The operations of `keras.ops` have no public classes.
_OPERATION_RULES = {"Matmul": _matmul, "Einsum": _einsum}

# Layers that hold matrices but do not multiply by them.
FREE = (
    keras.layers.Embedding,
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.Normalization,
    keras.layers.PReLU,
    class_token.ClassToken,  # It adds them.
)

# Layers that multiply without holding a matrix.
_MULTIPLYING = (keras.layers.Attention, keras.layers.GroupQueryAttention)
