"""Learning-rate schedules and optimizers."""

import keras

# Decay pulls these towards zero for no gain.
UNDECAYED = ["bias", "gamma", "beta"]


def warmup_cosine(learning_rate, total_steps, warmup_steps):
    """Rises linearly from 0 for `warmup_steps`, then falls to 0 on a cosine."""
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


def make_adamw(learning_rate, *, weight_decay, ema_decay=0.0):
    """AdamW that decays kernels only and can average the weights.

    Args:
      learning_rate: a number or a schedule.
      weight_decay: decoupled, multiplied by the learning rate each step.
      ema_decay: of the average that replaces the weights after `fit`; 0: none.
    """
    optimizer = keras.optimizers.AdamW(
        learning_rate,
        weight_decay=weight_decay,
        use_ema=ema_decay > 0,
        ema_momentum=ema_decay or 0.99,
    )
    optimizer.exclude_from_weight_decay(var_names=UNDECAYED)
    return optimizer
