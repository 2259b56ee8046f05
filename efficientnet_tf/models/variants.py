"""The specification of a network, and the EfficientNet family as a table."""

import dataclasses
import math
import os
from typing import Annotated

from efficientnet_tf.utils import configs

MIN_SIZE = 32  # Pixels: the networks' total stride.
# For width and depth: far more than fits into any memory, and still fast to
# count.
MAX_SCALE = 1000.0
# Far above any network, but such that a file's nonsense is refused before it is
# built: pixels a side, filters of a stage, and blocks in all.
MAX_SIZE = 16_384
ZERO_OR_SIZE = configs.ZeroOrAtLeast(MIN_SIZE, MAX_SIZE)
MAX_FILTERS = 100_000
MAX_BLOCKS = 10_000

# The blocks of a `Stage`, and how a network begins and ends.
BLOCKS = ("mbconv", "fused_mbconv", "separable", "bottleneck", "transformer")
STEMS = ("conv", "conv_pool", "patches")
HEADS = ("conv", "none", "class_token")
# How convolutions that stride are padded: "same" as in TensorFlow, with the odd
# pixel at the bottom and right, or "symmetric" as in PyTorch. On sides of an
# odd number of pixels, and without strides, both are equal.
PADDINGS = ("same", "symmetric")
# What evaluation sees of an image: its centre square less a border, or all of
# it, squashed into a square (`data.shapes.CROPS`).
EVAL_CROPS = ("padded", "whole")
# Those of Keras that keep an image's shape and have no parameters.
ACTIVATIONS = (
    "relu",
    "relu6",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "silu",
    "swish",
    "hard_silu",
    "hard_swish",
    "mish",
    "tanh",
)
# The methods of `tf.image.resize`, and those of `data/augment/policies.py`.
INTERPOLATIONS = (
    "nearest",
    "area",
    "bilinear",
    "bicubic",
    "gaussian",
    "lanczos3",
    "lanczos5",
    "mitchellcubic",
    "sharpened",
    "legacy_bilinear",
    "legacy_bicubic",
)


@dataclasses.dataclass(frozen=True)
class Stage:
    """A sequence of equal blocks; only the first one strides.

    `filters` are the output's. In a "bottleneck" they are those inside, and its
    output has `expand_ratio` times as many. In a "transformer" the ratio is
    that of the MLP's hidden layer, and there is no kernel.
    """

    block: Annotated[str, configs.OneOf(*BLOCKS)]
    kernel_size: Annotated[int, configs.AtLeast(1, 100)]
    repeats: Annotated[int, configs.AtLeast(1, MAX_BLOCKS)]
    filters: Annotated[int, configs.AtLeast(1, MAX_FILTERS)]
    expand_ratio: Annotated[int, configs.AtLeast(1, 100)]
    strides: Annotated[int, configs.AtLeast(1, 100)]
    # Relative to the block's input filters; 0: no squeeze-and-excitation.
    se_ratio: Annotated[float, configs.AtLeast(0, 1)] = 0.25

    def __post_init__(self):
        configs.check(self)


