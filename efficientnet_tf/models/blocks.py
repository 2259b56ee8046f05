"""The building blocks of the network, as functions from tensor to tensor."""

import keras

from efficientnet_tf.models import layers, plan as plan_lib, variants

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


def conv_bn_act(
    x: keras.KerasTensor,
    filters: int,
    kernel_size: int,
    *,
    activation: str | None,
    name: str,
    strides: int = 1,
    padding: str = "same",
    momentum: float | None = None,
) -> keras.KerasTensor:
    """Convolution, batch normalization and an activation unless it is None."""
    x, padding = _pad(x, kernel_size, strides, padding, name=name)
    x = keras.layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding=padding,
        use_bias=False,
        kernel_initializer=_clone(CONV_INITIALIZER),
        name=f"{name}_conv",
    )(x)
    return _bn_act(x, activation, momentum, name)


def depthwise_bn_act(
    x: keras.KerasTensor,
    kernel_size: int,
    *,
    activation: str,
    name: str,
    strides: int = 1,
    padding: str = "same",
    momentum: float | None = None,
    depthwise: str = plan_lib.DEPTHWISE,
) -> keras.KerasTensor:
    """Depthwise convolution, batch normalization and an activation."""
    x, padding = _pad(x, kernel_size, strides, padding, name=name)
    x = keras.layers.DepthwiseConv2D(
        kernel_size,
        strides=strides,
        padding=padding,
        use_bias=False,
        depthwise_initializer=_clone(CONV_INITIALIZER),
        name=f"{name}_{depthwise}",
    )(x)
    return _bn_act(x, activation, momentum, name)


def squeeze_excite(
    x: keras.KerasTensor, squeezed: int, *, activation: str, name: str
) -> keras.KerasTensor:
    """Gates the channels of [N, H, W, C] by their global averages."""
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


def drop_path(
    x: keras.KerasTensor, rate: float, *, name: str
) -> keras.KerasTensor:
    """Stochastic depth: drops a residual branch per image while training.

    Branches that are kept are scaled by 1 / (1 - rate).
    """
    if rate == 0:
        return x
    return layers.Dropout(rate, noise_shape=(None, 1, 1, 1), name=name)(x)


def mbconv(
    x: keras.KerasTensor, plan: plan_lib.BlockPlan, *, activation: str
) -> keras.KerasTensor:
    """Inverted bottleneck with squeeze-and-excitation, described by `plan`.

    Maps [N, H, W, C] to [N, H / strides, W / strides, filters].
    """
    shortcut = x
    name = plan.name
    momentum = plan.bn_momentum
    if plan.expand_ratio > 1:
        x = conv_bn_act(
            x,
            plan.in_filters * plan.expand_ratio,
            1,
            activation=activation,
            momentum=momentum,
            name=f"{name}_expand",
        )
    x = depthwise_bn_act(
        x,
        plan.kernel_size,
        strides=plan.strides,
        activation=activation,
        padding=plan.padding,
        momentum=momentum,
        depthwise=plan.depthwise,
        name=name,
    )
    x = _squeeze(x, plan, activation)
    x = conv_bn_act(
        x,
        plan.filters,
        1,
        activation=None,
        momentum=momentum,
        name=f"{name}_project",
    )
    return _add_shortcut(x, shortcut, plan)


def fused_mbconv(
    x: keras.KerasTensor, plan: plan_lib.BlockPlan, *, activation: str
) -> keras.KerasTensor:
    """An MBConv whose first two convolutions are one, described by `plan`.

    Without expansion that one is all, and has an activation. Maps [N, H, W, C]
    to [N, H / strides, W / strides, filters]; section 3.2 of
    https://arxiv.org/abs/2104.00298.
    """
    shortcut = x
    momentum = plan.bn_momentum
    if plan.expand_ratio == 1:
        # Before it, as in the official code.
        x = _squeeze(x, plan, activation)
        x = conv_bn_act(
            x,
            plan.filters,
            plan.kernel_size,
            strides=plan.strides,
            padding=plan.padding,
            activation=activation,
            momentum=momentum,
            name=f"{plan.name}_project",
        )
        return _add_shortcut(x, shortcut, plan)
    x = conv_bn_act(
        x,
        plan.in_filters * plan.expand_ratio,
        plan.kernel_size,
        strides=plan.strides,
        padding=plan.padding,
        activation=activation,
        momentum=momentum,
        name=f"{plan.name}_expand",
    )
    x = _squeeze(x, plan, activation)
    x = conv_bn_act(
        x,
        plan.filters,
        1,
        activation=None,
        momentum=momentum,
        name=f"{plan.name}_project",
    )
    return _add_shortcut(x, shortcut, plan)


