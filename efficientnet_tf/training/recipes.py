"""Recipes for training from scratch: a frozen config and its named rows."""

import dataclasses
from collections.abc import Iterable
from typing import Annotated

from efficientnet_tf.data.augment import policies
from efficientnet_tf.models import variants
from efficientnet_tf.utils import configs


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
    optimizer: Annotated[str, configs.OneOf("rmsprop", "sgd")] = "rmsprop"
    # Multiplied by batch_size / 256.
    learning_rate_per_256: Annotated[float, configs.Above(0)] = 0.016
    schedule: Annotated[str, configs.OneOf("stairs", "cosine")] = "stairs"
    # Of schedule "stairs": multiplies the rate every `decay_epochs`.
    decay_rate: Annotated[float, configs.Above(0, 1)] = 0.97
    decay_epochs: Annotated[
        float, configs.AtLeast(0.001, configs.MAX_EPOCHS)
    ] = 2.4
    warmup_epochs: Annotated[float, configs.EPOCHS] = 5.0
    # Multiplies half the sum of squares, in the loss.
    weight_decay: Annotated[float, configs.AtLeast(0)] = 1e-5
    label_smoothing: Annotated[float, configs.Fraction()] = 0.1
    # None: the variant's.
    dropout_rate: Annotated[float | None, configs.Fraction()] = None
    # None: the variant's.
    drop_path_rate: Annotated[float | None, configs.Fraction()] = None
    ema_decay: Annotated[float, configs.Fraction()] = 0.9999  # 0: no average.
    augment: Annotated[
        str, configs.OneOf("none", "autoaugment", "randaugment", "augmix")
    ] = "autoaugment"
    randaugment_layers: Annotated[int, configs.AtLeast(1, 100)] = 2
    randaugment_magnitude: Annotated[
        float, configs.AtLeast(0, policies.MAX_MAGNITUDE)
    ] = 0.0
    mixup_alpha: Annotated[float, configs.AtLeast(0, policies.MAX_ALPHA)] = 0.0
    cutmix_alpha: Annotated[float, configs.AtLeast(0, policies.MAX_ALPHA)] = 0.0
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
    # Progressive training: equal shares of the epochs; empty: one stage.
    stage_resolutions: Annotated[
        tuple[int, ...], configs.AtLeast(variants.MIN_SIZE, variants.MAX_SIZE)
    ] = ()
    stage_magnitudes: Annotated[
        tuple[float, ...], configs.AtLeast(0, policies.MAX_MAGNITUDE)
    ] = ()  # Of RandAugment.
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

    def _check_stages(self):
        sizes, magnitudes = self.stage_resolutions, self.stage_magnitudes
        if sizes and magnitudes and len(sizes) != len(magnitudes):
            raise ValueError(
                f"stage_resolutions={sizes} and stage_magnitudes={magnitudes} "
                "must have one item per stage, or one of them must be empty."
            )
        if max(len(sizes), len(magnitudes)) > self.epochs:
            raise ValueError(
                f"epochs={self.epochs} must be at least the number of stages, "
                f"{max(len(sizes), len(magnitudes))}."
            )

    def _check_magnitude(self):
        """A magnitude without RandAugment has no effect, nor the reverse."""
        strong = self.randaugment_magnitude > 0 or any(self.stage_magnitudes)
        if strong and self.augment != "randaugment":
            raise ValueError(
                f"randaugment_magnitude={self.randaugment_magnitude} and "
                f"stage_magnitudes={self.stage_magnitudes} need "
                f"augment='randaugment', not {self.augment!r}."
            )
        if self.augment == "randaugment" and not strong:
            raise ValueError(
                "augment='randaugment' needs randaugment_magnitude or "
                "stage_magnitudes above 0."
            )


@dataclasses.dataclass(frozen=True)
class TrainStage:
    """Epochs [begin, end) with one image size and RandAugment magnitude."""

    begin: int
    end: int
    resolution: int  # 0: the model's own.
    magnitude: float


PAPER = TrainConfig(
    # §5.2: 25K of the training images choose the best checkpoint.
    minival_images=25_000,
)