@dataclasses.dataclass(frozen=True)
class Normalization:
    """Maps pixels in [0, 255] to (pixel - mean) / std, per RGB channel."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


NORMALIZATIONS = {
    "imagenet": Normalization(
        mean=(0.485 * 255, 0.456 * 255, 0.406 * 255),
        std=(0.229 * 255, 0.224 * 255, 0.225 * 255),
    ),
    # pixel * 2 / 255 - 1, https://arxiv.org/abs/1911.09665.
    "advprop": Normalization(mean=(127.5,) * 3, std=(127.5,) * 3),
    "lite": Normalization(mean=(127.0,) * 3, std=(128.0,) * 3),
    "v2": Normalization(mean=(128.0,) * 3, std=(128.0,) * 3),
}


@dataclasses.dataclass(frozen=True)
class Variant:
    """The specification of a network: its stages, their scale, its input.

    `resolution` is that of evaluation, in pixels; `dropout` and `drop_path`
    are rates. `stem` and `head` are items of `STEMS` and `HEADS`; with the
    head "none" the last block's output is pooled. `padding` belongs to the
    weights: with the other one they give other outputs.
    """

    width: Annotated[float, configs.Above(0, MAX_SCALE)]
    depth: Annotated[float, configs.Above(0, MAX_SCALE)]
    resolution: Annotated[int, configs.AtLeast(MIN_SIZE, MAX_SIZE)]
    dropout: Annotated[float, configs.Fraction()]
    stages: tuple[Stage, ...]
    activation: Annotated[str, configs.OneOf(*ACTIVATIONS)] = "silu"
    normalization: Annotated[str, configs.OneOf(*NORMALIZATIONS)] = "imagenet"
    interpolation: Annotated[str, configs.OneOf(*INTERPOLATIONS)] = "bicubic"
    # Lite keeps stem, head and the repeats of the outer stages unscaled.
    fixed_ends: bool = False
    drop_path: Annotated[float, configs.Fraction()] = 0.2
    stem: Annotated[str, configs.OneOf(*STEMS)] = "conv"
    stem_filters: Annotated[int, configs.AtLeast(1, MAX_FILTERS)] = 32
    head: Annotated[str, configs.OneOf(*HEADS)] = "conv"
    head_filters: Annotated[int, configs.AtLeast(0, MAX_FILTERS)] = 1280
    padding: Annotated[str, configs.OneOf(*PADDINGS)] = "same"
    # Scaled filters are rounded to the nearest multiple of 8, but never below
    # this share of them; 0: to the nearest. timm's name.
    round_limit: Annotated[float, configs.AtLeast(0, 1)] = 0.9
    # Of batch normalization's averages; None: the block's own.
    bn_momentum: Annotated[float | None, configs.Fraction()] = None
    # The side of training's images over `resolution`. A share, so that it holds
    # at every scale.
    train_scale: Annotated[float, configs.Above(0, 1)] = 1.0
    eval_crop: Annotated[str, configs.OneOf(*EVAL_CROPS)] = "padded"

    @property
    def train_resolution(self) -> int:
        """The side of training's images in pixels."""
        return max(MIN_SIZE, round(self.resolution * self.train_scale))

    def __post_init__(self):
        configs.check(self)
        if not self.stages:
            raise ValueError("stages=() must hold at least one stage.")
        blocks = self.depth * sum(stage.repeats for stage in self.stages)
        if blocks > MAX_BLOCKS:
            raise ValueError(
                f"depth={self.depth:g} makes {blocks:,.0f} blocks; at most "
                f"{MAX_BLOCKS:,} are allowed."
            )
        if self.padding == "symmetric":
            self._check_symmetry()

    def _check_symmetry(self):
        if self.stem == "patches":
            raise ValueError(
                "padding='symmetric': a transformer pads no convolution; leave "
                "it at 'same'."
            )
        for number, stage in enumerate(self.stages, start=1):
            if stage.kernel_size % 2 == 0:
                raise ValueError(
                    f"padding='symmetric' needs odd kernels; stage {number} "
                    f"has kernel_size={stage.kernel_size}."
                )


# EfficientNet-B0, Table 1 of https://arxiv.org/abs/1905.11946.
B0_STAGES = (
    # block, kernel, repeats, filters, expand, strides
    Stage("mbconv", 3, 1, 16, 1, 1),
    Stage("mbconv", 3, 2, 24, 6, 2),
    Stage("mbconv", 5, 2, 40, 6, 2),
    # The table's stride column is off by one row here; the official code
    # strides in stages 4 and 6, not in 5 and 7.
    Stage("mbconv", 3, 3, 80, 6, 2),
    Stage("mbconv", 5, 3, 112, 6, 1),
    Stage("mbconv", 5, 4, 192, 6, 2),
    Stage("mbconv", 3, 1, 320, 6, 1),
)

# Lite drops squeeze-and-excitation, which quantizes badly.
LITE_STAGES = tuple(
    dataclasses.replace(stage, se_ratio=0.0) for stage in B0_STAGES
)


