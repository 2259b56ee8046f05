"""From a variant to its plan of blocks, and from the plan to a Keras model."""

import dataclasses

import keras

from efficientnet_tf.models import blocks, layers, scaling, variants

MIN_SIZE = 32  # The network strides by 32.

# The levels of a feature pyramid: level k has stride 2**k.
LEVELS = (1, 2, 3, 4, 5)


@dataclasses.dataclass(frozen=True)
class BlockPlan:
    """One MBConv block after scaling."""

    name: str
    kernel_size: int
    expand_ratio: int
    strides: int
    in_filters: int
    filters: int
    squeezed_filters: int  # 0: no squeeze-and-excitation.
    drop_rate: float

    @property
    def has_shortcut(self):
        return self.strides == 1 and self.in_filters == self.filters


def plan_blocks(model, drop_path_rate=None):
    """Returns the scaled network's blocks, in order.

    Args:
      model: a name in `variants.VARIANTS` or a `Variant`.
      drop_path_rate: the rate that the blocks rise towards; block i of n has
        rate * i / n. None means the variant's own.
    """
    variant = variants.get_variant(model)
    if drop_path_rate is None:
        drop_path_rate = variant.drop_path
    repeats = stage_repeats(variant)
    plans = []
    in_filters = plan_ends(variant)[0]
    for number, (stage, count) in enumerate(
        zip(variant.stages, repeats, strict=True), start=1
    ):
        filters = scaling.round_filters(stage.filters, variant.width)
        for i in range(count):
            # The ratio is of the block's input, not of the expanded tensor.
            squeezed = int(in_filters * stage.se_ratio)
            plans.append(
                BlockPlan(
                    name=f"block{number}_{i + 1}",
                    kernel_size=stage.kernel_size,
                    expand_ratio=stage.expand_ratio,
                    strides=stage.strides if i == 0 else 1,
                    in_filters=in_filters,
                    filters=filters,
                    squeezed_filters=max(1, squeezed) if stage.se_ratio else 0,
                    drop_rate=drop_path_rate * len(plans) / sum(repeats),
                )
            )
            in_filters = filters
    return plans


def plan_ends(model):
    """Returns the filters of the stem and of the head."""
    variant = variants.get_variant(model)
    ends = (variant.stem_filters, variant.head_filters)
    if variant.fixed_ends:
        return ends
    return tuple(scaling.round_filters(end, variant.width) for end in ends)


def stage_repeats(model):
    """Returns the number of blocks of every stage."""
    variant = variants.get_variant(model)
    repeats = [
        scaling.round_repeats(stage.repeats, variant.depth)
        for stage in variant.stages
    ]
    if variant.fixed_ends:
        repeats[0] = variant.stages[0].repeats
        repeats[-1] = variant.stages[-1].repeats
    return tuple(repeats)


def build(
    model,
    *,
    include_top=True,
    input_tensor=None,
    input_shape=None,
    pooling=None,
    classes=1000,
    classifier_activation="softmax",
    include_preprocessing=True,
    normalization=None,
    dropout_rate=None,
    drop_path_rate=None,
    name=None,
):
    """Builds a network of the family with random weights, as one flat graph.

    Its input is a batch of RGB
    images [N, H, W, 3] with values in [0, 255], uint8 or float; with
    `include_preprocessing=False` it is images that are already normalized.

    Args:
      model: a name such as "efficientnet_b3", a variant file, or a
        `variants.Variant`, e.g. from `scaling.compound`.
      include_top: whether to end in pooling, dropout and a dense layer.
      input_tensor: a Keras tensor to build on.
      input_shape: (H, W, C); H and W may be None. By default the variant's
        own resolution with the top, and any size without.
      pooling: without the top: None for the last feature map, "avg" or "max".
      classes: size of the top.
      classifier_activation: "softmax", or None for logits.
      include_preprocessing: whether the model normalizes its input itself.
      normalization: "imagenet", "lite", "advprop" or a
        `variants.Normalization`. By default the variant's.
      dropout_rate: before the dense layer. By default the variant's.
      drop_path_rate: of the last block. By default the variant's.
      name: the model's name.

    Returns:
      A `keras.Model`: probabilities [N, classes] with the top.

    Raises:
      ValueError: an unknown name or a bad shape.
    """
    variant = variants.get_variant(model)
    _check_head(pooling, classes)
    if normalization is None:
        normalization = variant.normalization
    normalization = variants.get_normalization(normalization)

    inputs = _make_input(variant, input_tensor, input_shape, include_top)
    x = inputs
    if include_preprocessing:
        x = normalize(x, normalization)
    x = _backbone(x, variant, drop_path_rate)
    if include_top:
        rate = variant.dropout if dropout_rate is None else dropout_rate
        x = _top(x, classes, rate, classifier_activation)
    elif pooling is not None:
        x = _pool(x, pooling)

    if input_tensor is not None:
        inputs = keras.utils.get_source_inputs(inputs)
        if len(inputs) == 1:
            inputs = inputs[0]  # In a list, Keras would want lists in calls.
    if name is None:
        name = model if model in variants.VARIANTS else "efficientnet"
    return keras.Model(inputs, x, name=name)


