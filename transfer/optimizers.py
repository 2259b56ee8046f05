"""A recipe's optimizer, with its schedule."""

import keras

from efficientnet_tf.training import optimizers as optimizers_lib
from transfer import recipes, schedules


def make_optimizer(
    config: recipes.FinetuneConfig, steps_per_epoch: float
) -> keras.optimizers.Optimizer:
    """Returns the optimizer of a recipe, with its schedule.

    Args:
      config: a recipe without a rule.
      steps_per_epoch: optimizer steps in an epoch, not necessarily whole.
    """
    schedule = schedules.make_schedule(config, steps_per_epoch)
    if config.optimizer == "adamw":
        return optimizers_lib.make_adamw(
            schedule, weight_decay=config.weight_decay
        )
    if config.optimizer in ("sgd", "momentum"):
        nesterov = config.optimizer == "sgd"
        return optimizers_lib.make_sgd(schedule, nesterov=nesterov)
    return optimizers_lib.RMSprop(schedule)