_TPU_V3_32 = dataclasses.replace(
    PAPER,
    batch_size=2048,
    augment="none",
    precision="mixed_bfloat16",
    steps_per_execution=64,  # Ours; costs the run's last 5 steps.
    minival_images=0,
)

RECIPES = {
    # §5.2. Its initial rate of 0.256 is the code's 0.016 per 256 images at a
    # batch of 4096.
    "paper": PAPER,
    # The defaults of the official code's main.py: 218,949 steps of 2048 images,
    # bfloat16, and no augmentation but crops and flips.
    "tpu_v3_32": _TPU_V3_32,
    # The same with its --augment_name=autoaugment: 77.1 % for B0 in its README,
    # which has 76.7 % with "baseline preprocessing".
    "tpu_v3_32_autoaugment": dataclasses.replace(
        _TPU_V3_32, augment="autoaugment"
    ),
    # The official code's, after https://arxiv.org/abs/1909.13719: 17 for B5,
    # 28 for B7; none is published for B6.
    "randaugment": dataclasses.replace(
        PAPER, augment="randaugment", randaugment_magnitude=17.0
    ),
    # Ours: the learning rate scales with the batch; the rest is unchanged.
    "one_gpu": dataclasses.replace(
        PAPER,
        batch_size=256,
        batch_norm="local",
        precision="mixed_bfloat16",
    ),
    # As pycls trains B0 in configs/dds_baselines/effnet/EN-B0_dds_8gpu.yaml
    # (https://github.com/facebookresearch/pycls), which reports 75.1 %. Its
    # colour jitter, precise batch-norm statistics and weight decay of batch
    # norm are left out; the moving average beside the raw weights is ours.
    "sgd_cosine": dataclasses.replace(
        PAPER,
        epochs=100,
        batch_size=256,
        optimizer="sgd",
        learning_rate_per_256=0.4,
        schedule="cosine",
        label_smoothing=0.0,
        dropout_rate=0.0,
        drop_path_rate=0.0,
        augment="none",
        batch_norm="local",
        minival_images=0,
    ),
    # https://arxiv.org/abs/2104.00298, §4: four stages, with magnitudes rising
    # from 5 to 15 as for V2-S. The image sizes are ours, for B0.
    "progressive": dataclasses.replace(
        PAPER,
        augment="randaugment",
        stage_resolutions=(128, 160, 192, 224),
        stage_magnitudes=(5.0, 8.0, 12.0, 15.0),
    ),
    # Ours: runs every part once, within minutes on a CPU.
    "smoke": dataclasses.replace(
        PAPER,
        epochs=3,
        batch_size=32,
        resolution=64,
        crop_padding=9,  # The same share as 32 of 224 pixels.
        # Per 256, so 0.001 at this batch: at 0.008 the weights run away from
        # batch norm's averages within the few steps of a small set.
        learning_rate_per_256=0.008,
        warmup_epochs=1.0,
        # There are too few steps for a longer average.
        ema_decay=0.9,
        augment="none",
        drop_path_rate=0.0,
        batch_norm="synchronized",
        minival_images=0,
        checkpoint_minutes=1.0,
    ),
}


def get_recipe(name: str, overrides: Iterable[str] = ()) -> TrainConfig:
    """Returns a row of `RECIPES` with "field=value" overrides applied.

    Raises:
      ValueError: an unknown name or field, or a bad value.
    """
    return configs.choose(RECIPES, name, overrides)


def stages(config: TrainConfig) -> tuple[TrainStage, ...]:
    """Returns the consecutive `TrainStage`s of a run."""
    count = max(len(config.stage_resolutions), len(config.stage_magnitudes), 1)
    resolutions = config.stage_resolutions or (config.resolution,) * count
    magnitudes = (
        config.stage_magnitudes or (config.randaugment_magnitude,) * count
    )
    ends = [round(i * config.epochs / count) for i in range(count + 1)]
    return tuple(
        TrainStage(*stage)
        for stage in zip(
            ends[:-1], ends[1:], resolutions, magnitudes, strict=True
        )
    )
