"""The EfficientNet family as tables: stages, scaling coefficients, input."""

import dataclasses
import json
import pathlib

# A variant file is one JSON object: "base" and any of these.
FILE_SUFFIX = ".json"
FILE_FIELDS = {
    "width": float,
    "depth": float,
    "resolution": int,
    "dropout": float,
}


@dataclasses.dataclass(frozen=True)
class Stage:
    """A run of MBConv blocks; only the first one strides."""

    kernel_size: int
    repeats: int
    filters: int
    expand_ratio: int
    strides: int
    se_ratio: float = 0.25  # Of the block's input filters; 0 turns SE off.


@dataclasses.dataclass(frozen=True)
class Normalization:
    """Maps pixels in [0, 255] to (pixel - mean) / std, per RGB channel."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Variant:
    """A network: what is scaled, by how much, and the input it was made for.

    `resolution` is in pixels, `dropout` and `drop_path` are rates.
    """

    width: float
    depth: float
    resolution: int
    dropout: float
    stages: tuple[Stage, ...]
    activation: str = "silu"
    normalization: str = "imagenet"
    interpolation: str = "bicubic"
    # Lite keeps stem, head and the repeats of the outer stages unscaled.
    fixed_ends: bool = False
    drop_path: float = 0.2
    stem_filters: int = 32
    head_filters: int = 1280


# EfficientNet-B0, Table 1 of https://arxiv.org/abs/1905.11946.
B0_STAGES = (
    # kernel, repeats, filters, expand, strides
    Stage(3, 1, 16, 1, 1),
    Stage(3, 2, 24, 6, 2),
    Stage(5, 2, 40, 6, 2),
    # The table's stride column is shifted here; the official code strides in
    # stages 4 and 6 and not in 5 and 7.
    Stage(3, 3, 80, 6, 2),
    Stage(5, 3, 112, 6, 1),
    Stage(5, 4, 192, 6, 2),
    Stage(3, 1, 320, 6, 1),
)

# Lite drops squeeze-and-excitation, which quantizes badly.
LITE_STAGES = tuple(
    dataclasses.replace(stage, se_ratio=0.0) for stage in B0_STAGES
)


def _b(width, depth, resolution, dropout):
    return Variant(width, depth, resolution, dropout, B0_STAGES)


def _lite(width, depth, resolution, dropout):
    return Variant(
        width,
        depth,
        resolution,
        dropout,
        LITE_STAGES,
        activation="relu6",
        normalization="lite",
        interpolation="bilinear",
        fixed_ends=True,
    )


# efficientnet_builder.py and lite/efficientnet_lite_builder.py of
# https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet.
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
}

NORMALIZATIONS = {
    "imagenet": Normalization(
        mean=(0.485 * 255, 0.456 * 255, 0.406 * 255),
        std=(0.229 * 255, 0.224 * 255, 0.225 * 255),
    ),
    # pixel * 2 / 255 - 1, https://arxiv.org/abs/1911.09665.
    "advprop": Normalization(mean=(127.5,) * 3, std=(127.5,) * 3),
    "lite": Normalization(mean=(127.0,) * 3, std=(128.0,) * 3),
}


def short_name(name):
    """Returns what plots and tables call a variant: "B0", "Lite4"."""
    return name.removeprefix("efficientnet_").capitalize()


def get_variant(model):
    """Returns the `Variant` of a name or a file; a `Variant` passes through.

    Raises:
      ValueError: an unknown name, or a file that is no variant of the family.
      FileNotFoundError: there is no such file.
    """
    if isinstance(model, Variant):
        return model
    if is_file(model):
        fields = read_file(model)
        base = fields.pop("base")
        if base not in VARIANTS:
            raise ValueError(
                f"{model} scales {base!r}; choose one of {', '.join(VARIANTS)}."
            )
        return dataclasses.replace(VARIANTS[base], **fields)
    if model not in VARIANTS:
        raise ValueError(
            f"Unknown model {model!r}; choose one of {', '.join(VARIANTS)}."
        )
    return VARIANTS[model]


def is_file(model):
    """Whether a model is named by a variant file."""
    return str(model).endswith(FILE_SUFFIX)


def read_file(path):
    """Returns the fields of a variant file, "base" among them.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is not JSON, or a field is unknown, mistyped or missing.
    """
    try:
        fields = json.loads(pathlib.Path(path).expanduser().read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}.") from None
    if not isinstance(fields, dict) or not isinstance(fields.get("base"), str):
        raise ValueError(f'{path} must be one JSON object with a "base".')
    for name, value in fields.items():
        if name == "base":
            continue
        if name not in FILE_FIELDS:
            raise ValueError(
                f"{path}: unknown field {name!r}; choose one of base, "
                f"{', '.join(FILE_FIELDS)}."
            )
        kind = FILE_FIELDS[name]
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not (whole or (kind is float and isinstance(value, float))):
            raise ValueError(
                f"{path}: {name}={value!r} must be of type {kind.__name__}."
            )
    return fields


def get_normalization(normalization):
    """Returns the `Normalization` of a name; an instance passes through."""
    if isinstance(normalization, Normalization):
        return normalization
    if normalization not in NORMALIZATIONS:
        raise ValueError(
            f"Unknown normalization {normalization!r}; choose one of "
            f"{', '.join(NORMALIZATIONS)}."
        )
    return NORMALIZATIONS[normalization]
