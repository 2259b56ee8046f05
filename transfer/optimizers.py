"""A recipe's optimizer, with its schedule."""

import keras

from efficientnet_tf.training import optimizers as optimizers_lib, pacing
from transfer import recipes, schedules


def make_optimizer(
    config: recipes.FinetuneConfig,
    steps_per_epoch: float,
    ahead: keras.Variable | None = None,
) -> keras.optimizers.Optimizer:
    """Returns the optimizer of a recipe, with its schedule.

    Args:
      config: a recipe without a rule.
      steps_per_epoch: optimizer steps in an epoch, not necessarily whole.
      ahead: of a schedule that is held to a time limit, see `pacing.Paced`; it
        becomes one of the optimizer's variables.
    """
    schedule = schedules.make_schedule(config, steps_per_epoch)
    if ahead is not None:
        schedule = pacing.Paced(schedule, ahead)
    optimizer = _make_optimizer(config, schedule)
    if ahead is not None:
        optimizer.ahead = ahead  # Keras tracks it, so checkpoints hold it.
    return optimizer


def _make_optimizer(config, schedule):
    if config.optimizer == "adamw":
        return optimizers_lib.make_adamw(
            schedule, weight_decay=config.weight_decay
        )
    if config.optimizer in ("sgd", "momentum"):
        nesterov = config.optimizer == "sgd"
        return optimizers_lib.make_sgd(schedule, nesterov=nesterov)
    return optimizers_lib.RMSprop(schedule)
