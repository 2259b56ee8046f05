"""The optimizer of a recipe, and its learning rate at each step."""

from efficientnet_tf.training import optimizers, recipes as recipes_lib
from transfer import recipes

IMAGENET = recipes_lib.PAPER  # Whose stairs `schedule="stairs"` takes.


def make_schedule(config, steps_per_epoch):
    """Returns the learning rate of each step of a `FinetuneConfig`.

    Args:
      config: a `recipes.FinetuneConfig` without a rule.
      steps_per_epoch: a whole number.
    """
    rounds, steps = recipes.plan_rounds(config, steps_per_epoch)
    total = rounds * steps
    warmup = config.warmup_steps + round(config.warmup_epochs * steps_per_epoch)
    warmup = min(warmup, total // 2)
    rate = config.learning_rate
    if config.schedule == "cosine":
        return optimizers.warmup_cosine(rate, total, warmup)
    if config.schedule == "tenths":
        return optimizers.WarmupTenths(
            rate,
            boundaries=[round(share * total) for share in config.decay_at],
            warmup_steps=warmup,
        )
    return optimizers.WarmupStairs(
        rate,
        decay_steps=IMAGENET.decay_epochs * steps_per_epoch,
        decay_rate=IMAGENET.decay_rate if config.schedule == "stairs" else 1.0,
        warmup_steps=warmup,
    )


def make_optimizer(config, steps_per_epoch):
    """Returns the Keras optimizer of a `recipes.FinetuneConfig`."""
    schedule = make_schedule(config, steps_per_epoch)
    if config.optimizer == "adamw":
        return optimizers.make_adamw(schedule, weight_decay=config.weight_decay)
    if config.optimizer in ("sgd", "momentum"):
        nesterov = config.optimizer == "sgd"
        return optimizers.make_sgd(schedule, nesterov=nesterov)
    return optimizers.RMSprop(schedule)
