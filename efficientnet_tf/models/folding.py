"""Folds batch normalization into the convolutions before it."""

import keras
import numpy as np

from efficientnet_tf.models import graphs

CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
_WITH_ACTIVATION = (*CONVOLUTIONS, keras.layers.Dense)


def fold(network: keras.Model) -> keras.Model:
    """Returns a network that computes the same without normalization.

    Its layers do one thing each: convolutions and dense layers have biases and
    no activations, which follow as layers of their own, such as
    "block2a_se_reduce_activation". Dropout is left out. All else has its name
    and is copied.

    Args:
      network: a functional one; it is left as it is.

    Raises:
      ValueError: a batch normalization does not follow a convolution whose
        output nothing else takes; it is named.
    """
    norms = _find_norms(network)

    def apply(layer, inputs):
        if isinstance(layer, keras.layers.Dropout) or layer in norms.values():
            return inputs
        if isinstance(layer, keras.layers.InputLayer):
            return keras.Input(batch_shape=layer.batch_shape, name=layer.name)
        if isinstance(layer, _WITH_ACTIVATION):
            return _apply_linear(layer, norms.get(layer.name), inputs)
        new = graphs.copy(layer)
        outputs = new(inputs)
        new.set_weights(layer.get_weights())
        return outputs

    return graphs.rebuild(network, apply)


def _find_norms(network):
    """Returns {name of a convolution: the normalization to fold into it}."""
    consumers, norms = graphs.find_consumers(network), {}
    for layer in network.layers:
        if not isinstance(layer, keras.layers.BatchNormalization):
            continue
        before = layer.input._keras_history.operation
        if (
            not isinstance(before, CONVOLUTIONS)
            or before.activation is not keras.activations.linear
            or len(consumers[before.name]) > 1
        ):
            raise ValueError(
                f"{layer.name} cannot be folded: it must follow a convolution "
                f"without activation, alone, not {before.name}."
            )
        norms[before.name] = layer
    return norms


def _apply_linear(layer, norm, inputs):
    new = graphs.copy(layer, use_bias=True, activation=None)
    outputs = new(inputs)
    kernel, *rest = layer.get_weights()
    (bias,) = rest or [np.zeros(new.bias.shape)]
    if norm is not None:
        kernel, bias = _fold(layer, kernel, bias, norm)
    new.set_weights([kernel, bias])
    if layer.activation is keras.activations.linear:
        return outputs
    activation = keras.layers.Activation(
        layer.activation,
        dtype=layer.dtype_policy,
        name=f"{layer.name}_activation",
    )
    return activation(outputs)


def _fold(layer, kernel, bias, norm):
    """Returns the kernel and bias that do what both layers do."""
    mean, variance = (
        np.asarray(value, np.float64)
        for value in (norm.moving_mean, norm.moving_variance)
    )
    scale = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        scale *= np.asarray(norm.gamma)
    bias = (bias - mean) * scale
    if norm.center:
        bias += np.asarray(norm.beta)
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        scale = scale.reshape(kernel.shape[2:])  # [channels, multiplier].
    return kernel * scale, bias