def _squeeze(x, plan, activation):
    if not plan.squeezed_filters:
        return x
    return squeeze_excite(
        x, plan.squeezed_filters, activation=activation, name=f"{plan.name}_se"
    )


def _add_shortcut(x, shortcut, plan):
    if not plan.has_shortcut:
        return x
    x = drop_path(x, plan.drop_rate, name=f"{plan.name}_drop")
    return keras.layers.Add(name=f"{plan.name}_add")([x, shortcut])


def separable(
    x: keras.KerasTensor, plan: plan_lib.BlockPlan, *, activation: str
) -> keras.KerasTensor:
    """A depthwise and a 1x1 convolution, each with an activation."""
    x = depthwise_bn_act(
        x,
        plan.kernel_size,
        strides=plan.strides,
        activation=activation,
        padding=plan.padding,
        momentum=plan.bn_momentum,
        depthwise=plan.depthwise,
        name=plan.name,
    )
    return conv_bn_act(
        x,
        plan.filters,
        1,
        activation=activation,
        momentum=plan.bn_momentum,
        name=f"{plan.name}_project",
    )


def bottleneck(
    x: keras.KerasTensor, plan: plan_lib.BlockPlan, *, activation: str
) -> keras.KerasTensor:
    """A ResNet block: 1x1, 3x3 and 1x1 convolutions beside a shortcut."""
    name, momentum = plan.name, plan.bn_momentum
    inner = plan.filters // plan.expand_ratio
    shortcut = x
    if not plan.has_shortcut:
        shortcut = _biased_conv_bn(
            x,
            plan.filters,
            1,
            strides=plan.strides,
            momentum=momentum,
            name=f"{name}_shortcut",
        )
    x = _biased_conv_bn(x, inner, 1, momentum=momentum, name=f"{name}_reduce")
    x = _activate(x, activation, f"{name}_reduce")
    # The stride is on the 3x3 convolution, which gives the 4.1 billion
    # multiply-adds of the EfficientNet paper; ResNet's own paper has it on the
    # first 1x1, which gives 3.9.
    x = _biased_conv_bn(
        x,
        inner,
        plan.kernel_size,
        strides=plan.strides,
        padding=plan.padding,
        momentum=momentum,
        name=f"{name}_spatial",
    )
    x = _activate(x, activation, f"{name}_spatial")
    x = _biased_conv_bn(
        x, plan.filters, 1, momentum=momentum, name=f"{name}_expand"
    )
    x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
    return _activate(x, activation, name)


def conv_pool_stem(
    x: keras.KerasTensor, filters: int, variant: variants.Variant
) -> keras.KerasTensor:
    """A ResNet stem: a 7x7 convolution and max pooling, each with stride 2."""
    x = _biased_conv_bn(
        x,
        filters,
        7,
        strides=2,
        padding=variant.padding,
        momentum=variant.bn_momentum,
        name="stem",
    )
    x = _activate(x, variant.activation, "stem")
    # Zeros, as in keras.applications; after a ReLU the maxima are the same as
    # with PyTorch's minus infinity.
    x, padding = _pad(x, 3, 2, variant.padding, name="stem_pool")
    return keras.layers.MaxPooling2D(
        3, strides=2, padding=padding, name="stem_pool"
    )(x)


def _pad(x, kernel_size, strides, padding, *, name):
    """Pads symmetrically; returns the rest of the padding for the layer."""
    # Without strides, an odd kernel's "same" padding is symmetric.
    if padding == "same" or strides == 1 or kernel_size == 1:
        return x, "same"
    x = keras.layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
    return x, "valid"


def _biased_conv_bn(
    x, filters, kernel_size, *, name, momentum, strides=1, padding="same"
):
    # The bias is redundant before normalization; keras.applications has it and
    # counts it.
    x, padding = _pad(x, kernel_size, strides, padding, name=name)
    x = keras.layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding=padding,
        kernel_initializer=_clone(CONV_INITIALIZER),
        name=f"{name}_conv",
    )(x)
    return layers.BatchNormalization(
        momentum=0.9 if momentum is None else momentum,
        epsilon=1e-5,
        name=f"{name}_bn",
    )(x)


def _bn_act(x, activation, momentum, name):
    x = layers.BatchNormalization(
        momentum=BN_MOMENTUM if momentum is None else momentum,
        epsilon=BN_EPSILON,
        name=f"{name}_bn",
    )(x)
    return x if activation is None else _activate(x, activation, name)


def _activate(x, activation, name):
    if activation == "silu":
        activation = layers.silu
    return keras.layers.Activation(activation, name=f"{name}_activation")(x)


def _clone(initializer):
    # An unseeded initializer that is shared gives equal values to equal shapes.
    return initializer.clone()
