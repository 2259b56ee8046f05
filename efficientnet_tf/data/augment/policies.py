"""Published augmentation policies, as tables.

No framework, so that recipes can check their fields without importing one.
"""

import dataclasses

# The highest level in the search for AutoAugment's policy.
MAX_LEVEL = 10
# RandAugment's limit; the highest published magnitude is 28, for
# EfficientNet-B7.
MAX_MAGNITUDE = 30
# Of mixup and cutmix: from here on all images are mixed half and half.
MAX_ALPHA = 1000


# Our own interpolation, beside those of `tf.image.resize`: bicubic, then an
# unsharp mask. Enlarged small images lack the sharp edges of the photographs
# that networks were trained on.
SHARPENED = "sharpened"
# Those of TensorFlow 1, which the official code was trained and evaluated with:
# samples lie at multiples of the scale from the corner (`half_pixel_centers=
# False`), the cubic's parameter is -0.75, and its overshoot is not clipped.
LEGACY_BILINEAR, LEGACY_BICUBIC = "legacy_bilinear", "legacy_bicubic"
# For fine-tuning.
INTERPOLATIONS = (
    "bilinear",
    "bicubic",
    LEGACY_BILINEAR,
    LEGACY_BICUBIC,
    SHARPENED,
)

# How samples of more than 8 bits become 8 bits. "used": by as many bits as the
# image uses, because cameras and microscopes write 12 bits into files of 16;
# "full": by all 16.
DEEP_PIXELS = ("used", "full")

# What a cutout of fine-tuning is filled with.
CUTOUT_FILLS = ("grey", "noise")
# What has a mixup weight of its own: an image, as in the official code, or the
# whole batch, as in BiT's.
MIXUP_WEIGHTS = ("image", "batch")


@dataclasses.dataclass(frozen=True)
class Limits:
    """Pixels at the highest level: half a cutout's side, and a translation."""

    cutout: int
    translate: int


# autoaugment.py of the official code.
AUTOAUGMENT_LIMITS = Limits(cutout=100, translate=250)
RANDAUGMENT_LIMITS = Limits(cutout=40, translate=100)

# Policy v0 of the official code: pairs of (operation, probability, level).
AUTOAUGMENT_POLICY = (
    (("Equalize", 0.8, 1), ("ShearY", 0.8, 4)),
    (("Color", 0.4, 9), ("Equalize", 0.6, 3)),
    (("Color", 0.4, 1), ("Rotate", 0.6, 8)),
    (("Solarize", 0.8, 3), ("Equalize", 0.4, 7)),
    (("Solarize", 0.4, 2), ("Solarize", 0.6, 2)),
    (("Color", 0.2, 0), ("Equalize", 0.8, 8)),
    (("Equalize", 0.4, 8), ("SolarizeAdd", 0.8, 3)),
    (("ShearX", 0.2, 9), ("Rotate", 0.6, 8)),
    (("Color", 0.6, 1), ("Equalize", 1.0, 2)),
    (("Invert", 0.4, 9), ("Rotate", 0.6, 0)),
    (("Equalize", 1.0, 9), ("ShearY", 0.6, 3)),
    (("Color", 0.4, 7), ("Equalize", 0.6, 0)),
    (("Posterize", 0.4, 6), ("AutoContrast", 0.4, 7)),
    (("Solarize", 0.6, 8), ("Color", 0.6, 9)),
    (("Solarize", 0.2, 4), ("Rotate", 0.8, 9)),
    (("Rotate", 1.0, 7), ("TranslateY", 0.8, 9)),
    (("ShearX", 0.0, 0), ("Solarize", 0.8, 4)),
    (("ShearY", 0.8, 0), ("Color", 0.6, 4)),
    (("Color", 1.0, 0), ("Rotate", 0.6, 2)),
    (("Equalize", 0.8, 4), ("Equalize", 0.0, 8)),
    (("Equalize", 1.0, 4), ("AutoContrast", 0.6, 2)),
    (("ShearY", 0.4, 7), ("SolarizeAdd", 0.6, 7)),
    (("Posterize", 0.8, 2), ("Solarize", 0.6, 10)),
    (("Solarize", 0.6, 8), ("Equalize", 0.6, 1)),
    (("Color", 0.8, 6), ("Rotate", 0.4, 5)),
)

# (argument at level 0, its change up to MAX_LEVEL); translations are fractions
# of the side. augment_and_mix.py of https://arxiv.org/abs/1912.02781: the
# operations that do not overlap with the corruptions of ImageNet-C.
AUGMIX_OPERATIONS = {
    "AutoContrast": (0, 0),
    "Equalize": (0, 0),
    "Posterize": (4, -4),
    "Rotate": (0, 30),
    "Solarize": (256, -256),
    "ShearX": (0, 0.3),
    "ShearY": (0, 0.3),
    "TranslateX": (0, 1 / 3),
    "TranslateY": (0, 1 / 3),
}
