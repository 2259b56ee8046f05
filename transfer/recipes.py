"""How a network is fine-tuned: a frozen config, and named recipes."""

import dataclasses
from collections.abc import Iterable
from typing import Annotated, Any

from efficientnet_tf.data import policies
from efficientnet_tf.models import variants
from efficientnet_tf.training import recipes as training_recipes
from efficientnet_tf.utils import configs
from transfer import protocols

MAX_STAGES = len(variants.VARIANTS["efficientnet_b0"].stages)
L2_SWEEP = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
# What a rule decides.
RULED = (
    "epochs",
    "steps",
    "decay_at",
    "warmup_steps",
    "resize",
    "resolution",
    "mixup_alpha",
)
# The same, for fields without an empty value.
RULED_CHOICES = ("schedule", "train_crop")


@dataclasses.dataclass(frozen=True)
class FinetuneConfig:
    """A fine-tuning run; the fields that `--set=field=value` may change.

    `head` initializes the classifier: "linear" by a logistic regression on
    frozen features, its L2 strength chosen on validation images; "random" by
    noise; "zero" by zeros. `epochs=0` stops there. `batch_norm="frozen"` keeps
    the pretrained statistics and scales; `frozen_stages` freezes the stem and
    that many stages.
    """

    epochs: Annotated[int, configs.EPOCHS] = 12
    # Instead of `epochs`, for protocols that count steps.
    steps: Annotated[int, configs.AtLeast(0)] = 0
    batch_size: Annotated[int, configs.AtLeast(1)] = 32
    # Pixels a side; 0: the model's own.
    resolution: Annotated[int, variants.ZERO_OR_SIZE] = 0
    # "sgd": Nesterov momentum 0.9; "momentum": plain momentum 0.9.
    optimizer: Annotated[
        str, configs.OneOf("adamw", "sgd", "momentum", "rmsprop")
    ] = "adamw"
    learning_rate: Annotated[float, configs.AtLeast(0)] = 3e-4
    # "stairs": those of training's `PAPER`; "tenths": / 10 after `decay_at`.
    schedule: Annotated[
        str, configs.OneOf("cosine", "constant", "stairs", "tenths")
    ] = "cosine"
    decay_at: tuple[float, ...] = ()  # Shares of the run.
    warmup_epochs: Annotated[float, configs.EPOCHS] = 1.0
    # In addition to `warmup_epochs`.
    warmup_steps: Annotated[int, configs.AtLeast(0)] = 0
    # AdamW: decoupled, per step times learning rate; the others: times half the
    # sum of squares, in the loss.
    weight_decay: Annotated[float, configs.AtLeast(0)] = 0.01
    # "bit": see `hyper_rule`; "auto": see `auto`.
    rule: Annotated[str, configs.OneOf("none", "bit", "auto")] = "none"
    label_smoothing: Annotated[float, configs.Fraction()] = 0.1
    # Averages weights and batch-norm statistics; 0: none.
    ema_decay: Annotated[float, configs.Fraction()] = 0.0
    # None: the variant's.
    dropout_rate: Annotated[float | None, configs.Fraction()] = 0.2
    drop_path_rate: Annotated[float, configs.Fraction()] = 0.1
    mixup_alpha: Annotated[float, configs.AtLeast(0, policies.MAX_ALPHA)] = 0.0
    # What has one of its own, see `mixing`.
    mixup_weight: Annotated[str, configs.OneOf(*policies.MIXUP_WEIGHTS)] = (
        "image"
    )
    cutmix_alpha: Annotated[float, configs.AtLeast(0, policies.MAX_ALPHA)] = 0.0
    # Side of the square, as a share of the image's.
    cutout: Annotated[float, configs.Fraction()] = 0.0
    # See `augmentation.cutout`.
    cutout_fill: Annotated[str, configs.OneOf(*policies.CUTOUT_FILLS)] = "grey"
    # "inception": a random area and aspect ratio; "random": a fixed size, from
    # the image resized to `resize` pixels a side.
    train_crop: Annotated[str, configs.OneOf("inception", "random")] = (
        "inception"
    )
    # Smallest share of the image that a crop covers; 1: the whole image.
    min_area: Annotated[float, configs.Above(0, 1)] = 0.35
    resize: Annotated[int, configs.AtLeast(0, variants.MAX_SIZE)] = 0
    # For evaluation: the "center" square, the same without a border of 32
    # pixels ("padded"), or the "whole" image, squeezed to a square.
    crop: Annotated[str, configs.OneOf("task", "center", "padded", "whole")] = (
        "task"
    )
    interpolation: Annotated[
        str, configs.OneOf("model", *policies.INTERPOLATIONS)
    ] = "model"
    deep_pixels: Annotated[str, configs.OneOf(*policies.DEEP_PIXELS)] = "used"
    head: Annotated[str, configs.OneOf("linear", "random", "zero")] = "linear"
    batch_norm: Annotated[str, configs.OneOf("frozen", "train")] = "frozen"
    # 0: max(1 - 10 / steps per epoch, 0.9), Kornblith et al., 2019: in short
    # runs the statistics must adapt faster.
    batch_norm_momentum: Annotated[float, configs.Fraction()] = 0.0
    frozen_stages: Annotated[int, configs.AtLeast(0, MAX_STAGES)] = 0
    # "balanced": scikit-learn's, in the loss: each class counts alike, however
    # many images it has.
    class_weights: Annotated[str, configs.OneOf("none", "balanced")] = "none"
    train_on: Annotated[str, configs.OneOf("train", "train+validation")] = (
        "train+validation"
    )
    evaluate_on: Annotated[str, configs.OneOf("test", "validation")] = "test"
    precision: Annotated[str, configs.OneOf(*configs.PRECISIONS)] = "float32"
    seed: Annotated[int, configs.AtLeast(0)] = 0
    # Inverse L2 strengths to choose from for the linear head.
    l2_sweep: Annotated[tuple[float, ...], configs.Above(0)] = L2_SWEEP

    def __post_init__(self):
        configs.check(self)
        if not self.l2_sweep:
            raise ValueError(f"l2_sweep={self.l2_sweep} must not be empty.")
        self._check_length()
        self._check_decay()
        self._check_resize()
        if not self.trains and self.head != "linear":
            raise ValueError(
                f"epochs=0 with head={self.head!r} trains nothing."
            )
        if "validation" in self.train_on and self.evaluate_on == "validation":
            raise ValueError(
                "evaluate_on='validation' needs train_on='train': images that "
                "were trained on cannot measure accuracy."
            )

    @property
    def trains(self) -> bool:
        """Whether the network trains, not only the linear head."""
        return bool(self.epochs or self.steps or self.rule != "none")

    def _check_length(self):
        if self.steps and self.epochs:
            raise ValueError(
                f"epochs={self.epochs} and steps={self.steps} exclude each "
                "other; set one of them to 0."
            )
        ruled = [f for f in RULED if getattr(self, f)]
        ruled += [
            field
            for field in RULED_CHOICES
            if getattr(self, field) != getattr(type(self), field)
        ]
        if self.rule == "bit" and ruled:
            raise ValueError(
                f"rule={self.rule!r} decides {ruled[0]}; set rule=none to "
                "choose it."
            )

    def _check_decay(self):
        shares = self.decay_at
        rising = list(shares) == sorted(set(shares))
        if not (rising and all(0 < share < 1 for share in shares)):
            raise ValueError(
                f"decay_at={shares} must be rising shares between 0 and 1."
            )
        if shares and self.schedule != "tenths":
            raise ValueError(
                f"decay_at={shares} needs schedule='tenths', not "
                f"{self.schedule!r}."
            )

    def _check_resize(self):
        if self.train_crop == "inception" and not self.resize:
            return
        if self.train_crop == "inception" or self.resize < max(
            self.resolution, 1
        ):
            raise ValueError(
                f"resize={self.resize} must be 0 with train_crop='inception', "
                "and at least the resolution with train_crop='random'."
            )


