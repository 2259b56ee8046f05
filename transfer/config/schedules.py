"""A recipe's length and learning-rate schedule."""

import keras

from efficientnet_tf.training import recipes as recipes_lib, schedules
from transfer.config import recipes

IMAGENET = recipes_lib.PAPER  # `schedule="stairs"` decays as it does.
# Steps between two checkpoints of a recipe that counts steps.
ROUND_STEPS = 250


def plan_rounds(
    config: recipes.FinetuneConfig, steps_per_epoch: float
) -> tuple[int, int]:
    """Returns (rounds, steps per round) for `fit`.

    A round is the whole steps of an epoch, or about `ROUND_STEPS` of
    `config.steps`.
    """
    if not config.steps:
        return config.epochs, int(steps_per_epoch)
    rounds = max(1, round(config.steps / ROUND_STEPS))
    return rounds, max(1, config.steps // rounds)


def make_schedule(
    config: recipes.FinetuneConfig, steps_per_epoch: float
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Returns the learning-rate schedule of a recipe.

    Args:
      config: a recipe without a rule.
      steps_per_epoch: optimizer steps in an epoch, not necessarily whole.
    """
    rounds, steps = plan_rounds(config, steps_per_epoch)
    total = rounds * steps
    warmup = config.warmup_steps + round(config.warmup_epochs * steps_per_epoch)
    warmup = min(warmup, total // 2)
    rate = config.learning_rate
    if config.schedule == "cosine":
        return schedules.warmup_cosine(rate, total, warmup)
    if config.schedule == "tenths":
        return schedules.WarmupTenths(
            rate,
            boundaries=[round(share * total) for share in config.decay_at],
            warmup_steps=warmup,
        )
    return schedules.WarmupStairs(
        rate,
        decay_steps=IMAGENET.decay_epochs * steps_per_epoch,
        decay_rate=IMAGENET.decay_rate if config.schedule == "stairs" else 1.0,
        warmup_steps=warmup,
    )
