"""Random policies on one uint8 image, and random erasing.

Every random number is a pure function of `seed`, two integers: the same seed
gives the same result, eagerly and inside a dataset. Each function draws from
its own stream, so one seed can serve several of them.
"""

import functools
import typing
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from efficientnet_tf.data.augment import image_ops, operations, policies
from efficientnet_tf.utils import configs

# The keys of the random streams.
(
    _AUTOAUGMENT,
    _RANDAUGMENT,
    _AUGMIX,
    _AUGMIX_WEIGHTS,
    _ERASING,
    _NOISE,
    _CUTOUT,
    _LEVELS,
    _SKIPS,
) = range(9)

# Levels of RandAugment with noise are rounded to this share of one, because
# arguments are not computed by TensorFlow.
_STEPS = 100


# Two integers.
Seed: typing.TypeAlias = Sequence[int] | tf.Tensor


def autoaugment(image: tf.Tensor, seed: Seed) -> tf.Tensor:
    """Applies a random one of the 25 sub-policies of AutoAugment's policy v0.

    Args:
      image: uint8 [H, W, 3].
      seed: two integers.

    Returns:
      uint8 [H, W, 3].
    """
    names, indices, probabilities, arguments = _policy_tables()
    draws = _uniform(seed, _AUTOAUGMENT, [2, 5])
    chosen = _choose(draws[0, 0], len(indices))
    applied = draws[:, 1] < tf.gather(probabilities, chosen)
    indices = tf.where(applied, tf.gather(indices, chosen), len(names))
    arguments = tf.gather(arguments, chosen)
    return operations.apply_all(image, names, indices, arguments, draws[:, 2:])


def randaugment(
    image: tf.Tensor,
    seed: Seed,
    *,
    layers: int,
    magnitude: float,
    noise: float = 0.0,
    probability: float = 1.0,
) -> tf.Tensor:
    """Applies random operations in sequence, all at the same level.

    With `noise` or `probability`, as timm's auto_augment.py has it.

    Args:
      image: uint8 [H, W, 3].
      seed: two integers.
      layers: the number of operations, N in the paper.
      magnitude: their level, M in the paper, from 0 to 30.
      noise: standard deviation of each operation's level around it, clipped to
        [0, 10], or to [0, magnitude] of a higher one.
      probability: of applying each operation.

    Returns:
      uint8 [H, W, 3].
    """
    if layers < 0:
        raise ValueError(f"layers is {layers}, which is negative.")
    if not 0 <= magnitude <= policies.MAX_MAGNITUDE:
        raise ValueError(
            f"magnitude is {magnitude}, not from 0 to {policies.MAX_MAGNITUDE}."
        )
    if noise < 0:
        raise ValueError(f"noise is {noise}, which is negative.")
    if not 0 <= probability <= 1:
        raise ValueError(f"probability is {probability}, not from 0 to 1.")
    if layers == 0:
        return image
    names = tuple(operations.OPERATIONS)
    draws = _uniform(seed, _RANDAUGMENT, [layers, 4])
    indices = _choose(draws[:, 0], len(names))
    if noise:
        arguments = _noisy_arguments(
            seed, names, indices, magnitude=magnitude, noise=noise
        )
    else:
        arguments = tf.gather(_arguments(names, magnitude), indices)
    if probability < 1:
        applied = _uniform(seed, _SKIPS, [layers]) < probability
        indices = tf.where(applied, indices, len(names))
    return operations.apply_all(image, names, indices, arguments, draws[:, 1:])


