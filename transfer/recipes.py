"""How a network is fine-tuned: one frozen config, and named rows of it."""

import dataclasses
import math

from efficientnet_tf import configs

CHOICES = {
    "crop": ("task", "center", "whole"),
    "head": ("linear", "random"),
    "batch_norm": ("frozen", "train"),
    "train_on": ("train", "train+validation"),
    "evaluate_on": ("test", "validation"),
    "precision": configs.PRECISIONS,
}
NOT_NEGATIVE = (
    "epochs",
    "resolution",
    "learning_rate",
    "warmup_epochs",
    "weight_decay",
    "mixup_alpha",
    "cutmix_alpha",
    "seed",
)
# In [0, 1).
FRACTIONS = ("dropout_rate", "drop_path_rate", "ema_decay", "label_smoothing")


@dataclasses.dataclass(frozen=True)
class FinetuneConfig:
    """A fine-tuning run; the fields that `--set=field=value` may change.

    `head`: "linear" starts the classifier from a logistic regression on
    frozen features, its strength chosen on validation images; "random" starts
    it from noise. `epochs=0` stops there. `batch_norm="frozen"` keeps
    the pretrained statistics and scales fixed.
    """

    epochs: int = 12
    batch_size: int = 32
    resolution: int = 0  # Pixels a side; 0: the model's own.
    learning_rate: float = 3e-4
    warmup_epochs: float = 1.0
    weight_decay: float = 0.01  # Decoupled, per step times learning rate.
    label_smoothing: float = 0.1
    ema_decay: float = 0.0  # 0: none.
    dropout_rate: float = 0.2
    drop_path_rate: float = 0.1
    mixup_alpha: float = 0.0  # 0: none.
    cutmix_alpha: float = 0.0  # 0: none.
    min_area: float = 0.35  # Of a random crop; 1: the whole image.
    crop: str = "task"  # "center" square, or "whole" image with any aspect.
    head: str = "linear"
    batch_norm: str = "frozen"
    train_on: str = "train+validation"
    evaluate_on: str = "test"
    precision: str = "float32"
    seed: int = 0
    # Inverse strengths of the L2 penalty that the head chooses from.
    l2_sweep: tuple[float, ...] = (0.001, 0.003, 0.01, 0.03, 0.1)

    def __post_init__(self):
        configs.check_types(self)
        configs.check_choices(self, CHOICES)
        configs.check_range(
            self, ("batch_size",), "at least 1", lambda size: size >= 1
        )
        configs.check_not_negative(self, NOT_NEGATIVE)
        configs.check_resolution(self)
        configs.check_fractions(self, FRACTIONS)
        if not self.l2_sweep or not all(
            0 < c < math.inf for c in self.l2_sweep
        ):
            raise ValueError(
                f"l2_sweep={self.l2_sweep} must be numbers above 0."
            )
        if not 0 < self.min_area <= 1:
            raise ValueError(f"min_area={self.min_area} must be in (0, 1].")
        if self.epochs == 0 and self.head == "random":
            raise ValueError("epochs=0 with head='random' trains nothing.")
        if "validation" in self.train_on and self.evaluate_on == "validation":
            raise ValueError(
                "evaluate_on='validation' needs train_on='train': accuracy "
                "on images that were trained on says nothing."
            )


RECIPES = {
    # Kornblith et al., 2019: logistic regression on frozen features.
    "linear": FinetuneConfig(epochs=0),
    # Ours, chosen on validation images (docs/RESULTS.md). From noise, because
    # a head that fits the training images at once leaves no gradient for the
    # features to follow; and batch norm in training mode, because with frozen
    # statistics this learning rate wrecks the network.
    "full": FinetuneConfig(
        epochs=20,
        learning_rate=2e-3,
        warmup_epochs=2.0,
        min_area=0.5,
        head="random",
        batch_norm="train",
    ),
    "quickstart": FinetuneConfig(
        epochs=8,
        resolution=64,
        learning_rate=1e-3,
        min_area=0.7,
        train_on="train",
    ),
}


def get_recipe(name, overrides=()):
    """Returns a named config with "field=value" overrides applied."""
    return configs.choose(RECIPES, name, overrides)
