"""Published accuracy and cost, to compare with what is counted here."""

import dataclasses

PAPER = "https://arxiv.org/abs/1905.11946v5"
LITE_README = (
    "https://github.com/tensorflow/tpu/tree/master/models/official/"
    "efficientnet/lite"
)

V2_README = "https://github.com/google/automl/tree/master/efficientnetv2"


@dataclasses.dataclass(frozen=True)
class Published:
    """Published numbers of a network.

    `top1` is ImageNet accuracy in percent, `params` in millions,
    `multiply_adds` in billions, or None where the source has none.
    """

    top1: float
    params: float
    multiply_adds: float | None
    source: str = PAPER


@dataclasses.dataclass(frozen=True)
class ScaledRow:
    """A row of Table 3: a baseline, its scaling, and what was published.

    `resolution` is in pixels. Where the published `multiply_adds` cannot be
    reproduced, `counted` is what the scaled network has here, in billions, and
    `note` says why. `note` also says where the scaling is not the paper's.
    """

    baseline: str
    depth: float
    width: float
    resolution: int
    multiply_adds: float
    top1: float
    counted: float | None = None
    note: str = ""


# Table 2.
EFFICIENTNETS = {
    # top-1, params, multiply-adds
    "efficientnet_b0": Published(77.1, 5.3, 0.39),
    "efficientnet_b1": Published(79.1, 7.8, 0.70),
    "efficientnet_b2": Published(80.1, 9.2, 1.0),
    "efficientnet_b3": Published(81.6, 12.0, 1.8),
    "efficientnet_b4": Published(82.9, 19.0, 4.2),
    "efficientnet_b5": Published(83.6, 30.0, 9.9),
    "efficientnet_b6": Published(84.0, 43.0, 19.0),
    "efficientnet_b7": Published(84.3, 66.0, 37.0),
}

# In float32, before quantization.
LITES = {
    "efficientnet_lite0": Published(75.1, 4.7, 0.407, LITE_README),
    "efficientnet_lite1": Published(76.7, 5.4, 0.631, LITE_README),
    "efficientnet_lite2": Published(77.6, 6.1, 0.899, LITE_README),
    "efficientnet_lite3": Published(79.8, 8.2, 1.44, LITE_README),
    "efficientnet_lite4": Published(81.5, 13.0, 2.64, LITE_README),
}

# Trained on ImageNet's 1,000 classes; V2-XL was on 21,000 classes only.
V2S = {
    "efficientnet_v2_b0": Published(78.7, 7.1, 0.72, V2_README),
    "efficientnet_v2_b1": Published(79.8, 8.1, 1.2, V2_README),
    "efficientnet_v2_b2": Published(80.5, 10.1, 1.7, V2_README),
    "efficientnet_v2_b3": Published(82.1, 14.4, 3.0, V2_README),
    "efficientnet_v2_s": Published(83.9, 21.5, 8.4, V2_README),
    "efficientnet_v2_m": Published(85.2, 54.1, 24.7, V2_README),
    "efficientnet_v2_l": Published(85.7, 119.5, 56.3, V2_README),
}

VARIANTS = {**EFFICIENTNETS, **LITES, **V2S}

# The other networks of Table 2.
PEERS = {
    "ResNet-50": Published(76.0, 26.0, 4.1),
    "DenseNet-169": Published(76.2, 14.0, 3.5),
    "ResNet-152": Published(77.8, 60.0, 11.0),
    "DenseNet-264": Published(77.9, 34.0, 6.0),
    "Inception-v3": Published(78.8, 24.0, 5.7),
    "Xception": Published(79.0, 23.0, 8.4),
    "Inception-v4": Published(80.0, 48.0, 13.0),
    "Inception-ResNet-v2": Published(80.1, 56.0, 13.0),
    "ResNeXt-101": Published(80.9, 84.0, 32.0),
    "PolyNet": Published(81.3, 92.0, 35.0),
    "SENet": Published(82.7, 146.0, 42.0),
    "NASNet-A": Published(82.7, 89.0, 24.0),
    "AmoebaNet-A": Published(82.8, 87.0, 23.0),
    "PNASNet": Published(82.9, 86.0, 23.0),
    "AmoebaNet-C": Published(83.5, 155.0, 41.0),
    "GPipe": Published(84.3, 557.0, None),
}

_SWAPPED = (
    "the paper's two numbers seem to be swapped: four times the blocks are "
    "14.6, twice the filters 16.1"
)
_OWN_SCALING = "the paper does not say how it was scaled; ours: "

# The paper gives resolution as a factor r; 224 r is rounded to multiples of 16.
TABLE_3 = (
    # baseline, depth, width, resolution, multiply-adds, top-1
    ScaledRow("mobilenet_v1", 1, 1, 224, 0.6, 70.6),
    ScaledRow("mobilenet_v1", 1, 2, 224, 2.2, 74.2),
    ScaledRow(
        "mobilenet_v1",
        1,
        1,
        448,
        2.2,
        72.7,
        counted=2.272,
        note="four times the base's 0.5687; the paper cut it, not rounded",
    ),
    ScaledRow(
        "mobilenet_v1",
        1.4,
        1.2,
        288,
        2.3,
        75.6,
        counted=2.243,
        note="the coefficients have one decimal; 291 pixels would give 2.47",
    ),
    ScaledRow("mobilenet_v2", 1, 1, 224, 0.3, 72.0),
    ScaledRow("mobilenet_v2", 4, 1, 224, 1.2, 76.8),
    ScaledRow(
        "mobilenet_v2",
        1,
        2,
        224,
        1.1,
        76.4,
        counted=1.137,
        note="rounds to the paper's number",
    ),
    ScaledRow("mobilenet_v2", 1, 1, 448, 1.2, 74.8),
    ScaledRow(
        "mobilenet_v2",
        1.4,
        1.2,
        288,
        1.3,
        77.4,
        note=f"{_OWN_SCALING}MobileNetV1's",
    ),
    ScaledRow("resnet50", 1, 1, 224, 4.1, 76.0),
    ScaledRow("resnet50", 4, 1, 224, 16.2, 78.1, counted=14.571, note=_SWAPPED),
    ScaledRow("resnet50", 1, 2, 224, 14.7, 77.7, counted=16.117, note=_SWAPPED),
    ScaledRow("resnet50", 1, 1, 448, 16.4, 77.5),
    ScaledRow(
        "resnet50",
        1.44,
        1.21,
        304,
        16.7,
        78.8,
        note=f"{_OWN_SCALING}φ = 2",
    ),
)

# Table 7; the paper gives no pixels, so they are as in Table 3. At these scales
# B0 has fewer multiply-adds by our count; see docs/scaling.md.
TABLE_7 = (
    # baseline, depth, width, resolution, multiply-adds, top-1
    ScaledRow("efficientnet_b0", 1, 1, 224, 0.4, 77.3),
    ScaledRow("efficientnet_b0", 4, 1, 224, 1.8, 79.0),
    ScaledRow("efficientnet_b0", 1, 2, 224, 1.8, 78.9),
    ScaledRow("efficientnet_b0", 1, 1, 448, 1.9, 79.1),
    ScaledRow("efficientnet_b0", 1.4, 1.2, 288, 1.8, 81.1),
)
