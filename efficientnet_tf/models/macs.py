"""The multiply-adds of one call of one Keras layer, from its shapes."""

import math

import keras

from efficientnet_tf.models import layers


def count(layer, inputs, output):
    """Returns the multiply-adds of one call, or None where no rule is known.

    Rules hold for subclasses too. Those of a layer made of other layers leave
    out what the inner layers' own rules count.

    Args:
      layer: a Keras layer, or an operation such as that of `keras.ops.matmul`
        in a functional model.
      inputs: the shapes of its arguments.
      output: the shape of its first output.
    """
    for kind in type(layer).__mro__:
        rule = RULES.get(kind) or _OPERATION_RULES.get(kind.__name__)
        if rule is not None:
            return rule(layer, inputs, output)
    return None


def is_free(layer):
    """Whether a layer's own matrices are known to multiply nothing."""
    return isinstance(layer, FREE)


def covers_inner_layers(layer):
    """Whether the rule of a layer counts what is called inside it."""
    return isinstance(layer, keras.layers.RNN)


def count_einsum(equation, *shapes):
    """Returns the multiply-adds of an einsum: the product of all its sizes."""
    left = equation.replace(" ", "").partition("->")[0]
    sizes = {}
    for labels, shape in zip(left.split(","), shapes, strict=True):
        start, dots, end = labels.partition("...")
        if dots:
            hidden = shape[len(start) : len(shape) - len(end)]
            # Broadcast dimensions line up at their ends.
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
    # A kernel of a grouped convolution holds the filters of one group.
    return _size(layer.kernel) * _positions(layer, output)


def _conv_transpose(layer, inputs, output):
    return _size(layer.kernel) * _positions(layer, inputs[0])


def _separable(layer, inputs, output):
    kernels = _size(layer.depthwise_kernel) + _size(layer.pointwise_kernel)
    return kernels * _positions(layer, output)


def _recurrent(layer, inputs, output):
    steps = inputs[0][1]
    cells = getattr(layer.cell, "cells", [layer.cell])
    matrices = [
        weight
        for cell in cells
        for weight in cell.weights
        if "kernel" in weight.name
    ]
    return inputs[0][0] * steps * sum(map(_size, matrices))


def _conv_recurrent(layer, inputs, output):
    batch, steps = inputs[0][:2]
    cell = layer.cell
    kernels = _size(cell.kernel) + _size(cell.recurrent_kernel)
    spatial = output[-cell.rank - 1 : -1]
    if cell.data_format == "channels_first":
        spatial = output[-cell.rank :]
    return batch * steps * kernels * math.prod(spatial)


def _time_distributed(layer, inputs, output):
    # It runs the inner layer's `call` without the layer being called.
    def one_step(shape):
        return (shape[0], *shape[2:])

    inner = count(layer.layer, [one_step(inputs[0])], one_step(output))
    return None if inner is None else inner * inputs[0][1]


def _multi_head_attention(layer, inputs, output):
    batch, queries, keys = _attended(inputs)
    size = layer.key_dim + layer.value_dim
    return batch * layer.num_heads * queries * keys * size


def _grouped_query_attention(layer, inputs, output):
    batch, queries, keys = _attended(inputs)
    return batch * layer.num_query_heads * queries * keys * 2 * layer.head_dim


def _attention(layer, inputs, output):
    query, value = inputs[:2]
    key = inputs[2] if len(inputs) > 2 else value
    return math.prod(query[:-1]) * value[-2] * (key[-1] + value[-1])


def _additive_attention(layer, inputs, output):
    # Queries and keys are added; only the values are multiplied.
    query, value = inputs[:2]
    return math.prod(query[:-1]) * value[-2] * value[-1]


def _attended(inputs):
    """Returns the batch and how many queries look at how many keys."""
    query, value = inputs[:2]
    return query[0], math.prod(query[1:-1]), math.prod(value[1:-1])


def _matmul(layer, inputs, output):
    # Of [..., M, K] and [..., K, N], or vectors.
    return math.prod(output) * inputs[0][-1]


def _einsum(layer, inputs, output):
    return count_einsum(layer.subscripts, *inputs)


def _positions(layer, shape):
    """Returns where a convolution's kernel is laid down, over the batch."""
    spatial = shape[1:-1]
    if layer.data_format == "channels_first":
        spatial = shape[2:]
    return shape[0] * math.prod(spatial)


def _size(weight):
    return math.prod(weight.shape)


# Layer -> rule; people may add a row for a layer of their own: a function of
# the layer, the shapes of its inputs and the shape of its output.
RULES = {
    keras.layers.Dense: _dense,
    keras.layers.EinsumDense: _einsum_dense,
    keras.layers.Conv1D: _conv,
    keras.layers.Conv2D: _conv,
    keras.layers.Conv3D: _conv,
    keras.layers.DepthwiseConv1D: _conv,
    keras.layers.DepthwiseConv2D: _conv,
    keras.layers.Conv1DTranspose: _conv_transpose,
    keras.layers.Conv2DTranspose: _conv_transpose,
    keras.layers.Conv3DTranspose: _conv_transpose,
    keras.layers.SeparableConv1D: _separable,
    keras.layers.SeparableConv2D: _separable,
    keras.layers.ConvLSTM1D: _conv_recurrent,
    keras.layers.ConvLSTM2D: _conv_recurrent,
    keras.layers.ConvLSTM3D: _conv_recurrent,
    keras.layers.RNN: _recurrent,
    keras.layers.TimeDistributed: _time_distributed,
    keras.layers.MultiHeadAttention: _multi_head_attention,
    keras.layers.GroupQueryAttention: _grouped_query_attention,
    keras.layers.Attention: _attention,
    keras.layers.AdditiveAttention: _additive_attention,
}

# The operations of `keras.ops` have no public classes.
_OPERATION_RULES = {"Matmul": _matmul, "Einsum": _einsum}

FREE = (
    keras.layers.Embedding,
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.Normalization,
    keras.layers.PReLU,
    layers.ClassToken,  # It adds.
)
