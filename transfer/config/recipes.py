"""How a network is fine-tuned: named recipes."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from efficientnet_tf.data.augment import policies
from efficientnet_tf.models import variants
from efficientnet_tf.training import recipes as training_recipes
from efficientnet_tf.utils import configs, image_sizes
from transfer.config import finetune_config, protocols

# Stands for the fields "resolution" and "width" in overrides.
IMAGE_SIZE = "image_size"

FinetuneConfig = finetune_config.FinetuneConfig

# Ours, chosen on validation images (docs/RESULTS.md). A random head, because
# one that already fits the training images leaves the features no gradient;
# batch norm in training mode, because with frozen statistics this learning rate
# ruins the network.
_FULL = FinetuneConfig(
    epochs=20,
    learning_rate=2e-3,
    warmup_epochs=2.0,
    min_area=0.5,
    head="random",
    batch_norm="train",
)

# https://arxiv.org/abs/2104.00298, §5.4; what the paper omits (optimizer,
# warm-up, dropout, drop path, EMA, the cutout's side and fill, resizing) is
# from the "imagenetFt" of its code.
_V2 = FinetuneConfig(
    epochs=0,
    steps=10_000,
    batch_size=512,
    optimizer="rmsprop",
    learning_rate=0.001,
    warmup_epochs=1.0,
    weight_decay=0.0,
    dropout_rate=0.0,
    drop_path_rate=0.2,
    ema_decay=0.9996,
    cutout=0.5,
    cutout_fill="noise",
    min_area=1.0,
    resize="squash",
    interpolation="bilinear",
    head="random",
    batch_norm="train",
    batch_norm_momentum=0.99,
)

RECIPES = {
    # The linear classifier, then training that is kept if it is better; fields
    # that are set here replace those of the training's plan.
    "auto": FinetuneConfig(rule="auto", epochs=0),
    # Kornblith et al., 2019: logistic regression on frozen features.
    "linear": FinetuneConfig(epochs=0),
    "full": _FULL,
    # The same at a lower resolution, in half the time.
    "fast": dataclasses.replace(_FULL, resolution=160),
    # https://arxiv.org/abs/1805.08974, as https://arxiv.org/abs/2002.05709
    # restates it in B.8.1; rate and decay are from the grid in protocols.py.
    # Neither states a schedule; the cosine without warm-up is how the latter's
    # code fine-tunes: learning_rate_schedule in model_util.py of
    # google-research/simclr, and its README's commands.
    "kornblith": FinetuneConfig(
        epochs=0,
        steps=20_000,
        batch_size=256,
        optimizer="sgd",
        learning_rate=0.01,
        weight_decay=1e-4,
        warmup_epochs=0.0,
        label_smoothing=0.0,
        dropout_rate=0.0,
        drop_path_rate=0.0,
        min_area=0.08,
        crop="padded",
        head="random",
        batch_norm="train",
    ),
    # https://arxiv.org/abs/1811.06965: flip and cutout at 480 pixels, all else
    # as on ImageNet (`PAPER` in training/recipes.py), but a quarter of its
    # learning rate, as EfficientNet's authors say in tensorflow/tpu#476. The
    # paper gives neither the length nor the cutout's side and fill; those are
    # ours.
    "gpipe": FinetuneConfig(
        epochs=100,
        batch_size=256,
        resolution=480,
        optimizer="rmsprop",
        learning_rate=training_recipes.PAPER.learning_rate_per_256 / 4,
        schedule="stairs",
        warmup_epochs=training_recipes.PAPER.warmup_epochs,
        weight_decay=training_recipes.PAPER.weight_decay,
        ema_decay=training_recipes.PAPER.ema_decay,
        drop_path_rate=0.2,
        dropout_rate=None,
        cutout=0.5,
        min_area=1.0,
        resize="squash",
        head="random",
        batch_norm="train",
        batch_norm_momentum=0.99,
    ),
    # BiT-HyperRule, https://arxiv.org/abs/1912.11370, §3.3 and
    # bit_hyperrule.py of google-research/big_transfer; mixup and resizing are
    # those of its TensorFlow code, but half of the images are mirrored, as in
    # its PyTorch code. What depends on the data set is in hyper_rule.py.
    "bit": FinetuneConfig(
        rule="bit",
        epochs=0,
        batch_size=512,
        optimizer="momentum",
        learning_rate=0.003,
        warmup_epochs=0.0,
        weight_decay=0.0,
        label_smoothing=0.0,
        dropout_rate=0.0,
        drop_path_rate=0.0,
        mixup_weight="batch",
        resize="squash",
        interpolation="bilinear",
        head="zero",
        batch_norm="train",
    ),
    "v2": _V2,
    # ImageNet-21k to ImageNet: the same code's as it stands; its rate is 0.0005
    # per 256 images.
    "v2_imagenet": dataclasses.replace(
        _V2,
        epochs=15,
        steps=0,
        learning_rate=0.001,
        schedule="constant",
        weight_decay=1e-5,
    ),
    # Ours for images of a few pixels, such as the digits: 64 pixels. Neither
    # smoothing nor crops: the linear head is sure of whole images, and what
    # corrects it for either ruins the features in the first epoch; so does any
    # lower rate (docs/RESULTS.md).
    "tiny": FinetuneConfig(
        epochs=8,
        resolution=64,
        learning_rate=1e-3,
        label_smoothing=0.0,
        min_area=1.0,
    ),
    # Snell et al., 2017: the nearest class mean, for a handful of images.
    "prototypes": FinetuneConfig(epochs=0, head="prototypes"),
    # Ours: a finished run in the arithmetic of int8 (docs/RESULTS.md).
    "qat": FinetuneConfig(
        epochs=2,
        learning_rate=1e-4,
        warmup_epochs=0.5,
        weight_decay=0.0,
        label_smoothing=0.0,
        min_area=0.8,
        quantization="int8",
        head="kept",
        dropout_rate=0.0,
        drop_path_rate=0.0,
    ),
}

# Tasks of 32-pixel images, which enlarging blurs.
SMALL_IMAGES = ("cifar10", "cifar100")

# Ours for those tasks: the first stages have nothing to learn from blurred
# images, sharpening makes these more like photographs, and mixing helps where
# there are few.
_SMALL = FinetuneConfig(
    epochs=20,
    resolution=192,
    optimizer="sgd",
    learning_rate=0.01,
    weight_decay=1e-4,
    mixup_alpha=0.4,
    cutmix_alpha=1.0,
    min_area=0.5,
    warmup_epochs=2.0,
    interpolation=policies.SHARPENED,
    batch_norm="train",
    frozen_stages=4,
)
FOR_SMALL_IMAGES = {
    "full": _SMALL,
    "fast": dataclasses.replace(_SMALL, epochs=12),
}

# What recipes become for a network with random weights: there are no features
# to fit a classifier on, and none that frozen layers would keep.
FROM_RANDOM: dict[str, Any] = {
    "head": "random",
    "batch_norm": "train",
    "frozen_stages": 0,
}


def _rows(task: str) -> dict[str, FinetuneConfig]:
    return RECIPES | (FOR_SMALL_IMAGES if task in SMALL_IMAGES else {})


def _set_sizes(overrides):
    """Returns overrides with the fields that `image_size` sets."""
    found = []
    for override in overrides:
        name, _, text = override.partition("=")
        if name != IMAGE_SIZE:
            found.append(override)
            continue
        height, width = image_sizes.parse(text)
        for side in (height, width):
            if not variants.ZERO_OR_SIZE.holds(side) or not side:
                raise ValueError(
                    f"{override}: sides must be between {variants.MIN_SIZE} "
                    f"and {variants.MAX_SIZE} pixels."
                )
        found.append(f"resolution={height}")
        found.append(f"width={0 if width == height else width}")
    return found


def list_changes(name: str, fields: dict, task: str = "") -> dict:
    """Returns the fields of a run, but its seed, that differ from the recipe's.

    Args:
      name: the recipe; "": compares with the defaults of `FinetuneConfig`. An
        unknown name gives {}.
      fields: {field: value}; fields that a config does not have are ignored.
      task: the run's task, see `get_recipe`.
    """
    if name and name not in RECIPES:
        return {}
    recipe = _rows(task)[name] if name else FinetuneConfig()
    standard = dataclasses.asdict(recipe)
    return {
        # Rows are stored as JSON, which has no tuples.
        field: list(fields[field])
        if isinstance(value, tuple)
        else fields[field]
        for field, value in standard.items()
        if field not in ("seed", *protocols.CHOSEN.get(name, ()))
        and fields[field] != value
    }


def get_recipe(
    name: str,
    overrides: Iterable[str] = (),
    task: str = "",
    *,
    pretrained: bool = True,
) -> FinetuneConfig:
    """Returns a named config with "field=value" overrides applied.

    Args:
      name: a row of `RECIPES`.
      overrides: "field=value" each, or "image_size=HEIGHTxWIDTH".
      task: the name of a task; some recipes differ for `SMALL_IMAGES`.
      pretrained: whether the network has weights to keep; if not, the recipe
        gets `FROM_RANDOM` unless `overrides` say otherwise.

    Raises:
      ValueError: an unknown name or field, or a bad value; or a recipe that
        trains only the classifier, or quantizes, of a network with random
        weights.
    """
    rows, overrides = _rows(task), _set_sizes(overrides)
    if pretrained:
        return configs.choose(rows, name, overrides)
    rows = {
        key: dataclasses.replace(row, **FROM_RANDOM)
        if row.trains and row.quantization == "none"
        else row
        for key, row in rows.items()
    }
    config = configs.choose(rows, name, overrides)
    if config.quantization != "none":
        raise ValueError(
            f"recipe={name} starts from a finished run; name its folder as "
            "weights."
        )
    if not config.trains:
        raise ValueError(
            f"recipe={name} trains only the classifier, but this network has "
            "random weights; name weights, or a recipe that trains the "
            "network, such as full."
        )
    return config
