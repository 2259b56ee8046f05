"""MobileNets, ResNet-50 and a plain ViT that scale in all three dimensions."""

import dataclasses

import keras

from efficientnet_tf.models import (
    blocks,
    builder,
    layers,
    macs,
    scaling,
    variants,
)


@dataclasses.dataclass(frozen=True)
class ConvStage:
    """A run of blocks of a MobileNetV1 or a ResNet; only the first strides."""

    repeats: int
    filters: int
    strides: int


@dataclasses.dataclass(frozen=True)
class Transformer:
    """A plain vision transformer; its width is `heads` times `head_size`."""

    layers: int
    heads: int
    head_size: int
    mlp_ratio: int
    patch_size: int


# Table 1 of https://arxiv.org/abs/1704.04861: depthwise-separable blocks.
MOBILENET_V1 = (
    # repeats, filters, strides
    ConvStage(1, 64, 1),
    ConvStage(2, 128, 2),
    ConvStage(2, 256, 2),
    ConvStage(6, 512, 2),
    ConvStage(2, 1024, 2),
)

# Table 2 of https://arxiv.org/abs/1801.04381. Its blocks are MBConv without
# squeeze-and-excitation, so it is a row of the family.
MOBILENET_V2 = variants.Variant(
    width=1.0,
    depth=1.0,
    resolution=224,
    dropout=0.0,
    drop_path=0.0,
    activation="relu6",
    stages=(
        # kernel, repeats, filters, expand, strides, squeeze-and-excitation
        variants.Stage(3, 1, 16, 1, 1, 0.0),
        variants.Stage(3, 2, 24, 6, 2, 0.0),
        variants.Stage(3, 3, 32, 6, 2, 0.0),
        variants.Stage(3, 4, 64, 6, 2, 0.0),
        variants.Stage(3, 3, 96, 6, 1, 0.0),
        variants.Stage(3, 3, 160, 6, 2, 0.0),
        variants.Stage(3, 1, 320, 6, 1, 0.0),
    ),
)

# Table 1 of https://arxiv.org/abs/1512.03385; filters inside the bottleneck.
RESNET50 = (
    # repeats, filters, strides
    ConvStage(3, 64, 1),
    ConvStage(4, 128, 2),
    ConvStage(6, 256, 2),
    ConvStage(3, 512, 2),
)
RESNET_EXPANSION = 4

# ViT-S/16, https://arxiv.org/abs/2012.12877; width 2 is ViT-B/16 of Table 1
# in https://arxiv.org/abs/2010.11929, width 0.5 is DeiT-Ti.
VIT = Transformer(layers=12, heads=6, head_size=64, mlp_ratio=4, patch_size=16)

RESOLUTION = 224
BASELINES = ("mobilenet_v1", "mobilenet_v2", "resnet50", "vit")


def build(
    name,
    *,
    depth=1.0,
    width=1.0,
    resolution=RESOLUTION,
    classes=1000,
    dropout_rate=0.0,
    classifier_activation="softmax",
    include_preprocessing=True,
):
    """Builds a scaled baseline as one flat functional model.

    Depth and filters round as EfficientNet's do; a transformer's width rounds
    to whole heads, and its tokens grow with the resolution.

    Args:
      name: one of `BASELINES`.
      depth: multiplies each stage's blocks, or the transformer's layers.
      width: multiplies all filters, or the transformer's heads.
      resolution: pixels a side.
      classes: size of the top.
      dropout_rate: before the dense layer.
      classifier_activation: "softmax", or None for logits.
      include_preprocessing: whether images come as RGB in [0, 255].

    Returns:
      A `keras.Model` from [N, resolution, resolution, 3] to [N, classes].

    Raises:
      ValueError: an unknown name, or a size that makes no network.
    """
    _check(name, depth, width, resolution)
    if name == "mobilenet_v2":
        variant = dataclasses.replace(
            MOBILENET_V2, depth=depth, width=width, resolution=resolution
        )
        return builder.build(
            variant,
            classes=classes,
            dropout_rate=dropout_rate,
            classifier_activation=classifier_activation,
            include_preprocessing=include_preprocessing,
            name=name,
        )
    images = keras.Input((resolution, resolution, 3), name="images")
    x = images
    if include_preprocessing:
        x = builder.normalize(x, variants.get_normalization("imagenet"))
    x = _BACKBONES[name](x, depth, width)
    if dropout_rate:
        x = layers.Dropout(dropout_rate, name="top_dropout")(x)
    x = keras.layers.Dense(
        classes,
        activation=classifier_activation,
        dtype="float32",
        name="predictions",
    )(x)
    return keras.Model(images, x, name=name)


def _mobilenet_v1(x, depth, width):
    """Maps [N, H, W, 3] to features [N, C]."""
    act = "relu6"
    filters = scaling.round_filters(32, width)
    x = blocks.conv_bn_act(
        x, filters, 3, strides=2, activation=act, name="stem"
    )
    for stage, i, name in _scaled(MOBILENET_V1, depth):
        x = blocks.depthwise_bn_act(
            x,
            3,
            strides=stage.strides if i == 0 else 1,
            activation=act,
            name=f"{name}_depthwise",
        )
        filters = scaling.round_filters(stage.filters, width)
        x = blocks.conv_bn_act(
            x, filters, 1, activation=act, name=f"{name}_project"
        )
    return keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)