def _b(width, depth, resolution, dropout):
    return Variant(
        width,
        depth,
        resolution,
        dropout,
        B0_STAGES,
        interpolation="legacy_bicubic",
    )


def _lite(width, depth, resolution, dropout):
    return Variant(
        width,
        depth,
        resolution,
        dropout,
        LITE_STAGES,
        activation="relu6",
        normalization="lite",
        # Of TensorFlow 2, with which Lite is deployed; the official code's is
        # "legacy_bilinear" (docs/training.md).
        interpolation="bilinear",
        fixed_ends=True,
    )


# EfficientNetV2, Table 4 of https://arxiv.org/abs/2104.00298 and
# effnetv2_configs.py of https://github.com/google/automl.
V2_BASE_STAGES = (
    # block, kernel, repeats, filters, expand, strides, SE
    Stage("fused_mbconv", 3, 1, 16, 1, 1, 0.0),
    Stage("fused_mbconv", 3, 2, 32, 4, 2, 0.0),
    Stage("fused_mbconv", 3, 2, 48, 4, 2, 0.0),
    Stage("mbconv", 3, 3, 96, 4, 2),
    Stage("mbconv", 3, 5, 112, 6, 1),
    Stage("mbconv", 3, 8, 192, 6, 2),
)

# The larger ones were scaled by hand, the later stages more.
V2_S_STAGES = (
    Stage("fused_mbconv", 3, 2, 24, 1, 1, 0.0),
    Stage("fused_mbconv", 3, 4, 48, 4, 2, 0.0),
    Stage("fused_mbconv", 3, 4, 64, 4, 2, 0.0),
    Stage("mbconv", 3, 6, 128, 4, 2),
    Stage("mbconv", 3, 9, 160, 6, 1),
    Stage("mbconv", 3, 15, 256, 6, 2),
)
V2_M_STAGES = (
    Stage("fused_mbconv", 3, 3, 24, 1, 1, 0.0),
    Stage("fused_mbconv", 3, 5, 48, 4, 2, 0.0),
    Stage("fused_mbconv", 3, 5, 80, 4, 2, 0.0),
    Stage("mbconv", 3, 7, 160, 4, 2),
    Stage("mbconv", 3, 14, 176, 6, 1),
    Stage("mbconv", 3, 18, 304, 6, 2),
    Stage("mbconv", 3, 5, 512, 6, 1),
)
V2_L_STAGES = (
    Stage("fused_mbconv", 3, 4, 32, 1, 1, 0.0),
    Stage("fused_mbconv", 3, 7, 64, 4, 2, 0.0),
    Stage("fused_mbconv", 3, 7, 96, 4, 2, 0.0),
    Stage("mbconv", 3, 10, 192, 4, 2),
    Stage("mbconv", 3, 19, 224, 6, 1),
    Stage("mbconv", 3, 25, 384, 6, 2),
    Stage("mbconv", 3, 7, 640, 6, 1),
)
V2_XL_STAGES = (
    Stage("fused_mbconv", 3, 4, 32, 1, 1, 0.0),
    Stage("fused_mbconv", 3, 8, 64, 4, 2, 0.0),
    Stage("fused_mbconv", 3, 8, 96, 4, 2, 0.0),
    Stage("mbconv", 3, 16, 192, 4, 2),
    Stage("mbconv", 3, 24, 256, 6, 1),
    Stage("mbconv", 3, 32, 512, 6, 2),
    Stage("mbconv", 3, 8, 640, 6, 1),
)


def _v2(scale, sizes, dropout, stages, **fields):
    """Returns a row; `sizes` are those of training and of evaluation."""
    train, evaluation = sizes
    width, depth = scale
    return Variant(
        width,
        depth,
        evaluation,
        dropout,
        stages,
        round_limit=0.0,
        bn_momentum=0.9,
        train_scale=train / evaluation,
        **fields,
    )


def _v2_b(width, depth, sizes, dropout):
    """Returns one scaled, and its images prepared, as B0 to B3 are."""
    return _v2(
        (width, depth),
        sizes,
        dropout,
        V2_BASE_STAGES,
        interpolation="legacy_bicubic",
    )