# Ours, chosen on validation images (docs/RESULTS.md). A random head, because
# one that already fits the training images leaves the features no gradient;
# batch norm in training mode, because with frozen statistics this learning rate
# ruins the network.
_FULL = FinetuneConfig(
    epochs=20,
    learning_rate=2e-3,
    warmup_epochs=2.0,
    min_area=0.5,
    head="random",
    batch_norm="train",
)

RECIPES = {
    # The linear classifier, then training that is kept if it is better; fields
    # that are set here replace those of the training's plan.
    "auto": FinetuneConfig(rule="auto", epochs=0),
    # Kornblith et al., 2019: logistic regression on frozen features.
    "linear": FinetuneConfig(epochs=0),
    "full": _FULL,
    # The same at a lower resolution, in half the time.
    "fast": dataclasses.replace(_FULL, resolution=160),
    # https://arxiv.org/abs/1805.08974, as https://arxiv.org/abs/2002.05709
    # restates it in B.8.1; rate and decay are from the grid in protocols.py.
    # Neither states a schedule; the cosine without warm-up is how the latter's
    # code fine-tunes: learning_rate_schedule in model_util.py of
    # google-research/simclr, and its README's commands.
    "kornblith": FinetuneConfig(
        epochs=0,
        steps=20_000,
        batch_size=256,
        optimizer="sgd",
        learning_rate=0.01,
        weight_decay=1e-4,
        warmup_epochs=0.0,
        label_smoothing=0.0,
        dropout_rate=0.0,
        drop_path_rate=0.0,
        min_area=0.08,
        crop="padded",
        head="random",
        batch_norm="train",
    ),
    # https://arxiv.org/abs/1811.06965: flip and cutout at 480 pixels, all else
    # as on ImageNet (`PAPER` in training/recipes.py), but a quarter of its
    # learning rate, as EfficientNet's authors say in tensorflow/tpu#476. The
    # paper gives neither the length nor the cutout's side and fill; those are
    # ours.
    "gpipe": FinetuneConfig(
        epochs=100,
        batch_size=256,
        resolution=480,
        optimizer="rmsprop",
        learning_rate=training_recipes.PAPER.learning_rate_per_256 / 4,
        schedule="stairs",
        warmup_epochs=training_recipes.PAPER.warmup_epochs,
        weight_decay=training_recipes.PAPER.weight_decay,
        ema_decay=training_recipes.PAPER.ema_decay,
        drop_path_rate=0.2,
        dropout_rate=None,
        cutout=0.5,
        min_area=1.0,
        crop="whole",
        head="random",
        batch_norm="train",
        batch_norm_momentum=0.99,
    ),
    # BiT-HyperRule, https://arxiv.org/abs/1912.11370, §3.3 and
    # bit_hyperrule.py of google-research/big_transfer; mixup and resizing are
    # those of its TensorFlow code, but half of the images are mirrored, as in
    # its PyTorch code. What depends on the data set is in hyper_rule.py.
    "bit": FinetuneConfig(
        rule="bit",
        epochs=0,
        batch_size=512,
        optimizer="momentum",
        learning_rate=0.003,
        warmup_epochs=0.0,
        weight_decay=0.0,
        label_smoothing=0.0,
        dropout_rate=0.0,
        drop_path_rate=0.0,
        mixup_weight="batch",
        crop="whole",
        interpolation="bilinear",
        head="zero",
        batch_norm="train",
    ),
    # https://arxiv.org/abs/2104.00298, §5.4; what the paper omits (optimizer,
    # warm-up, dropout, drop path, EMA, the cutout's side and fill, resizing) is
    # from the "imagenetFt" of its code.
    "v2": FinetuneConfig(
        epochs=0,
        steps=10_000,
        batch_size=512,
        optimizer="rmsprop",
        learning_rate=0.001,
        warmup_epochs=1.0,
        weight_decay=0.0,
        dropout_rate=0.0,
        drop_path_rate=0.2,
        ema_decay=0.9996,
        cutout=0.5,
        cutout_fill="noise",
        min_area=1.0,
        crop="whole",
        interpolation="bilinear",
        head="random",
        batch_norm="train",
        batch_norm_momentum=0.99,
    ),
    # Ours for images of a few pixels, such as the digits: 64 pixels. Neither
    # smoothing nor crops: the linear head is sure of whole images, and what
    # corrects it for either ruins the features in the first epoch; so does any
    # lower rate (docs/RESULTS.md).
    "tiny": FinetuneConfig(
        epochs=8,
        resolution=64,
        learning_rate=1e-3,
        label_smoothing=0.0,
        min_area=1.0,
    ),
}

