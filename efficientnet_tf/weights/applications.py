"""The family with the names and arguments of keras.applications.

The layers are named as there, too: see `models/blocks.py` and
`plan.name_block`.
"""

import inspect
import warnings
from typing import Any

import keras
import numpy as np

from efficientnet_tf.models import variants
from efficientnet_tf.utils import configs
from efficientnet_tf.weights import loading


def _make_constructor(public_name, model_name):
    def constructor(
        include_top=True,
        weights="imagenet",
        input_tensor=None,
        input_shape=None,
        pooling=None,
        classes=1000,
        classifier_activation="softmax",
        name=model_name,
        include_preprocessing=True,
        drop_connect_rate=None,
        dropout_rate=None,
    ):
        return loading.build(
            model_name,
            include_top=include_top,
            weights=weights,
            input_tensor=input_tensor,
            input_shape=input_shape,
            pooling=pooling,
            classes=classes,
            classifier_activation=classifier_activation,
            include_preprocessing=include_preprocessing,
            drop_path_rate=drop_connect_rate,
            dropout_rate=dropout_rate,
            name=name,
        )

    return _describe(constructor, public_name, model_name)


def _make_v2_constructor(public_name, model_name):
    """Theirs takes the last two arguments by position in another order."""
    common = _make_constructor(public_name, model_name)

    def constructor(
        include_top=True,
        weights="imagenet",
        input_tensor=None,
        input_shape=None,
        pooling=None,
        classes=1000,
        classifier_activation="softmax",
        include_preprocessing=True,
        name=model_name,
        drop_connect_rate=None,
        dropout_rate=None,
    ):
        return common(
            include_top,
            weights,
            input_tensor,
            input_shape,
            pooling,
            classes,
            classifier_activation,
            name,
            include_preprocessing,
            drop_connect_rate,
            dropout_rate,
        )

    return _describe(constructor, public_name, model_name)


def _describe(constructor, public_name, model_name):
    size = variants.VARIANTS[model_name].resolution
    constructor.__name__ = constructor.__qualname__ = public_name
    constructor.__doc__ = inspect.cleandoc(
        f"""Builds {public_name}, by default for {size}x{size} images.

        The arguments are those of keras.applications, with the same meaning.
        Input is RGB in [0, 255], uint8 or float: do not rescale it. `weights`
        may be any name that `catalog.names("{model_name}")` lists, or a file.
        `drop_connect_rate`, which `loading.build` calls `drop_path_rate`, and
        `dropout_rate` are the variant's own by default.
        See `loading.build` for the arguments and errors.
        """
    )
    return constructor


EfficientNetB0 = _make_constructor("EfficientNetB0", "efficientnet_b0")
EfficientNetB1 = _make_constructor("EfficientNetB1", "efficientnet_b1")
EfficientNetB2 = _make_constructor("EfficientNetB2", "efficientnet_b2")
EfficientNetB3 = _make_constructor("EfficientNetB3", "efficientnet_b3")
EfficientNetB4 = _make_constructor("EfficientNetB4", "efficientnet_b4")
EfficientNetB5 = _make_constructor("EfficientNetB5", "efficientnet_b5")
EfficientNetB6 = _make_constructor("EfficientNetB6", "efficientnet_b6")
EfficientNetB7 = _make_constructor("EfficientNetB7", "efficientnet_b7")
EfficientNetB8 = _make_constructor("EfficientNetB8", "efficientnet_b8")
EfficientNetL2 = _make_constructor("EfficientNetL2", "efficientnet_l2")
EfficientNetLite0 = _make_constructor("EfficientNetLite0", "efficientnet_lite0")
EfficientNetLite1 = _make_constructor("EfficientNetLite1", "efficientnet_lite1")
EfficientNetLite2 = _make_constructor("EfficientNetLite2", "efficientnet_lite2")
EfficientNetLite3 = _make_constructor("EfficientNetLite3", "efficientnet_lite3")
EfficientNetLite4 = _make_constructor("EfficientNetLite4", "efficientnet_lite4")
EfficientNetV2B0 = _make_v2_constructor(
    "EfficientNetV2B0", "efficientnet_v2_b0"
)
EfficientNetV2B1 = _make_v2_constructor(
    "EfficientNetV2B1", "efficientnet_v2_b1"
)
EfficientNetV2B2 = _make_v2_constructor(
    "EfficientNetV2B2", "efficientnet_v2_b2"
)
EfficientNetV2B3 = _make_v2_constructor(
    "EfficientNetV2B3", "efficientnet_v2_b3"
)
EfficientNetV2S = _make_v2_constructor("EfficientNetV2S", "efficientnet_v2_s")
EfficientNetV2M = _make_v2_constructor("EfficientNetV2M", "efficientnet_v2_m")
EfficientNetV2L = _make_v2_constructor("EfficientNetV2L", "efficientnet_v2_l")
EfficientNetV2XL = _make_v2_constructor(
    "EfficientNetV2XL", "efficientnet_v2_xl"
)


def preprocess_input(x: Any, data_format: str | None = None) -> Any:
    """Returns images as they are: the networks normalize them.

    Pixels must be in [0, 255]. A range that looks normalized already is
    reported in a warning; that of symbolic tensors, as in `tf.data`, cannot be
    seen.

    Args:
      x: images, an array or tensor [..., H, W, C].
      data_format: "channels_last", or None for Keras's setting.

    Raises:
      ValueError: another data format.
    """
    data_format = data_format or keras.config.image_data_format()
    if data_format != "channels_last":
        raise ValueError(
            configs.unknown("data_format", data_format, ("channels_last",))
        )
    try:
        pixels = np.asarray(x)
    except (NotImplementedError, TypeError, ValueError):
        return x  # Symbolic.
    if pixels.size and np.issubdtype(pixels.dtype, np.number):
        _warn_of_range(pixels)
    return x


def _warn_of_range(pixels):
    low, high = float(pixels.min()), float(pixels.max())
    rescaled = pixels.dtype.kind == "f" and 0 <= low < high <= 1
    if rescaled or low < 0 or high > 255:
        reason = "divided by 255" if rescaled else "normalized otherwise"
        warnings.warn(
            f"The images are in [{low:.3g}, {high:.3g}], as if {reason}; these "
            "networks take pixels in [0, 255] and normalize them.",
            stacklevel=3,
        )
