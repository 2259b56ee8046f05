"""BiT-HyperRule: hyper-parameters that follow from the data set.

https://arxiv.org/abs/1912.11370, §3.3, and bit_hyperrule.py of
google-research/big_transfer.
"""

import dataclasses

from transfer.config import recipes

# Fewer training images than this: (steps, shares of them at which the rate
# falls, warm-up steps).
SCHEDULES = {
    20_000: (500, (0.4, 0.6, 0.8), 100),
    500_000: (10_000, (0.3, 0.6, 0.9), 500),
    float("inf"): (20_000, (0.3, 0.6, 0.9), 500),
}
# Pixels of an image, below which the smaller size is used.
SMALL_AREA = 96**2
# From so many training images on.
MIXUP_IMAGES = 20_000


def resolve(
    config: recipes.FinetuneConfig, train_images: int, image_area: int
) -> recipes.FinetuneConfig:
    """Returns a config whose rule is replaced by what it decides.

    Args:
      config: returned as it is if it has no rule.
      train_images: how many.
      image_area: of one of them, in pixels.
    """
    if config.rule == "none":
        return config
    small = image_area < SMALL_AREA
    limit = min(limit for limit in SCHEDULES if train_images < limit)
    steps, decay_at, warmup_steps = SCHEDULES[limit]
    return dataclasses.replace(
        config,
        rule="none",
        steps=steps,
        schedule="tenths",
        decay_at=decay_at,
        warmup_steps=warmup_steps,
        train_crop="random",
        crop_from=160 if small else 512,
        resolution=128 if small else 480,
        mixup_alpha=0.1 if train_images >= MIXUP_IMAGES else 0.0,
    )
