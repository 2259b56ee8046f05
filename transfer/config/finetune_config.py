"""The fields of a fine-tuning run, and which values go together."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

from efficientnet_tf.data import shapes
from efficientnet_tf.data.augment import policies
from efficientnet_tf.models import variants
from efficientnet_tf.utils import configs
from transfer.config import class_weights, synonyms

TASK = "task"  # As the task says.
MAX_STAGES = len(variants.VARIANTS["efficientnet_b0"].stages)
L2_SWEEP = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
# What a rule decides.
RULED = (
    "epochs",
    "steps",
    "decay_at",
    "warmup_steps",
    "crop_from",
    "resolution",
    "width",
    "mixup_alpha",
)
# The same, for fields without an empty value.
RULED_CHOICES = ("schedule", "train_crop")

# What the run that a quantized one starts from has decided, and what folded
# networks do not have.
OF_QUANTIZED: dict[str, Any] = {
    "head": "kept",
    "rule": "none",
    "resolution": 0,
    "width": 0,
    "resize": "task",
    "crop": "task",
    "interpolation": "model",
    "deep_pixels": "used",
    "dropout_rate": 0.0,
    "drop_path_rate": 0.0,
    "precision": "float32",
}


@dataclasses.dataclass(frozen=True)
class FinetuneConfig:
    """A fine-tuning run; the fields that `--set=field=value` may change.

    `head` initializes the classifier: "linear" by a logistic regression on
    frozen features, its L2 strength chosen on validation images, or, of very
    few images, as "prototypes", the class means of these features; "random" by
    noise; "zero" by zeros. `epochs=0` stops there. `batch_norm="frozen"` keeps
    the pretrained statistics and scales; `frozen_stages` freezes the stem and
    that many stages. `quantization="int8"` trains the network of a finished
    run, its head "kept", with the arithmetic of int8; see `qat`.
    """

    epochs: Annotated[int, configs.EPOCHS] = 12
    # Instead of `epochs`, for protocols that count steps.
    steps: Annotated[int, configs.AtLeast(0)] = 0
    batch_size: Annotated[int, configs.AtLeast(1)] = 32
    # Pixels a side; 0: the model's own.
    resolution: Annotated[int, variants.ZERO_OR_SIZE] = 0
    # Of an input that is no square, whose height is `resolution`; 0: a square.
    # `image_size=HEIGHTxWIDTH` sets both.
    width: Annotated[int, variants.ZERO_OR_SIZE] = 0
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
    # "standard": cross-entropy; of several labels an image, binary
    # cross-entropy, or "asymmetric" (Ridnik et al., 2021); of numbers, Huber's
    # loss, or the "squared" error.
    loss: Annotated[str, configs.OneOf("standard", "asymmetric", "squared")] = (
        "standard"
    )
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
    # the image resized to `crop_from` pixels a side.
    train_crop: Annotated[str, configs.OneOf("inception", "random")] = (
        "inception"
    )
    # Smallest share of the image that a crop covers; 1: the whole image.
    min_area: Annotated[float, configs.Above(0, 1)] = 0.35
    crop_from: Annotated[int, configs.AtLeast(0, variants.MAX_SIZE)] = 0
    # How an image gets the shape of the input: see `shapes.RESIZES`. "task":
    # as the task says, "crop" if `crop` chooses one.
    resize: Annotated[str, configs.OneOf(TASK, *shapes.RESIZES)] = TASK
    # Of resize="crop", for evaluation: the largest part at the "center", or the
    # same without a border of 32 pixels ("padded"). "task": "center".
    crop: Annotated[str, configs.OneOf(TASK, "center", "padded")] = TASK
    interpolation: Annotated[
        str, configs.OneOf("model", *policies.INTERPOLATIONS)
    ] = "model"
    deep_pixels: Annotated[str, configs.OneOf(*policies.DEEP_PIXELS)] = "used"
    head: Annotated[
        str, configs.OneOf("linear", "prototypes", "random", "zero", "kept")
    ] = "linear"
    batch_norm: Annotated[str, configs.OneOf("frozen", "train")] = "frozen"
    # 0: max(1 - 10 / steps per epoch, 0.9), Kornblith et al., 2019: in short
    # runs the statistics must adapt faster.
    batch_norm_momentum: Annotated[float, configs.Fraction()] = 0.0
    # Times the rate of the stage above, from the classifier down; 1: all alike.
    layer_decay: Annotated[float, configs.Above(0, 1)] = 1.0
    # Stages begin to train one by one, from the classifier down, over so many
    # epochs; 0: at once.
    unfreeze_epochs: Annotated[float, configs.EPOCHS] = 0.0
    frozen_stages: Annotated[int, configs.AtLeast(0, MAX_STAGES)] = 0
    quantization: Annotated[str, configs.OneOf("none", "int8")] = "none"
    # In the loss. "auto": each class counts alike, however many images it has;
    # "NAME=W,...": those named count so much; see `class_weights.Weighing`.
    class_weight: str = class_weights.NONE
    # "balanced": each class is drawn equally often; in the linear head, which
    # draws none, each counts alike.
    sampling: Annotated[
        str, configs.OneOf(class_weights.SHUFFLED, class_weights.BALANCED)
    ] = class_weights.SHUFFLED
    # Images of each class that are kept to train on, drawn by the seed; 0: all.
    shots: Annotated[int, configs.AtLeast(0)] = 0
    train_on: Annotated[str, configs.OneOf("train", "train+validation")] = (
        "train+validation"
    )
    evaluate_on: Annotated[str, configs.OneOf("test", "validation")] = "test"
    precision: Annotated[str, configs.OneOf(*configs.PRECISIONS)] = "float32"
    seed: Annotated[int, configs.AtLeast(0)] = 0
    # Epochs without a better validation score after which training stops, and
    # the best epoch is taken; 0: it trains to the end. Needs train_on="train".
    patience: Annotated[int, configs.AtLeast(0)] = 0
    # Minutes that the run may take, evaluation included; 0: any. See
    # `time_budget`.
    time_limit: Annotated[float, configs.AtLeast(0)] = 0.0
    # Inverse L2 strengths to choose from for the linear head.
    l2_sweep: Annotated[tuple[float, ...], configs.Above(0)] = L2_SWEEP

    SYNONYMS = synonyms.OF_FINETUNING  # No field, as it has no type.

    def __post_init__(self):
        configs.check(self)
        if not self.l2_sweep:
            raise ValueError(f"l2_sweep={self.l2_sweep} must not be empty.")
        class_weights.parse(self.class_weight)
        if (self.class_weight, self.sampling) == ("auto", "balanced"):
            raise ValueError(
                "class_weight='auto' and sampling='balanced' each let all "
                "classes count alike; choose one of them."
            )
        self._check_length()
        self._check_decay()
        self._check_shape()
        self._check_crop_from()
        self._check_quantization()
        self._check_time_limit()
        if self.patience and (self.train_on != "train" or not self.trains):
            raise ValueError(
                f"patience={self.patience} needs train_on='train' and a recipe "
                "that trains the network: it goes by validation images that "
                "are not trained on."
            )
        if not self.trains and self.head not in ("linear", "prototypes"):
            raise ValueError(
                f"epochs=0 with head={self.head!r} trains nothing."
            )
        if "validation" in self.train_on and self.evaluate_on == "validation":
            raise ValueError(
                "evaluate_on='validation' needs train_on='train': images that "
                "were trained on cannot measure accuracy."
            )

    def weigh(self, class_names: tuple[str, ...]) -> class_weights.Weighing:
        """Returns how much the classes of a task count.

        Raises:
          ValueError: `class_weight` names another class.
        """
        return class_weights.Weighing(
            class_names, self.class_weight, self.sampling
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

    def frame(self, task: str) -> tuple[str, int | None]:
        """Returns `resize` and `crop_padding` of `shapes.Preparation`.

        Args:
          task: what the task says, one of `shapes.RESIZES`.
        """
        resize = self.resize
        if resize == TASK:
            resize = task if self.crop == TASK else shapes.CROP
        if resize != shapes.CROP:
            return resize, None
        return resize, shapes.CROPS[
            "center" if self.crop == TASK else self.crop
        ]

    def _check_shape(self):
        if self.width and not self.resolution:
            raise ValueError(
                f"width={self.width} needs a resolution, the height; "
                "image_size=HEIGHTxWIDTH sets both."
            )
        is_crop = self.resize in (TASK, shapes.CROP)
        if self.crop != TASK and not is_crop:
            raise ValueError(
                f"resize={self.resize!r} leaves nothing to crop={self.crop!r}; "
                f"choose resize={shapes.CROP!r} or crop={TASK!r}."
            )
        # Of a square that the whole image was squashed to.
        is_random = self.rule == "bit" or self.train_crop == "random"
        if is_random and (self.width or self.resize != shapes.SQUASH):
            raise ValueError(
                f"resize={self.resize!r} and width={self.width} must be "
                f"{shapes.SQUASH!r} and 0 with "
                + (
                    "rule='bit'."
                    if self.rule == "bit"
                    else "train_crop='random'."
                )
            )

    def _check_crop_from(self):
        if self.train_crop == "inception" and not self.crop_from:
            return
        if self.train_crop == "inception" or self.crop_from < max(
            self.resolution, 1
        ):
            raise ValueError(
                f"crop_from={self.crop_from} must be 0 with "
                "train_crop='inception', and at least the resolution with "
                "train_crop='random'."
            )

    def _check_time_limit(self):
        if not self.time_limit:
            return
        if self.steps or self.rule == "bit" or self.quantization != "none":
            raise ValueError(
                f"time_limit={self.time_limit:g} goes with recipes whose "
                "epochs may change, such as auto, linear, full and fast."
            )
        if self.schedule not in ("cosine", "constant"):
            raise ValueError(
                f"time_limit={self.time_limit:g} needs schedule='cosine', not "
                f"{self.schedule!r}."
            )

    def _check_quantization(self):
        if self.quantization == "none" and self.head == "kept":
            raise ValueError("head='kept' needs quantization='int8'.")
        fixed = OF_QUANTIZED if self.quantization == "int8" else {}
        for field, value in fixed.items():
            found = getattr(self, field)
            if found != value:
                raise ValueError(
                    f"{field}={found!r} must be {value!r} with "
                    "quantization='int8': the network and the preparation of "
                    "images are those of the run that it starts from."
                )


def upgrade(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of a stored config by their present names."""
    fields = class_weights.upgrade(stored)
    if isinstance(fields.get("resize"), int):
        fields["crop_from"] = fields.pop("resize")
    if fields.get("crop") == "whole":
        fields |= {"crop": TASK, "resize": shapes.SQUASH}
    return fields
