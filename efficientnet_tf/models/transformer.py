"""A plain vision transformer: patches, encoder layers, a class token.

https://arxiv.org/abs/2010.11929. Normalization comes before attention and
before the MLP.
"""

import keras

from efficientnet_tf.models import class_token, plan as plan_lib, variants

EPSILON = 1e-6


def patches_stem(
    x: keras.KerasTensor, filters: int, variant: variants.Variant
) -> keras.KerasTensor:
    """Maps [N, H, W, C] to tokens [N, T + 1, filters], a class token first."""
    x = keras.layers.Conv2D(
        filters,
        plan_lib.PATCH_SIZE,
        strides=plan_lib.PATCH_SIZE,
        padding=variant.padding,  # The last patches may extend past the edge.
        name="stem_conv",
    )(x)
    return class_token.ClassToken(name="stem_class_token")(x)


def encoder_layer(
    x: keras.KerasTensor, plan: plan_lib.BlockPlan, *, activation: str
) -> keras.KerasTensor:
    """Attention and an MLP, each beside a shortcut, on tokens [N, T, C]."""
    name, filters = plan.name, plan.filters
    shortcut = x
    x = _normalize(x, f"{name}_norm1")
    x = keras.layers.MultiHeadAttention(
        filters // plan_lib.HEAD_SIZE,
        plan_lib.HEAD_SIZE,
        name=f"{name}_attention",
    )(x, x)
    x = shortcut = keras.layers.Add(name=f"{name}_add1")([x, shortcut])
    x = _normalize(x, f"{name}_norm2")
    x = keras.layers.Dense(
        plan.expand_ratio * filters,
        activation=activation,
        name=f"{name}_mlp_expand",
    )(x)
    x = keras.layers.Dense(filters, name=f"{name}_mlp_project")(x)
    return keras.layers.Add(name=f"{name}_add2")([x, shortcut])


def class_token_head(
    x: keras.KerasTensor, filters: int, variant: variants.Variant
) -> keras.KerasTensor:
    """Maps tokens [N, T + 1, C] to the class token's features [N, C]."""
    return _normalize(x, "top_norm")[:, 0]


def _normalize(x, name):
    return keras.layers.LayerNormalization(epsilon=EPSILON, name=name)(x)