def augmix(
    image: tf.Tensor,
    seed: Seed,
    *,
    severity: float = 3,
    width: int = 3,
    depth: int = 3,
    alpha: float = 1.0,
) -> tf.Tensor:
    """Mixes the image with random chains of operations; no consistency loss.

    Section 3 of https://arxiv.org/abs/1912.02781.

    Args:
      image: uint8 [H, W, 3].
      seed: two integers.
      severity: the highest level, above 0 and up to 10.
      width: the number of chains.
      depth: the maximum number of operations in a chain; the minimum is one.
      alpha: the parameter of the Dirichlet and Beta distributions of the
        weights.

    Returns:
      uint8 [H, W, 3], rounded.
    """
    if not 0 < severity <= policies.MAX_LEVEL:
        raise ValueError(
            f"severity is {severity}, not above 0 and up to "
            f"{policies.MAX_LEVEL}."
        )
    draws = _uniform(seed, _AUGMIX, [width, depth + 1, 5])
    weights_seed = _stream(seed, _AUGMIX_WEIGHTS)
    gammas = tf.random.stateless_gamma([width + 2], weights_seed, alpha)
    weights = tf.math.divide_no_nan(gammas[2:], tf.reduce_sum(gammas[2:]))
    share = tf.math.divide_no_nan(gammas[0], gammas[0] + gammas[1])

    original = tf.cast(image, "float32")
    mixed = (1 - share) * original
    for chain in range(width):
        augmented = _augmix_chain(image, draws[chain], severity)
        augmented = tf.cast(augmented, "float32")
        mixed += share * weights[chain] * augmented
    return tf.cast(tf.minimum(tf.round(mixed), 255), "uint8")


def random_erasing(
    image: tf.Tensor,
    seed: Seed,
    *,
    probability: float,
    area: tuple[float, float] = (0.02, 0.4),
    max_aspect: float = 1 / 0.3,
) -> tf.Tensor:
    """Replaces a random box by noise.

    https://arxiv.org/abs/1708.04896, with its ranges; the aspect ratio is
    log-uniform, so that tall and wide boxes are equally likely.

    Args:
      image: uint8 [H, W, 3].
      seed: two integers.
      probability: of erasing a box.
      area: smallest and largest area, as fractions of the image.
      max_aspect: the largest ratio of the longer side to the shorter one.

    Returns:
      uint8 [H, W, 3].
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"probability is {probability}, not from 0 to 1.")
    draws = _uniform(seed, _ERASING, [5])
    sides = tf.shape(image)[:2]

    def erase():
        size = area[0] + draws[1] * (area[1] - area[0])
        stretch = tf.pow(max_aspect, draws[2] - 0.5)
        # As fractions of a square image's side; clipped to the image.
        shares = tf.sqrt(size) * tf.stack([stretch, 1 / stretch])
        scale = tf.sqrt(tf.cast(tf.reduce_prod(sides), "float32"))
        box = tf.cast(tf.round(shares * scale), "int32")
        box = tf.clip_by_value(box, 1, sides)
        start = _choose(draws[3:], tf.cast(sides - box + 1, "float32"))
        mask = image_ops.box_mask(sides, start, start + box)
        return image_ops.paste(image, _noise(seed, tf.shape(mask)), mask)

    return tf.cond(draws[0] < probability, erase, lambda: tf.identity(image))


def cutout(
    image: tf.Tensor, seed: Seed, *, half_side: float, fill: str = "grey"
) -> tf.Tensor:
    """Fills a square of 2 * half_side pixels at a random centre.

    https://arxiv.org/abs/1708.04552; clipped to the image.

    Args:
      image: float32 [H, W, 3] with values in [0, 255].
      seed: two integers.
      half_side: pixels; a fraction is dropped.
      fill: "grey"; or "noise", different in each value, from the brighter half
        of the range, as EfficientNetV2's code has it.

    Returns:
      float32 [H, W, 3].

    Raises:
      ValueError: an unknown fill.
    """
    if fill not in policies.CUTOUT_FILLS:
        raise ValueError(configs.unknown("fill", fill, policies.CUTOUT_FILLS))
    sides = tf.shape(image)[:2]
    draws = _uniform(seed, _CUTOUT, [2])
    center = tf.cast(draws * tf.cast(sides, "float32"), "int32")
    half = tf.cast(half_side, "int32")
    mask = image_ops.box_mask(sides, center - half, center + half)
    inside = tf.reshape(mask, tf.shape(image)) > 0
    values: tf.Tensor | float = float(image_ops.GREY)
    if fill == "noise":
        # There the noise is in [0, 1) and pixels in [-1, 1].
        values = tf.random.stateless_uniform(
            tf.shape(image), _stream(seed, _NOISE), 127.5, 255.0
        )
    return tf.ensure_shape(tf.where(inside, values, image), image.shape)


def _arguments(names, level):
    """Returns each operation's argument at a level of RandAugment."""
    limits = policies.RANDAUGMENT_LIMITS
    return [
        float(operations.level_argument(name, level, limits)) for name in names
    ]


