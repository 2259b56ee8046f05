"""Table 5 of the paper, both halves, as printed."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Comparison:
    """An EfficientNet beside another network, the peer, on one data set.

    Accuracies are in [0, 1], parameters in millions, without the classifier;
    `ratio` is the peer's parameters over the EfficientNet's. None where the
    paper prints a dash.
    """

    peer: str
    peer_accuracy: float
    peer_parameters: float | None
    model: str
    accuracy: float
    parameters: float | None
    ratio: float | None


# https://arxiv.org/abs/1905.11946, Table 5, left: the best public models.
BEST_PUBLIC = {
    "cifar10": Comparison(
        "NASNet-A", 0.980, 85, "efficientnet_b0", 0.981, 4, 21
    ),
    "cifar100": Comparison(
        "NASNet-A", 0.875, 85, "efficientnet_b0", 0.881, 4, 21
    ),
    "birdsnap": Comparison(
        "Inception-v4", 0.818, 41, "efficientnet_b5", 0.820, 28, 1.5
    ),
    "cars196": Comparison(
        "Inception-v4", 0.934, 41, "efficientnet_b3", 0.936, 10, 4.1
    ),
    "oxford_flowers102": Comparison(
        "Inception-v4", 0.985, 41, "efficientnet_b5", 0.985, 28, 1.5
    ),
    "fgvc_aircraft": Comparison(
        "Inception-v4", 0.909, 41, "efficientnet_b3", 0.907, 10, 4.1
    ),
    # Printed as 5.6, and the printed mean includes it, though 58 / 17 is 3.4.
    "oxford_iiit_pet": Comparison(
        "ResNet-152", 0.945, 58, "efficientnet_b4", 0.948, 17, 5.6
    ),
    "food101": Comparison(
        "Inception-v4", 0.908, 41, "efficientnet_b4", 0.915, 17, 2.4
    ),
}

# Table 5, right: the best reported results.
BEST_REPORTED = {
    "cifar10": Comparison(
        "GPipe", 0.990, 556, "efficientnet_b7", 0.989, 64, 8.7
    ),
    "cifar100": Comparison(
        "GPipe", 0.913, 556, "efficientnet_b7", 0.917, 64, 8.7
    ),
    "birdsnap": Comparison(
        "GPipe", 0.836, 556, "efficientnet_b7", 0.843, 64, 8.7
    ),
    "cars196": Comparison(
        "DAT", 0.948, None, "efficientnet_b7", 0.947, None, None
    ),
    "oxford_flowers102": Comparison(
        "DAT", 0.977, None, "efficientnet_b7", 0.988, None, None
    ),
    "fgvc_aircraft": Comparison(
        "DAT", 0.929, None, "efficientnet_b7", 0.929, None, None
    ),
    "oxford_iiit_pet": Comparison(
        "GPipe", 0.959, 556, "efficientnet_b6", 0.954, 41, 14
    ),
    "food101": Comparison(
        "GPipe", 0.930, 556, "efficientnet_b7", 0.930, 64, 8.7
    ),
}

HALVES = {
    "best public models": BEST_PUBLIC,
    "best reported results": BEST_REPORTED,
}
