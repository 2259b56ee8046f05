"""Learning-rate schedules, with and without warm-up."""

import fractions
from collections.abc import Iterable
from typing import Any

import keras

from efficientnet_tf.training import train_config


@keras.saving.register_keras_serializable(package="efficientnet_tf")
class WarmupStairs(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from 0, then a staircase of exponential decay.

    As in the official code, the stairs are counted from step 0, so a warm-up
    longer than a stair ends below `learning_rate`.

    Args:
      learning_rate: of the first stair.
      decay_steps: optimizer steps of a stair, not necessarily whole.
      decay_rate: factor of the rate from one stair to the next.
      warmup_steps: optimizer steps.
    """

    def __init__(
        self,
        learning_rate: float,
        *,
        decay_steps: float,
        decay_rate: float,
        warmup_steps: int = 0,
    ):
        super().__init__()
        self.learning_rate = learning_rate
        self.decay_steps = decay_steps
        self.decay_rate = decay_rate
        self.warmup_steps = warmup_steps

    def __call__(self, step: Any) -> Any:
        ops = keras.ops
        step = ops.cast(step, "float32")
        stair = ops.floor(step / self.decay_steps)
        rate = self.learning_rate * ops.power(self.decay_rate, stair)
        if not self.warmup_steps:
            return rate
        rising = self.learning_rate * step / self.warmup_steps
        return ops.where(step < self.warmup_steps, rising, rate)

    def get_config(self) -> dict:
        return {
            "learning_rate": self.learning_rate,
            "decay_steps": self.decay_steps,
            "decay_rate": self.decay_rate,
            "warmup_steps": self.warmup_steps,
        }


@keras.saving.register_keras_serializable(package="efficientnet_tf")
class WarmupTenths(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up from 0, then division by ten after each boundary.

    As in BiT's code, the step `boundary` itself still has the higher rate.

    Args:
      learning_rate: the peak.
      boundaries: optimizer steps.
      warmup_steps: optimizer steps.
    """

    def __init__(
        self,
        learning_rate: float,
        *,
        boundaries: Iterable[float],
        warmup_steps: int = 0,
    ):
        super().__init__()
        self.learning_rate = learning_rate
        self.boundaries = list(boundaries)
        self.warmup_steps = warmup_steps

    def __call__(self, step: Any) -> Any:
        ops = keras.ops
        step = ops.cast(step, "float32")
        rate = ops.full((), self.learning_rate, "float32")
        if self.warmup_steps:
            rate = rate * ops.minimum(step / self.warmup_steps, 1.0)
        for boundary in self.boundaries:
            rate = ops.where(step > boundary, rate / 10, rate)
        return rate

    def get_config(self) -> dict:
        return {
            "learning_rate": self.learning_rate,
            "boundaries": self.boundaries,
            "warmup_steps": self.warmup_steps,
        }


def make_schedule(
    config: train_config.TrainConfig,
    steps_per_epoch: float | fractions.Fraction,
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Returns the learning-rate schedule of a recipe.

    Args:
      config: the recipe.
      steps_per_epoch: optimizer steps, not necessarily whole.

    Raises:
      ValueError: there are no steps.
    """
    if not steps_per_epoch > 0:
        raise ValueError(
            f"steps_per_epoch={steps_per_epoch} must be above 0: are there "
            f"fewer images than batch_size={config.batch_size}?"
        )
    # The official code rounds down.
    warmup_steps = int(config.warmup_epochs * float(steps_per_epoch))
    if config.schedule == "cosine":
        total_steps = int(config.epochs * steps_per_epoch)
        return warmup_cosine(config.learning_rate, total_steps, warmup_steps)
    return WarmupStairs(
        config.learning_rate,
        decay_steps=config.decay_epochs * float(steps_per_epoch),
        decay_rate=config.decay_rate,
        warmup_steps=warmup_steps,
    )


def warmup_cosine(
    learning_rate: float, total_steps: int, warmup_steps: int
) -> keras.optimizers.schedules.CosineDecay:
    """Returns a linear warm-up from 0, then a cosine decay to 0.

    Raises:
      ValueError: the warm-up is as long as the run.
    """
    if warmup_steps >= total_steps:
        raise ValueError(
            f"warm-up of {warmup_steps} steps must be shorter than the run of "
            f"{total_steps} steps."
        )
    if warmup_steps == 0:
        return keras.optimizers.schedules.CosineDecay(
            learning_rate, total_steps
        )
    return keras.optimizers.schedules.CosineDecay(
        0.0,
        total_steps - warmup_steps,
        warmup_target=learning_rate,
        warmup_steps=warmup_steps,
    )
