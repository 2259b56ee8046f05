"""From a plan to a Keras model: the whole network on one screen."""

from collections.abc import Sequence

import keras

from efficientnet_tf.models import (
    blocks,
    layers,
    plan as plan_lib,
    registry,
    transformer,
    variants,
)
from efficientnet_tf.utils import configs

POOLINGS = (None, "avg", "max")
TOP_DROPOUT = "top_dropout"
# The layer that makes three equal channels of one.
GREY_TO_RGB = "grey_to_rgb"
BLOCKS = {
    "mbconv": blocks.mbconv,
    "fused_mbconv": blocks.fused_mbconv,
    "separable": blocks.separable,
    "bottleneck": blocks.bottleneck,
    "transformer": transformer.encoder_layer,
}


def _conv_stem(x, filters, variant):
    return blocks.conv_bn_act(
        x,
        filters,
        3,
        strides=2,
        activation=variant.activation,
        padding=variant.padding,
        momentum=variant.bn_momentum,
        name="stem",
    )


def _conv_head(x, filters, variant):
    return blocks.conv_bn_act(
        x,
        filters,
        1,
        activation=variant.activation,
        momentum=variant.bn_momentum,
        name="top",
    )


def _no_head(x, filters, variant):
    return x


STEMS = {
    "conv": _conv_stem,
    "conv_pool": blocks.conv_pool_stem,
    "patches": transformer.patches_stem,
}
HEADS = {
    "conv": _conv_head,
    "none": _no_head,
    "class_token": transformer.class_token_head,
}


def _backbone(x, variant, drop_path_rate):
    plan = plan_lib.plan_network(variant, drop_path_rate)
    x = STEMS[variant.stem](x, plan.stem_filters, variant)
    for block in plan.blocks:
        x = BLOCKS[block.block](x, block, activation=variant.activation)
    return HEADS[variant.head](x, plan.head_filters, variant)


def _classify(x, variant, classes, dropout_rate, activation):
    x = _pool(x, "avg")
    if dropout_rate > 0:
        x = layers.Dropout(dropout_rate, name=TOP_DROPOUT)(x)
    initializer = "glorot_uniform"  # As in keras.applications' baselines.
    if variant.head == "conv":
        initializer = blocks.DENSE_INITIALIZER.clone()
    # Even under mixed precision: a softmax over many classes needs it.
    return keras.layers.Dense(
        classes,
        activation=activation,
        kernel_initializer=initializer,
        dtype=_full_precision(),
        name="predictions",
    )(x)


def _pool(x, pooling):
    if len(x.shape) == 2:
        return x  # The class token's features: nothing to pool.
    if pooling == "avg":
        return keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    return keras.layers.GlobalMaxPooling2D(name="max_pool")(x)


def build(
    model: registry.Model,
    *,
    include_top: bool = True,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: Sequence[int | None] | None = None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
    include_preprocessing: bool = True,
    normalization: str | variants.Normalization | None = None,
    dropout_rate: float | None = None,
    drop_path_rate: float | None = None,
    name: str | None = None,
) -> keras.Model:
    """Builds a network with random weights, as one flat functional graph.

    Its input is a batch of RGB images [N, H, W, 3], uint8 or float in [0, 255];
    with `include_preprocessing=False`, images that are already normalized.

    Args:
      model: a name such as "efficientnet_b3" or "resnet50", a variant file, or
        a `variants.Variant`, e.g. from `scaling.compound`.
      include_top: whether to add pooling, dropout and a dense layer.
      input_tensor: a Keras tensor to build on.
      input_shape: (H, W, C); H and W may be None. By default the variant's own
        resolution with the top, any size without it.
      pooling: without the top: None for the last feature map, "avg" or "max".
      classes: number of classes.
      classifier_activation: "softmax", or None for logits.
      include_preprocessing: whether the model normalizes its input.
      normalization: "imagenet", "lite", "advprop", "v2" or a
        `variants.Normalization`. It and the rates are the variant's by default.
      dropout_rate: before the dense layer.
      drop_path_rate: see `plan.plan_network`.
      name: the model's name.

    Returns:
      A `keras.Model`: probabilities [N, classes] with the top.

    Raises:
      ValueError: an unknown name, or an argument out of range.
    """
    variant = registry.get_variant(model)
    _check_head(pooling, classes)
    normalization = variants.get_normalization(
        variant.normalization if normalization is None else normalization
    )
    inputs = _make_input(variant, input_tensor, input_shape, include_top)
    x = normalize(inputs, normalization) if include_preprocessing else inputs
    x = _backbone(x, variant, drop_path_rate)
    if include_top:
        rate = variant.dropout if dropout_rate is None else dropout_rate
        x = _classify(x, variant, classes, rate, classifier_activation)
    elif pooling is not None:
        x = _pool(x, pooling)

    if name is None:
        name = model if model in registry.list_models() else "efficientnet"
    return keras.Model(_find_source(inputs), x, name=name)


