"""How a network is trained from scratch: one frozen config, named rows."""

import dataclasses

from efficientnet_tf.data import policies
from efficientnet_tf.utils import configs

CHOICES = {
    "optimizer": ("rmsprop", "sgd"),
    "schedule": ("stairs", "cosine"),
    "augment": ("none", "autoaugment", "randaugment", "augmix"),
    "batch_norm": ("local", "synchronized", "grouped"),
    "precision": configs.PRECISIONS,
}
AT_LEAST_ONE = (
    "epochs",
    "batch_size",
    "accumulation_steps",
    "randaugment_layers",
    "steps_per_execution",
    "keep_checkpoints",
)
ABOVE_ZERO = (
    "learning_rate_per_256",
    "decay_rate",
    "decay_epochs",
    "min_area",
    "distill_temperature",
)
NOT_NEGATIVE = (
    "resolution",
    "warmup_epochs",
    "weight_decay",
    "randaugment_magnitude",
    "mixup_alpha",
    "cutmix_alpha",
    "crop_padding",
    "minival_images",
    "checkpoint_minutes",
    "seed",
)
FRACTIONS = (
    "label_smoothing",
    "dropout_rate",
    "drop_path_rate",
    "ema_decay",
    "random_erasing",
    "max_corrupt_share",
)
AT_MOST_ONE = ("decay_rate", "min_area", "distill_weight")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """A training run; the fields that `--set=field=value` may change.

    `batch_size` is what one optimizer step sees, over all devices;
    `accumulation_steps` cuts it into as many micro-batches where it does not
    fit. The defaults are the paper's, https://arxiv.org/abs/1905.11946, §5.2,
    with what it leaves out from the official code.
    """

    epochs: int = 350
    batch_size: int = 4096
    accumulation_steps: int = 1
    resolution: int = 0  # Pixels a side; 0: the model's own.
    optimizer: str = "rmsprop"
    learning_rate_per_256: float = 0.016  # Times batch_size / 256.
    schedule: str = "stairs"
    decay_rate: float = 0.97  # Of the stairs, every `decay_epochs`.
    decay_epochs: float = 2.4
    warmup_epochs: float = 5.0
    weight_decay: float = 1e-5  # Times half the sum of squares, in the loss.
    label_smoothing: float = 0.1
    dropout_rate: float | None = None  # None: the variant's.
    drop_path_rate: float | None = None  # None: the variant's.
    ema_decay: float = 0.9999  # 0: no average.
    augment: str = "autoaugment"
    randaugment_layers: int = 2
    randaugment_magnitude: float = 0.0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    random_erasing: float = 0.0  # Probability.
    min_area: float = 0.08  # Of a random crop.
    flip: bool = True
    # Of evaluation, see `preprocessing`. The official number is meant for 224
    # pixels and leaves little of much smaller images.
    crop_padding: int = 32
    # "grouped": the reference's rule, which keeps statistics local on up to
    # eight devices and shares them among groups of at least eight beyond.
    batch_norm: str = "grouped"
    # Progressive training: equal shares of the epochs; empty: one stage.
    stage_resolutions: tuple[int, ...] = ()
    stage_magnitudes: tuple[float, ...] = ()  # Of RandAugment.
    precision: str = "float32"
    steps_per_execution: int = 1
    minival_images: int = 0  # Held out of train, to choose the best on.
    max_corrupt_share: float = 0.001  # Of the records; more stop the run.
    teacher: str = ""  # MODEL:WEIGHTS, a run or a SavedModel; "": none.
    distill_temperature: float = 1.0
    distill_weight: float = 0.5  # Of the teacher; the rest is the labels'.
    checkpoint_minutes: float = 15.0  # 0: at the end of epochs only.
    keep_checkpoints: int = 3
    seed: int = 0

    def __post_init__(self):
        configs.check_types(self)
        configs.check_choices(self, CHOICES)
        configs.check_range(self, AT_LEAST_ONE, "at least 1", lambda x: x >= 1)
        configs.check_range(self, ABOVE_ZERO, "above 0", lambda x: x > 0)
        configs.check_not_negative(self, NOT_NEGATIVE)
        configs.check_fractions(self, FRACTIONS)
        configs.check_range(
            self,
            ("randaugment_magnitude",),
            f"at most {policies.MAX_MAGNITUDE}",
            lambda x: x <= policies.MAX_MAGNITUDE,
        )
        configs.check_range(
            self, AT_MOST_ONE, "between 0 and 1", lambda x: 0 <= x <= 1
        )
        configs.check_resolution(self)
        self._check_steps()
        self._check_stages()
        self._check_magnitude()
        if self.teacher and not self.distill_weight:
            raise ValueError(
                f"distill_weight={self.distill_weight} leaves teacher="
                f"{self.teacher!r} without effect."
            )

    @property
    def learning_rate(self):
        """The peak of the schedule."""
        return self.learning_rate_per_256 * self.batch_size / 256

    @property
    def micro_batch_size(self):
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
        if any(size < 32 for size in sizes):
            raise ValueError(f"stage_resolutions={sizes} must be at least 32.")
        if not all(
            0 <= magnitude <= policies.MAX_MAGNITUDE for magnitude in magnitudes
        ):
            raise ValueError(
                f"stage_magnitudes={magnitudes} must be at most "
                f"{policies.MAX_MAGNITUDE} and not negative."
            )
        if sizes and magnitudes and len(sizes) != len(magnitudes):
            raise ValueError(
                f"stage_resolutions={sizes} and stage_magnitudes={magnitudes} "
                "must have one item per stage, or one of them none."
            )
        if max(len(sizes), len(magnitudes)) > self.epochs:
            raise ValueError(
                f"epochs={self.epochs} must be at least the number of stages, "
                f"{max(len(sizes), len(magnitudes))}."
            )

    def _check_magnitude(self):
        """A strength without RandAugment, and the reverse, do nothing."""
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
    """Epochs [begin, end) of one image size and strength of RandAugment."""

    begin: int
    end: int
    resolution: int  # 0: the model's own.
    magnitude: float


