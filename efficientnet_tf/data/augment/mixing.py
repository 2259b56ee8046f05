"""Random mixtures of the images of a batch and of their labels.

Every random number is a pure function of `seed`, two integers.
"""

from collections.abc import Sequence

import tensorflow as tf

from efficientnet_tf.data.augment import policies
from efficientnet_tf.utils import configs

# The keys of the random streams; different from those of `augmentation`.
_MIXUP, _CUTMIX, _BOX, _COIN = range(100, 104)


def mix(
    images: tf.Tensor,
    labels: tf.Tensor,
    seed: Sequence[int] | tf.Tensor,
    *,
    classes: int,
    mixup_alpha: float = 0.0,
    mixup_weight: str = "image",
    cutmix_alpha: float = 0.0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Makes labels one-hot, and mixes the batch by mixup or CutMix.

    With both enabled, each batch gets one of them at random.

    Args:
      images: floating point [N, H, W, C].
      labels: integers [N]; or targets, floating point [N, D], as they are.
      seed: two integers.
      classes: number of classes.
      mixup_alpha: see `mixup`; 0: no mixup.
      mixup_weight: what has one of its own: an "image" or the "batch".
      cutmix_alpha: see `cutmix`; 0: no CutMix.

    Returns:
      Images, and float32 labels [N, classes], or targets [N, D].

    Raises:
      ValueError: an unknown weight.
    """
    if mixup_weight not in _MIXUPS:
        raise ValueError(configs.unknown("mixup_weight", mixup_weight, _MIXUPS))
    mix_two = _MIXUPS[mixup_weight]
    is_mixable = labels.dtype.is_floating
    batch = images, labels if is_mixable else tf.one_hot(labels, classes)
    if not (mixup_alpha and cutmix_alpha):
        batch = mix_two(*batch, seed, alpha=mixup_alpha)
        return cutmix(*batch, seed, alpha=cutmix_alpha)
    return tf.cond(
        _draw_coin(seed),
        lambda: mix_two(*batch, seed, alpha=mixup_alpha),
        lambda: cutmix(*batch, seed, alpha=cutmix_alpha),
    )


def mixup(
    images: tf.Tensor,
    one_hot: tf.Tensor,
    seed: Sequence[int] | tf.Tensor,
    *,
    alpha: float,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Blends each image, and its label, with another of the batch.

    As in the official code: the partners are the batch in reverse order, and
    each image has its own weight, the larger of λ and 1 - λ with
    λ ~ Beta(alpha, alpha).

    Args:
      images: floating point [N, H, W, C].
      one_hot: floating point [N, classes].
      seed: two integers.
      alpha: parameter of the Beta distribution; 0 returns the batch unchanged.

    Returns:
      Images and labels of the same shapes and types.
    """
    images, one_hot = _check_batch(images, one_hot, alpha)
    if alpha == 0:
        return images, one_hot
    share = _draw_shares(seed, tf.shape(images)[0], alpha)
    return tuple(_blend(values, share) for values in (images, one_hot))


def mixup_batch(
    images: tf.Tensor,
    one_hot: tf.Tensor,
    seed: Sequence[int] | tf.Tensor,
    *,
    alpha: float,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Blends each image, and its label, with another, all by the same weight.

    As in BiT's code, input_pipeline_tf2_or_jax.py of google-research/
    big_transfer: one λ ~ Beta(alpha, alpha) for the batch, which may be small;
    the partners are the batch in reverse order.

    Args and returns: see `mixup`.
    """
    images, one_hot = _check_batch(images, one_hot, alpha)
    if alpha == 0:
        return images, one_hot
    share = _beta(seed, _MIXUP, 1, alpha)
    return tuple(_blend(values, share) for values in (images, one_hot))


def cutmix(
    images: tf.Tensor,
    one_hot: tf.Tensor,
    seed: Sequence[int] | tf.Tensor,
    *,
    alpha: float,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Pastes a box from another image of the batch into each image.

    https://arxiv.org/abs/1905.04899: one λ ~ Beta(alpha, alpha) and one box per
    batch; labels are weighted by the box's area after clipping to the image.
    The partners are the batch in reverse order.

    Args:
      images: floating point [N, H, W, C].
      one_hot: floating point [N, classes].
      seed: two integers.
      alpha: parameter of the Beta distribution; 0 returns the batch unchanged.

    Returns:
      Images and labels of the same shapes and types.
    """
    images, one_hot = _check_batch(images, one_hot, alpha)
    if alpha == 0:
        return images, one_hot
    sides = tf.shape(images)[1:3]
    start, stop = _draw_box(seed, alpha, sides)
    kept = 1 - tf.reduce_prod((stop - start) / sides)
    mixed = _paste_reversed(images, start, stop)
    return mixed, _blend(one_hot, kept[None])


_MIXUPS = dict(zip(policies.MIXUP_WEIGHTS, (mixup, mixup_batch), strict=True))


def _stream(seed, key):
    return tf.random.experimental.stateless_fold_in(seed, key)


def _draw_coin(seed):
    """Whether a batch gets mixup rather than CutMix."""
    return tf.random.stateless_uniform([], _stream(seed, _COIN)) < 0.5


def _draw_shares(seed, count, alpha):
    """Returns each image's own weight: float32 [count], max(λ, 1 - λ)."""
    share = _beta(seed, _MIXUP, count, alpha)
    return tf.maximum(share, 1 - share)


def _draw_box(seed, alpha, sides):
    """Returns opposite corners of a box, int32 [2] each."""
    share = _beta(seed, _CUTMIX, 1, alpha)[0]
    draws = tf.random.stateless_uniform([2], _stream(seed, _BOX))
    extents = tf.cast(sides, "float32")
    half = tf.cast(tf.sqrt(1 - share) * extents, "int32") // 2
    center = tf.cast(draws * extents, "int32")
    return tf.maximum(center - half, 0), tf.minimum(center + half, sides)


def _beta(seed, key, count, alpha):
    """Draws float32 [count] from Beta(alpha, alpha)."""
    # The ratio of two gammas. For a small alpha these underflow in float32, so
    # they are logarithms of gamma(alpha + 1) * uniform ** (1 / alpha).
    seed = _stream(seed, key)
    gammas = tf.random.stateless_gamma([2, count], seed, alpha + 1)
    uniform = tf.random.stateless_uniform([2, count], _stream(seed, key))
    logs = tf.math.log(gammas) + tf.math.log1p(-uniform) / alpha
    return tf.sigmoid(logs[0] - logs[1])


def _paste_reversed(images, start, stop):
    """Replaces a box by that of the reversed batch."""
    # Concatenation copies every pixel once: a tenth of the time of `where`.
    (top, left), (bottom, right) = tf.unstack(start), tf.unstack(stop)
    pasted = tf.reverse(images[:, top:bottom, left:right], [0])
    middle = images[:, top:bottom, :left], pasted, images[:, top:bottom, right:]
    rows = images[:, :top], tf.concat(middle, axis=2), images[:, bottom:]
    return tf.ensure_shape(tf.concat(rows, axis=1), images.shape)


def _blend(values, share):
    """Returns share * values + (1 - share) * reversed values; share is [N]."""
    share = tf.cast(share, values.dtype)
    share = tf.reshape(share, [-1] + [1] * (len(values.shape) - 1))
    # The slice [::-1] takes twenty times as long.
    return share * values + (1 - share) * tf.reverse(values, [0])


def _check_batch(images, one_hot, alpha):
    if alpha < 0:
        raise ValueError(f"alpha={alpha} must be at least 0.")
    batch = tf.convert_to_tensor(images), tf.convert_to_tensor(one_hot)
    for name, values in zip(("images", "one_hot"), batch, strict=True):
        if not values.dtype.is_floating:
            kind = values.dtype.name
            raise ValueError(f"{name} is {kind}, not floating point.")
    return batch