def _v2_large(stages, stem_filters, sizes, dropout):
    return _v2(
        (1.0, 1.0),
        sizes,
        dropout,
        stages,
        stem_filters=stem_filters,
        normalization="v2",
        # preprocessing.py resizes bilinearly, and crops below 320 pixels only.
        interpolation="bilinear",
        eval_crop="whole",
    )


# efficientnet_builder.py and lite/efficientnet_lite_builder.py of
# https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet,
# and effnetv2_configs.py.
VARIANTS = {
    # width, depth, resolution, dropout
    "efficientnet_b0": _b(1.0, 1.0, 224, 0.2),
    "efficientnet_b1": _b(1.0, 1.1, 240, 0.2),
    "efficientnet_b2": _b(1.1, 1.2, 260, 0.3),
    "efficientnet_b3": _b(1.2, 1.4, 300, 0.3),
    "efficientnet_b4": _b(1.4, 1.8, 380, 0.4),
    "efficientnet_b5": _b(1.6, 2.2, 456, 0.4),
    "efficientnet_b6": _b(1.8, 2.6, 528, 0.5),
    "efficientnet_b7": _b(2.0, 3.1, 600, 0.5),
    "efficientnet_b8": _b(2.2, 3.6, 672, 0.5),
    "efficientnet_l2": _b(4.3, 5.3, 800, 0.5),
    "efficientnet_lite0": _lite(1.0, 1.0, 224, 0.2),
    "efficientnet_lite1": _lite(1.0, 1.1, 240, 0.2),
    "efficientnet_lite2": _lite(1.1, 1.2, 260, 0.3),
    "efficientnet_lite3": _lite(1.2, 1.4, 280, 0.3),
    "efficientnet_lite4": _lite(1.4, 1.8, 300, 0.3),
    # width, depth, pixels in training and evaluation, dropout
    "efficientnet_v2_b0": _v2_b(1.0, 1.0, (192, 224), 0.2),
    "efficientnet_v2_b1": _v2_b(1.0, 1.1, (192, 240), 0.2),
    "efficientnet_v2_b2": _v2_b(1.1, 1.2, (208, 260), 0.3),
    "efficientnet_v2_b3": _v2_b(1.2, 1.4, (240, 300), 0.3),
    # stages, filters of the stem
    "efficientnet_v2_s": _v2_large(V2_S_STAGES, 24, (300, 384), 0.2),
    "efficientnet_v2_m": _v2_large(V2_M_STAGES, 24, (384, 480), 0.3),
    "efficientnet_v2_l": _v2_large(V2_L_STAGES, 32, (384, 480), 0.4),
    "efficientnet_v2_xl": _v2_large(V2_XL_STAGES, 32, (384, 512), 0.4),
}


def short_name(name: str) -> str:
    """Returns a variant's name for plots and tables: "B0", "Lite4", "V2-S".

    Of a variant file it is the file's name: "phi1" of "family/phi1.json".
    """
    if name.endswith(".json"):
        return os.path.basename(name).removesuffix(".json")
    short = name.removeprefix("efficientnet_")
    if short.startswith("v2_"):
        return short.replace("_", "-").upper()
    return short.capitalize()


def get_normalization(normalization: str | Normalization) -> Normalization:
    """Returns a `Normalization` by name; an instance passes through."""
    if isinstance(normalization, Normalization):
        return normalization
    if normalization not in NORMALIZATIONS:
        raise ValueError(
            configs.unknown("normalization", normalization, NORMALIZATIONS)
        )
    return NORMALIZATIONS[normalization]


def name_normalization(normalization: Normalization) -> str:
    """Returns its quoted name in `NORMALIZATIONS`, or its numbers."""
    for name, row in NORMALIZATIONS.items():
        pairs = zip(
            (*row.mean, *row.std),
            (*normalization.mean, *normalization.std),
            strict=True,
        )
        # A file may have them in float32.
        if all(math.isclose(a, b, rel_tol=1e-6) for a, b in pairs):
            return repr(name)
    return f"mean={normalization.mean}, std={normalization.std}"