def _find_source(tensor):
    """Returns the input, or inputs, that a Keras tensor is computed from."""
    found = keras.utils.get_source_inputs(tensor)
    # Given a list, Keras expects lists in calls.
    return found[0] if len(found) == 1 else found


def _check_head(pooling, classes):
    if pooling not in POOLINGS:
        raise ValueError(configs.unknown("pooling", pooling, POOLINGS))
    if not isinstance(classes, int) or classes < 1:
        raise ValueError(f"classes must be a positive int, got {classes!r}.")


def _make_input(variant, input_tensor, input_shape, include_top):
    if keras.config.image_data_format() != "channels_last":
        raise ValueError(
            "Only the data format 'channels_last' is supported; call "
            "keras.config.set_image_data_format('channels_last')."
        )
    if input_shape is None:
        size = variant.resolution if include_top else None
        input_shape = (size, size, 3)
    if len(input_shape) != 3 or input_shape[-1] is None:
        raise ValueError(
            f"input_shape must be (height, width, channels), got "
            f"{input_shape!r}."
        )
    _check_size(variant, tuple(input_shape))
    if input_tensor is None:
        return keras.Input(input_shape, name="images")
    if not keras.backend.is_keras_tensor(input_tensor):
        raise ValueError(
            f"input_tensor must be a Keras tensor, e.g. keras.Input(...), "
            f"got {type(input_tensor).__name__}."
        )
    return input_tensor


def normalize(
    x: keras.KerasTensor, normalization: variants.Normalization
) -> keras.KerasTensor:
    """Normalizes pixels [N, H, W, C]; other than 3 channels reuse RGB's values.

    One channel becomes three equal ones, more than three take them in turn.
    """
    channels = x.shape[-1]
    mean, std = list(normalization.mean), list(normalization.std)
    if channels == 1:
        # Not one channel with a stem of summed kernels: where the channels'
        # means differ it cannot give what grey RGB gives, because the padding
        # is a zero after normalization, another grey in each channel.
        channels = 3
        x = keras.layers.Concatenate(name=GREY_TO_RGB)([x] * channels)
    mean = [mean[i % len(mean)] for i in range(channels)]
    std = [std[i % len(std)] for i in range(channels)]
    # Rescaling, not Normalization, whose constants become required inputs in
    # ONNX. In float32, because bfloat16 is too coarse for interpolated pixels.
    return keras.layers.Rescaling(
        scale=[1.0 / s for s in std],
        offset=[-m / s for m, s in zip(mean, std, strict=True)],
        dtype=_full_precision(),
        name="preprocessing",
    )(x)


def _full_precision():
    # Not `floatx`: Keras looks at it once, for the policy.
    policy = keras.config.dtype_policy()
    return "float64" if policy.variable_dtype == "float64" else "float32"


def _check_size(variant, input_shape):
    for side in input_shape[:2]:
        if side is not None and side < variants.MIN_SIZE:
            raise ValueError(
                f"Images must be at least {variants.MIN_SIZE} pixels a side, "
                f"got input_shape={input_shape!r}."
            )
    if variant.stem == "patches" and None in input_shape[:2]:
        raise ValueError(
            "A transformer has an embedding for each patch position and needs "
            f"a fixed image size, got input_shape={input_shape!r}."
        )