def _noisy_arguments(seed, names, indices, *, magnitude, noise):
    """Returns an argument for each of `indices`, at a level of its own."""
    high = max(float(policies.MAX_LEVEL), magnitude)
    levels = tf.random.stateless_normal(
        tf.shape(indices), _stream(seed, _LEVELS), magnitude, noise
    )
    rows = tf.cast(
        tf.round(tf.clip_by_value(levels, 0, high) * _STEPS), "int32"
    )
    table = [
        _arguments(names, row / _STEPS) for row in range(int(high * _STEPS) + 1)
    ]
    return tf.gather_nd(tf.constant(table), tf.stack([rows, indices], axis=1))


@functools.cache
def _policy_tables():
    """Returns names, and [25, 2] indices, probabilities and arguments."""
    steps = [step for pair in policies.AUTOAUGMENT_POLICY for step in pair]
    names = tuple(sorted({name for name, _, _ in steps}))
    columns = (
        np.array([names.index(name) for name, _, _ in steps], "int32"),
        np.array([probability for _, probability, _ in steps], "float32"),
        np.array(
            [
                operations.level_argument(
                    name, level, policies.AUTOAUGMENT_LIMITS
                )
                for name, _, level in steps
            ],
            "float32",
        ),
    )
    return names, *(column.reshape(-1, 2) for column in columns)


def _stream(seed, key):
    return tf.random.experimental.stateless_fold_in(seed, key)


def _uniform(seed, key, shape):
    return tf.random.stateless_uniform(shape, _stream(seed, key))


def _choose(draw, count):
    """Maps a number in [0, 1) to an integer in 0 … count - 1."""
    return tf.cast(draw * count, "int32")


def _augmix_chain(image, draws, severity):
    """Applies a chain of operations drawn by `draws` [depth + 1, 5]."""
    names = tuple(policies.AUGMIX_OPERATIONS)
    depth = draws.shape[0] - 1
    length = 1 + _choose(draws[depth, 0], depth)
    indices = _choose(draws[:depth, 0], len(names))
    level = 0.1 + draws[:depth, 1] * (severity - 0.1)

    sides = tf.cast(tf.shape(image), "float32")
    scale = {"TranslateX": sides[1], "TranslateY": sides[0]}
    start, change = (
        tf.stack(
            [
                row[i] * scale.get(n, 1.0)
                for n, row in policies.AUGMIX_OPERATIONS.items()
            ]
        )
        for i in range(2)
    )
    arguments = tf.gather(start, indices)
    arguments += tf.gather(change, indices) * level / policies.MAX_LEVEL
    indices = tf.where(tf.range(depth) < length, indices, len(names))
    return operations.apply_all(
        image, names, indices, arguments, draws[:depth, 2:]
    )


def _noise(seed, shape):
    """Returns uniform uint8 noise; one random number gives four bytes."""
    count = tf.reduce_prod(shape)
    words = tf.random.stateless_uniform(
        [(count + 3) // 4],
        _stream(seed, _NOISE),
        minval=None,
        maxval=None,
        dtype="uint32",
    )
    noise = tf.reshape(tf.bitcast(words, "uint8"), [-1])
    return tf.reshape(noise[:count], shape)
