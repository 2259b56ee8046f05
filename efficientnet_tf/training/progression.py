"""Progressive learning: images and regularization that grow by stage.

Tan and Le, 2021, §4 of https://arxiv.org/abs/2104.00298: the images of early
stages are small, and so regularized less.
"""

import dataclasses

import numpy as np

from efficientnet_tf.models import variants
from efficientnet_tf.training import train_config
from efficientnet_tf.utils import configs

STAGES = 4
# Of the first stage: pixels (in the code, a base that is never seen), magnitude
# of RandAugment, and dropout; mixtures begin at none.
FIRST_SIZE = 128
FIRST_MAGNITUDE = 5.0
FIRST_DROPOUT = 0.1


@dataclasses.dataclass(frozen=True)
class Strength:
    """What a variant's images and network get in the last stage.

    `resolution` 0 and `dropout` None are the variant's own.
    """

    magnitude: float
    mixup: float
    cutmix: float
    dropout: float | None = None
    resolution: int = 0


# Table 6 of the paper; it has no CutMix.
PAPER = {
    "efficientnet_v2_s": Strength(15.0, 0.0, 0.0, 0.3, 300),
    "efficientnet_v2_m": Strength(20.0, 0.2, 0.0, 0.4, 380),
    "efficientnet_v2_l": Strength(25.0, 0.5, 0.0, 0.5, 380),
}
# effnetv2_configs.py of https://github.com/google/automl, where both mixtures
# have one number. V2-B0 to B3 and the first family have none, and AutoAugment
# in place of RandAugment.
CODE = {
    "efficientnet_v2_s": Strength(10.0, 0.0, 0.0),
    "efficientnet_v2_m": Strength(15.0, 0.2, 0.2),
    "efficientnet_v2_l": Strength(20.0, 0.5, 0.5),
    "efficientnet_v2_xl": Strength(20.0, 0.5, 0.5),
}
_PLAIN = Strength(0.0, 0.0, 0.0)


@dataclasses.dataclass(frozen=True)
class TrainStage:
    """Epochs [begin, end) with images and regularization of their own."""

    begin: int
    end: int
    resolution: int  # 0: the model's own.
    magnitude: float  # Of RandAugment.
    mixup: float = 0.0
    cutmix: float = 0.0
    dropout: float | None = None  # None: as the network was built.


def fill(
    config: train_config.TrainConfig,
    model_name: str,
    variant: variants.Variant,
) -> train_config.TrainConfig:
    """Returns a recipe with what it leaves to the variant and to its rule.

    Fields that are set stay: the sizes, strengths and dropout of a recipe are
    those of its last stage, and a field by stage is kept as it is.

    Args:
      config: the recipe.
      model_name: of the rows of `PAPER` and `CODE`; others have `_PLAIN`.
      variant: the network's.

    Raises:
      ValueError: `progression="paper"` for a network that has no row there.
    """
    if config.progression == "paper" and model_name not in PAPER:
        raise ValueError(
            configs.unknown(
                "model", model_name, PAPER, owner="progression='paper'"
            )
            + " progression='code' is for all."
        )
    table = PAPER if config.progression == "paper" else CODE
    config = _fill_strengths(config, table.get(model_name, _PLAIN))
    if config.progression == "none":
        return config
    changes = _RULES[config.progression](config, variant, table.get(model_name))
    return dataclasses.replace(
        config,
        # That of the last stage may not be the one to evaluate at.
        eval_resolution=config.eval_resolution
        or config.resolution
        or (0 if config.stage_resolutions else variant.resolution),
        **{k: v for k, v in changes.items() if not getattr(config, k)},
    )


def stages(config: train_config.TrainConfig) -> tuple[TrainStage, ...]:
    """Returns the consecutive `TrainStage`s of a recipe, as `fill` returns it.

    Without `fill`, a recipe that leaves nothing to it has the same ones.
    """
    count = config.stage_count
    columns = [
        values or (value,) * count
        for values, value in (
            (config.stage_resolutions, config.resolution),
            (config.stage_magnitudes, config.randaugment_magnitude or 0.0),
            (config.stage_mixups, config.mixup_alpha or 0.0),
            (config.stage_cutmixes, config.cutmix_alpha or 0.0),
            (config.stage_dropouts, None),
        )
    ]
    ends = [round(i * config.epochs / count) for i in range(count + 1)]
    return tuple(
        TrainStage(*stage)
        for stage in zip(ends[:-1], ends[1:], *columns, strict=True)
    )


def max_dropout(config: train_config.TrainConfig) -> float | None:
    """Returns the highest rate of dropout; None: the variant's."""
    return max(config.stage_dropouts, default=config.dropout_rate)


def _fill_strengths(config, row):
    """Returns the recipe with the variant's augmentation and mixtures."""
    augment = config.augment
    if augment == "variant":
        augment = "randaugment" if row.magnitude else "autoaugment"
    magnitude = config.randaugment_magnitude
    if magnitude is None:
        magnitude = row.magnitude if augment == "randaugment" else 0.0
    return dataclasses.replace(
        config,
        augment=augment,
        randaugment_magnitude=magnitude,
        mixup_alpha=_or(config.mixup_alpha, row.mixup),
        cutmix_alpha=_or(config.cutmix_alpha, row.cutmix),
    )


def _or(value, otherwise):
    return otherwise if value is None else value


def _follow_paper(config, variant, row):
    """Algorithm 1: all grow linearly, from the first stage to the last."""
    last = config.resolution or row.resolution
    sizes = np.linspace(_first_size(last), last, _count(config))
    dropout = _or(config.dropout_rate, row.dropout)
    return _ramp_strengths(config) | {
        "stage_resolutions": tuple(map(round, sizes.tolist())),
        "stage_dropouts": _ramp(FIRST_DROPOUT, dropout, _count(config)),
    }


def _follow_code(config, variant, row):
    """main.py: sizes grow from above the base, and dropout stays the same."""
    last = config.resolution or variant.train_resolution
    first, count = _first_size(last), _count(config)
    sizes = (
        int(first + (last - first) * (stage + 1) / count)
        for stage in range(count)
    )
    return _ramp_strengths(config) | {"stage_resolutions": tuple(sizes)}


_RULES = {"paper": _follow_paper, "code": _follow_code}


def _count(config):
    return STAGES if config.stage_count == 1 else config.stage_count


def _first_size(last):
    """Returns the smallest size."""
    if last > FIRST_SIZE:
        return FIRST_SIZE
    # It would make them shrink: half of the last one, the code's rule where no
    # base is set.
    return max(variants.MIN_SIZE, last // 2)


def _ramp_strengths(config):
    count, changes = _count(config), {}
    if config.augment == "randaugment":
        changes["stage_magnitudes"] = _ramp(
            FIRST_MAGNITUDE, config.randaugment_magnitude, count
        )
    if config.mixup_alpha:
        changes["stage_mixups"] = _ramp(0.0, config.mixup_alpha, count)
    if config.cutmix_alpha:
        changes["stage_cutmixes"] = _ramp(0.0, config.cutmix_alpha, count)
    return changes


def _ramp(first, last, count):
    """Returns `count` values from first to last; none is above the last."""
    return tuple(np.linspace(min(first, last), last, count).tolist())