PAPER = TrainConfig(
    # §5.2: 25K of the training images choose the best checkpoint.
    minival_images=25_000,
)

RECIPES = {
    # §5.2. Its initial rate of 0.256 is the code's 0.016 per 256 images at a
    # batch of 4096.
    "paper": PAPER,
    # The official code's defaults: 218,949 steps of 2048 images, bfloat16.
    "tpu_v3_32": dataclasses.replace(
        PAPER,
        batch_size=2048,
        precision="mixed_bfloat16",
        steps_per_execution=64,  # Ours.
        minival_images=0,
    ),
    # The official code's, after https://arxiv.org/abs/1909.13719: 17 for B5,
    # 28 for B7; none is published for B6.
    "randaugment": dataclasses.replace(
        PAPER, augment="randaugment", randaugment_magnitude=17.0
    ),
    # Ours: the rate scales with the batch, all else stays.
    "one_gpu": dataclasses.replace(
        PAPER,
        batch_size=256,
        batch_norm="local",
        precision="mixed_bfloat16",
    ),
    # As pycls trains B0 in configs/dds_baselines/effnet/EN-B0_dds_8gpu.yaml
    # (https://github.com/facebookresearch/pycls); it publishes 75.1 %. Its
    # jitter of colours, precise statistics and decay of batch norm are left
    # out; the average beside the raw weights is ours.
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
    # https://arxiv.org/abs/2104.00298, §4: four stages, and magnitudes that
    # rise from 5 to 15 as for V2-S. The image sizes are ours, for B0.
    "progressive": dataclasses.replace(
        PAPER,
        augment="randaugment",
        stage_resolutions=(128, 160, 192, 224),
        stage_magnitudes=(5.0, 8.0, 12.0, 15.0),
    ),
    # Ours: everything once, within minutes on a CPU.
    "smoke": dataclasses.replace(
        PAPER,
        epochs=3,
        batch_size=32,
        resolution=64,
        crop_padding=9,  # The same share as 32 beside 224.
        # Per 256, so 0.008 at this batch.
        learning_rate_per_256=0.064,
        warmup_epochs=1.0,
        # Too few steps for any longer memory.
        ema_decay=0.9,
        augment="none",
        drop_path_rate=0.0,
        batch_norm="synchronized",
        minival_images=0,
        checkpoint_minutes=1.0,
    ),
}


def get_recipe(name, overrides=()):
    """Returns a named `TrainConfig` with "field=value" overrides applied."""
    return configs.choose(RECIPES, name, overrides)


def stages(config):
    """Returns the `TrainStage`s of a run, which follow each other."""
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