def _resnet50(x, depth, width):
    """Maps [N, H, W, 3] to features [N, C]."""
    filters = scaling.round_filters(64, width)
    x = _conv_bn(x, filters, 7, strides=2, name="stem")
    x = keras.layers.Activation("relu", name="stem_activation")(x)
    x = keras.layers.MaxPooling2D(
        3, strides=2, padding="same", name="stem_pool"
    )(x)
    for stage, i, name in _scaled(RESNET50, depth):
        filters = scaling.round_filters(stage.filters, width)
        strides = stage.strides if i == 0 else 1
        x = _bottleneck(x, filters, strides, project=i == 0, name=name)
    return keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)


def _bottleneck(x, filters, strides, *, project, name):
    shortcut = x
    expanded = RESNET_EXPANSION * filters
    if project:
        shortcut = _conv_bn(
            x, expanded, 1, strides=strides, name=f"{name}_shortcut"
        )
    x = _conv_bn(x, filters, 1, name=f"{name}_reduce")
    x = keras.layers.Activation("relu", name=f"{name}_reduce_activation")(x)
    # The 3x3 strides, as in the 4.1 billion multiply-adds that the paper
    # gives; with the stride on the first 1x1, as published, they are 3.9.
    x = _conv_bn(x, filters, 3, strides=strides, name=f"{name}_spatial")
    x = keras.layers.Activation("relu", name=f"{name}_spatial_activation")(x)
    x = _conv_bn(x, expanded, 1, name=f"{name}_expand")
    x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
    return keras.layers.Activation("relu", name=f"{name}_activation")(x)


def _conv_bn(x, filters, kernel_size, *, name, strides=1):
    # With a bias, which normalization takes out again, only because
    # keras.applications has it and counts it.
    x = keras.layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        kernel_initializer=blocks.CONV_INITIALIZER.clone(),
        name=f"{name}_conv",
    )(x)
    return layers.BatchNormalization(
        momentum=0.9, epsilon=1e-5, name=f"{name}_bn"
    )(x)


def _vit(x, depth, width):
    """Maps [N, H, W, 3] to the class token's features [N, C]."""
    heads = max(1, round(VIT.heads * width))
    filters = heads * VIT.head_size
    x = keras.layers.Conv2D(
        filters,
        VIT.patch_size,
        strides=VIT.patch_size,
        padding="same",  # The last patches reach over the edge.
        name="stem_conv",
    )(x)
    x = keras.layers.Reshape((-1, filters), name="stem_tokens")(x)
    x = ClassToken(name="stem_class_token")(x)
    for i in range(scaling.round_repeats(VIT.layers, depth)):
        x = _encoder_layer(x, heads, name=f"block{i + 1}")
    x = keras.layers.LayerNormalization(epsilon=1e-6, name="head_norm")(x)
    return x[:, 0]


def _encoder_layer(x, heads, *, name):
    filters = x.shape[-1]
    shortcut = x
    x = keras.layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm1")(x)
    x = keras.layers.MultiHeadAttention(
        heads, VIT.head_size, name=f"{name}_attention"
    )(x, x)
    x = shortcut = keras.layers.Add(name=f"{name}_add1")([x, shortcut])
    x = keras.layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm2")(x)
    x = keras.layers.Dense(
        VIT.mlp_ratio * filters, activation="gelu", name=f"{name}_mlp_expand"
    )(x)
    x = keras.layers.Dense(filters, name=f"{name}_mlp_project")(x)
    return keras.layers.Add(name=f"{name}_add2")([x, shortcut])


@keras.saving.register_keras_serializable(package="efficientnet_tf")
class ClassToken(keras.layers.Layer):
    """Puts a learned token first, then adds learned positions.

    Maps [N, T, C] to [N, T + 1, C].
    """

    def build(self, input_shape):
        tokens, filters = input_shape[1:]
        self.token = self.add_weight(
            shape=(filters,), initializer="zeros", name="token"
        )
        self.positions = self.add_weight(
            shape=(tokens + 1, filters),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            name="positions",
        )

    def call(self, inputs):
        shape = (keras.ops.shape(inputs)[0], 1, inputs.shape[-1])
        token = keras.ops.broadcast_to(self.token, shape)
        token = keras.ops.cast(token, inputs.dtype)
        x = keras.ops.concatenate([token, inputs], axis=1)
        return x + keras.ops.cast(self.positions, x.dtype)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[1] + 1, input_shape[2])


# It adds, and multiplies nothing.
macs.RULES[ClassToken] = lambda layer, inputs, output: 0

_BACKBONES = {
    "mobilenet_v1": _mobilenet_v1,
    "resnet50": _resnet50,
    "vit": _vit,
}


def _scaled(stages, depth):
    """Yields (stage, number in the stage, name) of each block after scaling."""
    for number, stage in enumerate(stages, start=1):
        for i in range(scaling.round_repeats(stage.repeats, depth)):
            yield stage, i, f"block{number}_{i + 1}"


def _check(name, depth, width, resolution):
    if name not in BASELINES:
        raise ValueError(
            f"Unknown baseline {name!r}; choose one of {', '.join(BASELINES)}."
        )
    for what, value in (("depth", depth), ("width", width)):
        if not 0 < value < float("inf"):
            raise ValueError(f"{what} must be above 0, got {value!r}.")
    if not isinstance(resolution, int) or resolution < builder.MIN_SIZE:
        raise ValueError(
            f"resolution must be at least {builder.MIN_SIZE} pixels, got "
            f"{resolution!r}."
        )