# Tasks of 32-pixel images, which enlarging blurs.
SMALL_IMAGES = ("cifar10", "cifar100")

# Ours for those tasks: the first stages have nothing to learn from blurred
# images, sharpening makes these more like photographs, and mixing helps where
# there are few.
_SMALL = FinetuneConfig(
    epochs=20,
    resolution=192,
    optimizer="sgd",
    learning_rate=0.01,
    weight_decay=1e-4,
    mixup_alpha=0.4,
    cutmix_alpha=1.0,
    min_area=0.5,
    warmup_epochs=2.0,
    interpolation=policies.SHARPENED,
    batch_norm="train",
    frozen_stages=4,
)
FOR_SMALL_IMAGES = {
    "full": _SMALL,
    "fast": dataclasses.replace(_SMALL, epochs=12),
}

# What recipes become for a network with random weights: there are no features
# to fit a classifier on, and none that frozen layers would keep.
FROM_RANDOM: dict[str, Any] = {
    "head": "random",
    "batch_norm": "train",
    "frozen_stages": 0,
}


def _rows(task: str) -> dict[str, FinetuneConfig]:
    return RECIPES | (FOR_SMALL_IMAGES if task in SMALL_IMAGES else {})


def list_changes(name: str, fields: dict, task: str = "") -> dict:
    """Returns the fields of a run, but its seed, that differ from the recipe's.

    Args:
      name: the recipe; "": compares with the defaults of `FinetuneConfig`. An
        unknown name gives {}.
      fields: {field: value}; fields that a config does not have are ignored.
      task: the run's task, see `get_recipe`.
    """
    if name and name not in RECIPES:
        return {}
    recipe = _rows(task)[name] if name else FinetuneConfig()
    standard = dataclasses.asdict(recipe)
    return {
        # Rows are stored as JSON, which has no tuples.
        field: list(fields[field])
        if isinstance(value, tuple)
        else fields[field]
        for field, value in standard.items()
        if field not in ("seed", *protocols.CHOSEN.get(name, ()))
        and fields[field] != value
    }


def get_recipe(
    name: str,
    overrides: Iterable[str] = (),
    task: str = "",
    *,
    pretrained: bool = True,
) -> FinetuneConfig:
    """Returns a named config with "field=value" overrides applied.

    Args:
      name: a row of `RECIPES`.
      overrides: "field=value" each.
      task: the name of a task; some recipes differ for `SMALL_IMAGES`.
      pretrained: whether the network has weights to keep; if not, the recipe
        gets `FROM_RANDOM` unless `overrides` say otherwise.

    Raises:
      ValueError: an unknown name or field, or a bad value; or a recipe that
        trains only the classifier, of a network with random weights.
    """
    rows = _rows(task)
    if pretrained:
        return configs.choose(rows, name, overrides)
    rows = {
        key: dataclasses.replace(row, **FROM_RANDOM) if row.trains else row
        for key, row in rows.items()
    }
    config = configs.choose(rows, name, overrides)
    if not config.trains:
        raise ValueError(
            f"recipe={name} trains only the classifier, but this network has "
            "random weights; name weights, or a recipe that trains the "
            "network, such as full."
        )
    return config