def feature_pyramid(network, levels=LEVELS):
    """Returns a model with the feature maps of `network` at several strides.

    Args:
      network: a model from `build`, with or without its top.
      levels: which levels; level k has stride 2**k, from 1 to 5.

    Returns:
      A `keras.Model` on the same layers and weights; its output is a dict
      {"P3": [N, H / 8, W / 8, C], ...} of the last map at each stride.
    """
    unknown = sorted(set(levels) - set(LEVELS))
    if unknown or not levels:
        raise ValueError(
            f"levels={tuple(levels)!r} must be chosen from {LEVELS}."
        )
    names = endpoints(network)
    return keras.Model(
        network.inputs,
        {f"P{k}": network.get_layer(names[k]).output for k in levels},
        name=f"{network.name}_features",
    )


def freeze_stages(network, stages):
    """Keeps the stem and the first stages from training, statistics too.

    Sets `trainable` of the layers: of these to False, of the others to True.

    Args:
      network: a model of the family.
      stages: how many; 0 freezes nothing.
    """
    first = f"block{stages + 1}_"
    reached = stages == 0
    for layer in network.layers:
        reached = reached or layer.name.startswith((first, "head_"))
        layer.trainable = reached


def endpoints(network):
    """Returns {level: name of the last block layer at stride 2**level}."""
    names = {}
    level = 1
    for layer in network.layers:
        if not layer.name.startswith(("stem_", "block")):
            continue
        strides = getattr(layer, "strides", (1, 1))
        if layer.name.startswith("block") and strides[0] == 2:
            level += 1
        # A block that strides begins with a convolution at the old stride,
        # so only its output counts.
        if layer.name.endswith(("_project_bn", "_add", "stem_activation")):
            names[level] = layer.name
    if sorted(names) != list(LEVELS):
        raise ValueError(f"{network.name!r} is not a model of this family.")
    return names


def _check_head(pooling, classes):
    if pooling not in (None, "avg", "max"):
        raise ValueError(
            f"Unknown pooling {pooling!r}; choose None, 'avg' or 'max'."
        )
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
    for side in input_shape[:2]:
        if side is not None and side < MIN_SIZE:
            raise ValueError(
                f"Images must be at least {MIN_SIZE} pixels a side, got "
                f"input_shape={tuple(input_shape)!r}."
            )
    if input_tensor is None:
        return keras.Input(input_shape, name="images")
    if not keras.backend.is_keras_tensor(input_tensor):
        raise ValueError(
            f"input_tensor must be a Keras tensor, e.g. keras.Input(...), "
            f"got {type(input_tensor).__name__}."
        )
    return input_tensor


def normalize(x, normalization):
    """Maps pixels [N, H, W, C] as a `variants.Normalization` says."""
    channels = x.shape[-1]
    mean, std = normalization.mean, normalization.std
    if channels == 1:
        mean, std = [sum(mean) / 3], [sum(std) / 3]
    mean = [mean[i % len(mean)] for i in range(channels)]
    std = [std[i % len(std)] for i in range(channels)]
    # Rescaling, not Normalization: the latter's constants become required
    # inputs in ONNX. In float32: bfloat16 cannot hold interpolated pixels.
    return keras.layers.Rescaling(
        scale=[1.0 / s for s in std],
        offset=[-m / s for m, s in zip(mean, std, strict=True)],
        dtype="float32",
        name="preprocessing",
    )(x)


def _backbone(x, variant, drop_path_rate):
    stem_filters, head_filters = plan_ends(variant)
    act = variant.activation
    x = blocks.conv_bn_act(
        x, stem_filters, 3, strides=2, activation=act, name="stem"
    )
    for plan in plan_blocks(variant, drop_path_rate):
        x = blocks.mbconv(x, plan, activation=act)
    return blocks.conv_bn_act(x, head_filters, 1, activation=act, name="head")


def _top(x, classes, dropout_rate, activation):
    x = _pool(x, "avg")
    if dropout_rate > 0:
        x = layers.Dropout(dropout_rate, name="top_dropout")(x)
    # In float32 under mixed precision: a softmax over many classes needs it.
    return keras.layers.Dense(
        classes,
        activation=activation,
        kernel_initializer=blocks.DENSE_INITIALIZER.clone(),
        dtype="float32",
        name="predictions",
    )(x)


def _pool(x, pooling):
    if pooling == "avg":
        return keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    return keras.layers.GlobalMaxPooling2D(name="max_pool")(x)
