"""What a run of training from scratch is: the fields of a recipe."""

import dataclasses
from typing import Annotated

from efficientnet_tf.data.augment import policies
from efficientnet_tf.models import variants
from efficientnet_tf.training import synonyms
from efficientnet_tf.utils import configs

_MAGNITUDE = configs.AtLeast(0, policies.MAX_MAGNITUDE)
_ALPHA = configs.AtLeast(0, policies.MAX_ALPHA)

# What may differ by stage.
STAGED = (
    "stage_resolutions",
    "stage_magnitudes",
    "stage_mixups",
    "stage_cutmixes",
    "stage_dropouts",
)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """A training run; `--set=field=value` may change any field.

    `batch_size` counts the images of one optimizer step over all devices;
    `accumulation_steps` splits it into so many micro-batches if it does not
    fit into memory. The defaults are the paper's, §5.2 of
    https://arxiv.org/abs/1905.11946, completed from the official code.
    """

    epochs: Annotated[int, configs.AtLeast(1, configs.MAX_EPOCHS)] = 350
    batch_size: Annotated[int, configs.AtLeast(1)] = 4096
    accumulation_steps: Annotated[int, configs.AtLeast(1)] = 1
    # Pixels a side; 0: the model's own.
    resolution: Annotated[int, variants.ZERO_OR_SIZE] = 0
    # Of evaluation; 0: `resolution`, the last stage's, or the model's own.
    eval_resolution: Annotated[int, variants.ZERO_OR_SIZE] = 0
    optimizer: Annotated[str, configs.OneOf("rmsprop", "sgd", "adamw")] = (
        "rmsprop"
    )
    # Of AdamW; the defaults are Keras's.
    adam_beta_1: Annotated[float, configs.Fraction()] = 0.9
    adam_epsilon: Annotated[float, configs.Above(0)] = 1e-7
    # Multiplied by batch_size / 256.
    learning_rate_per_256: Annotated[float, configs.Above(0)] = 0.016
    schedule: Annotated[str, configs.OneOf("stairs", "cosine")] = "stairs"
    # Of schedule "stairs": multiplies the rate every `decay_epochs`.
    decay_rate: Annotated[float, configs.Above(0, 1)] = 0.97
    decay_epochs: Annotated[
        float, configs.AtLeast(0.001, configs.MAX_EPOCHS)
    ] = 2.4
    warmup_epochs: Annotated[float, configs.EPOCHS] = 5.0
    # Multiplies half the sum of squares, in the loss; AdamW: decoupled, per
    # step times learning rate.
    weight_decay: Annotated[float, configs.AtLeast(0)] = 1e-5
    # What decays: "all" but batch norm, as in the official code, or no biases.
    decayed: Annotated[str, configs.OneOf("all", "kernels")] = "all"
    label_smoothing: Annotated[float, configs.Fraction()] = 0.1
    # None: the variant's.
    dropout_rate: Annotated[float | None, configs.Fraction()] = None
    # None: the variant's.
    drop_path_rate: Annotated[float | None, configs.Fraction()] = None
    ema_decay: Annotated[float, configs.Fraction()] = 0.9999  # 0: no average.
    # "variant": the variant's, as None is of the three strengths that follow;
    # see `progression`.
    augment: Annotated[
        str,
        configs.OneOf(
            "none", "autoaugment", "randaugment", "augmix", "variant"
        ),
    ] = "autoaugment"
    randaugment_magnitude: Annotated[float | None, _MAGNITUDE] = 0.0
    mixup_alpha: Annotated[float | None, _ALPHA] = 0.0
    cutmix_alpha: Annotated[float | None, _ALPHA] = 0.0
    randaugment_layers: Annotated[int, configs.AtLeast(1, 100)] = 2
    # Standard deviation of each layer's magnitude; timm's `mstd`.
    randaugment_noise: Annotated[
        float, configs.AtLeast(0, policies.MAX_MAGNITUDE)
    ] = 0.0
    # Of each layer; timm's 0.5.
    randaugment_probability: Annotated[float, configs.Above(0, 1)] = 1.0
    random_erasing: Annotated[float, configs.Fraction()] = 0.0  # Probability.
    # Of a random crop, as a share of the image.
    min_area: Annotated[float, configs.Above(0, 1)] = 0.08
    flip: bool = True
    # Of evaluation, see `preprocessing.preprocess_for_eval`, unless the variant
    # is evaluated on whole images. The official value suits 224 pixels; of much
    # smaller images it would leave little.
    crop_padding: Annotated[int, configs.AtLeast(0, variants.MAX_SIZE)] = 32
    deep_pixels: Annotated[str, configs.OneOf(*policies.DEEP_PIXELS)] = "used"
    # "grouped" is the official code's rule: statistics are local on up to eight
    # devices; beyond that, groups of at least eight share them.
    batch_norm: Annotated[
        str, configs.OneOf("local", "synchronized", "grouped")
    ] = "grouped"
    # Progressive training, in stages of equal shares of the epochs: sizes,
    # strengths and dropout by a rule of `progression`, and by stage. Those that
    # are empty are the same in all stages.
    progression: Annotated[str, configs.OneOf("none", "paper", "code")] = "none"
    stage_resolutions: Annotated[tuple[int, ...], variants.ZERO_OR_SIZE] = ()
    stage_magnitudes: Annotated[tuple[float, ...], _MAGNITUDE] = ()
    stage_mixups: Annotated[tuple[float, ...], _ALPHA] = ()
    stage_cutmixes: Annotated[tuple[float, ...], _ALPHA] = ()
    stage_dropouts: Annotated[tuple[float, ...], configs.Fraction()] = ()
    precision: Annotated[str, configs.OneOf(*configs.PRECISIONS)] = "float32"
    steps_per_execution: Annotated[int, configs.AtLeast(1)] = 1
    # Held out of the training images, to choose the best checkpoint.
    minival_images: Annotated[int, configs.AtLeast(0)] = 0
    # Of the training images; the run stops if more cannot be read.
    max_corrupt_share: Annotated[float, configs.Fraction()] = 0.001
    teacher: str = ""  # MODEL:WEIGHTS, a run or a SavedModel; "": none.
    distill_temperature: Annotated[float, configs.Above(0)] = 1.0
    # Of the distillation loss; the labels' has 1 - distill_weight.
    distill_weight: Annotated[float, configs.AtLeast(0, 1)] = 0.5
    # 0: only at the end of each epoch.
    checkpoint_minutes: Annotated[float, configs.AtLeast(0)] = 15.0
    keep_checkpoints: Annotated[int, configs.AtLeast(1)] = 3
    seed: Annotated[int, configs.AtLeast(0)] = 0

    SYNONYMS = synonyms.OF_TRAINING  # No field, as it has no type.

    def __post_init__(self):
        configs.check(self)
        self._check_steps()
        self._check_stages()
        self._check_magnitude()
        if self.teacher and not self.distill_weight:
            raise ValueError(
                f"distill_weight={self.distill_weight} leaves teacher="
                f"{self.teacher!r} without effect."
            )

    @property
    def learning_rate(self) -> float:
        """The schedule's peak."""
        return self.learning_rate_per_256 * self.batch_size / 256

    @property
    def micro_batch_size(self) -> int:
        """Images that pass through the network at once, over all devices."""
        return self.batch_size // self.accumulation_steps

    def _check_steps(self):
        if self.batch_size % self.accumulation_steps:
            raise ValueError(
                f"batch_size={self.batch_size} must be a multiple of "
                f"accumulation_steps={self.accumulation_steps}."
            )
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs} must be less than "
                f"epochs={self.epochs}."
            )

    @property
    def stage_count(self) -> int:
        """The number of stages; 1 where no field differs by stage."""
        return max(1, *(len(getattr(self, field)) for field in STAGED))

    def _check_stages(self):
        given = {field: getattr(self, field) for field in STAGED}
        given = {field: values for field, values in given.items() if values}
        if len(set(map(len, given.values()))) > 1:
            shown = " and ".join(f"{k}={v}" for k, v in given.items())
            raise ValueError(
                f"{shown} must have one item per stage, or be empty."
            )
        if self.stage_count > self.epochs:
            raise ValueError(
                f"epochs={self.epochs} must be at least the number of stages, "
                f"{self.stage_count}."
            )

    def _check_magnitude(self):
        """A magnitude without RandAugment has no effect, nor the reverse."""
        if self.augment == "variant":
            return
        magnitude = self.randaugment_magnitude
        strong = bool(magnitude) or any(self.stage_magnitudes)
        if strong and self.augment != "randaugment":
            raise ValueError(
                f"randaugment_magnitude={magnitude} and "
                f"stage_magnitudes={self.stage_magnitudes} need "
                f"augment='randaugment', not {self.augment!r}."
            )
        if self.augment == "randaugment" and magnitude == 0 and not strong:
            raise ValueError(
                "augment='randaugment' needs randaugment_magnitude or "
                "stage_magnitudes above 0."
            )
