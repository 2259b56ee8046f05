"""A recipe's optimizer, with its schedule."""

import keras

from efficientnet_tf.training import (
    layer_rates,
    optimizers as optimizers_lib,
    pacing,
)
from transfer.config import recipes, schedules


def make_optimizer(
    config: recipes.FinetuneConfig,
    network: keras.Model,
    steps_per_epoch: float,
    ahead: keras.Variable | None = None,
) -> keras.optimizers.Optimizer:
    """Returns the optimizer of a recipe, with its schedule.

    Args:
      config: a recipe without a rule.
      network: whose stages may have rates of their own.
      steps_per_epoch: optimizer steps in an epoch, not necessarily whole.
      ahead: of a schedule that is held to a time limit, see `pacing.Paced`; it
        becomes one of the optimizer's variables.
    """
    schedule = schedules.make_schedule(config, steps_per_epoch)
    if ahead is not None:
        schedule = pacing.Paced(schedule, ahead)
    optimizer = from_rate(config, schedule)
    if ahead is not None:
        optimizer.ahead = ahead  # Keras tracks it, so checkpoints hold it.
    if config.layer_decay < 1 or config.unfreeze_epochs:
        rates = layer_rates.DepthRates(
            network,
            decay=config.layer_decay,
            unfreeze_steps=round(config.unfreeze_epochs * steps_per_epoch),
        )
        layer_rates.scale_rates(optimizer, rates)
    return optimizer


def from_rate(
    config: recipes.FinetuneConfig, learning_rate: optimizers_lib.LearningRate
) -> keras.optimizers.Optimizer:
    """Returns the optimizer of a recipe, with another learning rate."""
    if config.optimizer == "adamw":
        return optimizers_lib.make_adamw(
            learning_rate, weight_decay=config.weight_decay
        )
    if config.optimizer in ("sgd", "momentum"):
        nesterov = config.optimizer == "sgd"
        return optimizers_lib.make_sgd(learning_rate, nesterov=nesterov)
    return optimizers_lib.RMSprop(learning_rate)
