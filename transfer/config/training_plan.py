"""How `auto` trains: rows of `recipes` by images, device and baseline."""

import dataclasses

from efficientnet_tf.utils import image_sizes, words
from transfer.config import hyper_rule, recipes

# Up to 16 pixels a side, 64 pixels show all that there is.
TINY_AREA = 16**2
# With fewer images the epochs of `fast` are too few steps: on 20 classes of
# Cars with 10 images each it reaches 0.39, `full` 0.53, the linear classifier
# 0.38.
FEW_IMAGES = 500
# From a linear classifier this good on, its weights are a better start than
# noise, and few photographs need no more than `GENTLE`: Flowers gain by both,
# Cars, at 0.24 to 0.43, lose.
GOOD_BASELINE = 0.6
# Images that all epochs together may have: about half an hour at 160 pixels on
# two cores; a GPU takes minutes for its share.
CPU_IMAGES, GPU_IMAGES = 100_000, 5_000_000
FEWEST_EPOCHS = 3

# Ours, for few photographs: from the linear classifier, gently.
GENTLE = dataclasses.replace(
    recipes.RECIPES["fast"],
    epochs=12,
    learning_rate=3e-4,
    head="linear",
    batch_norm="frozen",
)


def plan(
    *, images: int, image_area: int, accelerated: bool, baseline: float
) -> recipes.FinetuneConfig:
    """Returns the config of the training that the baseline is compared with.

    Args:
      images: to train on.
      image_area: of most of them, in pixels.
      accelerated: whether there is a GPU.
      baseline: the accuracy of the linear classifier.
    """
    row = "full" if accelerated else "fast"
    if image_area <= TINY_AREA:
        config = recipes.RECIPES["tiny"]
    elif images < FEW_IMAGES:
        good = baseline >= GOOD_BASELINE
        config = GENTLE if good else recipes.RECIPES["full"]
    elif image_area < hyper_rule.SMALL_AREA:
        config = recipes.FOR_SMALL_IMAGES[row]
    elif baseline < GOOD_BASELINE:
        config = recipes.RECIPES[row]
    else:
        config = dataclasses.replace(recipes.RECIPES[row], head="linear")
    most = (GPU_IMAGES if accelerated else CPU_IMAGES) // images
    epochs = min(config.epochs, max(most, FEWEST_EPOCHS))
    return dataclasses.replace(
        config,
        epochs=epochs,
        warmup_epochs=min(config.warmup_epochs, epochs / 4),
    )


def describe(config: recipes.FinetuneConfig) -> str:
    """Returns a training in a few words, for rows and summaries."""
    length = words.count(config.epochs, "epoch")
    if config.steps:
        length = f"{config.steps} steps"
    pixels = "the network's own"
    if config.resolution:
        sides = config.resolution, config.width or config.resolution
        pixels = image_sizes.show(sides)
    begin = {"linear": "the linear classifier", "zero": "zeros"}
    return (
        f"{length} at {pixels} pixels, learning rate {config.learning_rate:g}, "
        f"from {begin.get(config.head, 'a random classifier')}, batch norm "
        f"{'frozen' if config.batch_norm == 'frozen' else 'trained'}"
    )
