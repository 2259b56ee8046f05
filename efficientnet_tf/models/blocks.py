"""The building blocks of the network, as functions from tensor to tensor."""

import keras

from efficientnet_tf.models import layers

BN_MOMENTUM = 0.99
BN_EPSILON = 1e-3

# N(0, sqrt(2 / fan_out)), not truncated; for a depthwise kernel (k, k, C, 1)
# the fan-out is k * k, as in the official code.
CONV_INITIALIZER = keras.initializers.VarianceScaling(
    2.0, mode="fan_out", distribution="untruncated_normal"
)
# U(-1 / sqrt(classes), 1 / sqrt(classes)).
DENSE_INITIALIZER = keras.initializers.VarianceScaling(
    1.0 / 3.0, mode="fan_out", distribution="uniform"
)


def conv_bn_act(x, filters, kernel_size, *, activation, name, strides=1):
    """Convolution, batch normalization and, unless None, an activation."""
    x = keras.layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer=_clone(CONV_INITIALIZER),
        name=f"{name}_conv",
    )(x)
    return _bn_act(x, activation, name)


def depthwise_bn_act(x, kernel_size, *, activation, name, strides=1):
    """Depthwise convolution, batch normalization and an activation."""
    x = keras.layers.DepthwiseConv2D(
        kernel_size,
        strides=strides,
        padding="same",
        use_bias=False,
        depthwise_initializer=_clone(CONV_INITIALIZER),
        name=f"{name}_conv",
    )(x)
    return _bn_act(x, activation, name)


def squeeze_excite(x, squeezed, *, activation, name):
    """Gates the channels of [N, H, W, C] by their global average."""
    filters = x.shape[-1]
    gate = keras.layers.GlobalAveragePooling2D(
        keepdims=True, name=f"{name}_squeeze"
    )(x)
    gate = keras.layers.Conv2D(
        squeezed,
        1,
        activation=activation,
        kernel_initializer=_clone(CONV_INITIALIZER),
        name=f"{name}_reduce",
    )(gate)
    gate = keras.layers.Conv2D(
        filters,
        1,
        activation="sigmoid",
        kernel_initializer=_clone(CONV_INITIALIZER),
        name=f"{name}_expand",
    )(gate)
    return keras.layers.Multiply(name=f"{name}_excite")([x, gate])


def drop_path(x, rate, *, name):
    """Drops a residual branch per sample while training, else rescales it."""
    if rate == 0:
        return x
    return layers.Dropout(rate, noise_shape=(None, 1, 1, 1), name=name)(x)


def mbconv(x, plan, *, activation):
    """Inverted bottleneck with squeeze-and-excitation, as `plan` says.

    Maps [N, H, W, C] to [N, H / strides, W / strides, filters].
    """
    shortcut = x
    in_filters = x.shape[-1]
    name = plan.name

    if plan.expand_ratio > 1:
        expanded = in_filters * plan.expand_ratio
        x = conv_bn_act(
            x, expanded, 1, activation=activation, name=f"{name}_expand"
        )
    x = depthwise_bn_act(
        x,
        plan.kernel_size,
        strides=plan.strides,
        activation=activation,
        name=f"{name}_depthwise",
    )
    if plan.squeezed_filters:
        x = squeeze_excite(
            x, plan.squeezed_filters, activation=activation, name=f"{name}_se"
        )
    x = conv_bn_act(x, plan.filters, 1, activation=None, name=f"{name}_project")

    if plan.has_shortcut:
        x = drop_path(x, plan.drop_rate, name=f"{name}_drop")
        x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
    return x


def _bn_act(x, activation, name):
    x = layers.BatchNormalization(
        momentum=BN_MOMENTUM, epsilon=BN_EPSILON, name=f"{name}_bn"
    )(x)
    if activation == "silu":
        activation = layers.silu
    if activation is not None:
        x = keras.layers.Activation(activation, name=f"{name}_activation")(x)
    return x


def _clone(initializer):
    # A shared unseeded initializer would give equal values to equal shapes.
    return initializer.clone()
