"""Random mixtures of the images of a batch, and of their labels.

Every random number is a pure function of `seed`, two integers.
"""

import tensorflow as tf

# The keys of the streams of random numbers, apart from those of an image.
_MIXUP, _CUTMIX, _BOX, _COIN = range(100, 104)


def mix(images, labels, seed, *, classes, mixup_alpha=0.0, cutmix_alpha=0.0):
    """Makes labels one-hot, and mixes the batch by mixup or cutmix.

    With both, a coin decides for each batch.

    Args:
      images: floating point [N, H, W, C].
      labels: integers [N].
      seed: two integers.
      classes: how many there are.
      mixup_alpha: see `mixup`; 0: none.
      cutmix_alpha: see `cutmix`; 0: none.

    Returns:
      Images, and float32 labels [N, classes].
    """
    batch = images, tf.one_hot(labels, classes)
    if not (mixup_alpha and cutmix_alpha):
        batch = mixup(*batch, seed, alpha=mixup_alpha)
        return cutmix(*batch, seed, alpha=cutmix_alpha)
    return tf.cond(
        _draw_coin(seed),
        lambda: mixup(*batch, seed, alpha=mixup_alpha),
        lambda: cutmix(*batch, seed, alpha=cutmix_alpha),
    )


def mixup(images, one_hot, seed, *, alpha):
    """Blends each image with another of the batch, and their labels.

    As in the official code: a weight an image, the larger of λ and 1 - λ with
    λ ~ Beta(alpha, alpha), and the batch in reverse as the others.

    Args:
      images: floating point [N, H, W, C].
      one_hot: floating point [N, classes].
      seed: two integers.
      alpha: of the Beta distribution; 0 leaves the batch as it is.

    Returns:
      Images and labels of the same shapes and types.
    """
    images, one_hot = _check_batch(images, one_hot, alpha)
    if alpha == 0:
        return images, one_hot
    share = _draw_shares(seed, tf.shape(images)[0], alpha)
    return tuple(_blend(values, share) for values in (images, one_hot))


def cutmix(images, one_hot, seed, *, alpha):
    """Pastes a box of another image of the batch into each.

    https://arxiv.org/abs/1905.04899: one λ ~ Beta(alpha, alpha) and one box a
    batch; labels count by the box's area after it is cut off at the edges. The
    others are the batch in reverse.

    Args:
      images: floating point [N, H, W, C].
      one_hot: floating point [N, classes].
      seed: two integers.
      alpha: of the Beta distribution; 0 leaves the batch as it is.

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


def _stream(seed, key):
    return tf.random.experimental.stateless_fold_in(seed, key)


def _draw_coin(seed):
    """Whether a batch is to be blended rather than pasted into."""
    return tf.random.stateless_uniform([], _stream(seed, _COIN)) < 0.5


def _draw_shares(seed, count, alpha):
    """float32 [count]: of the image itself, the larger of λ and 1 - λ."""
    share = _beta(seed, _MIXUP, count, alpha)
    return tf.maximum(share, 1 - share)


def _draw_box(seed, alpha, sides):
    """int32 [2] twice: a corner and its opposite, in images of some sides."""
    share = _beta(seed, _CUTMIX, 1, alpha)[0]
    draws = tf.random.stateless_uniform([2], _stream(seed, _BOX))
    extents = tf.cast(sides, "float32")
    half = tf.cast(tf.sqrt(1 - share) * extents, "int32") // 2
    center = tf.cast(draws * extents, "int32")
    return tf.maximum(center - half, 0), tf.minimum(center + half, sides)


def _beta(seed, key, count, alpha):
    """float32 [count] of Beta(alpha, alpha)."""
    # The ratio of two gammas, which for a small alpha are too small for
    # float32: those of alpha + 1, times uniform ** (1 / alpha), as logarithms.
    seed = _stream(seed, key)
    gammas = tf.random.stateless_gamma([2, count], seed, alpha + 1)
    uniform = tf.random.stateless_uniform([2, count], _stream(seed, key))
    logs = tf.math.log(gammas) + tf.math.log1p(-uniform) / alpha
    return tf.sigmoid(logs[0] - logs[1])


def _paste_reversed(images, start, stop):
    """Takes the box from the batch in reverse."""
    # Pieces, which copy every pixel once: a tenth of the time of `where`.
    (top, left), (bottom, right) = tf.unstack(start), tf.unstack(stop)
    pasted = tf.reverse(images[:, top:bottom, left:right], [0])
    middle = images[:, top:bottom, :left], pasted, images[:, top:bottom, right:]
    rows = images[:, :top], tf.concat(middle, axis=2), images[:, bottom:]
    return tf.ensure_shape(tf.concat(rows, axis=1), images.shape)


def _blend(values, share):
    """share * values + (1 - share) * the batch in reverse; share is [N]."""
    share = tf.cast(share, values.dtype)
    share = tf.reshape(share, [-1] + [1] * (len(values.shape) - 1))
    # A slice of [::-1] takes twenty times as long.
    return share * values + (1 - share) * tf.reverse(values, [0])


def _check_batch(images, one_hot, alpha):
    if alpha < 0:
        raise ValueError(f"alpha is {alpha}, which is negative.")
    batch = tf.convert_to_tensor(images), tf.convert_to_tensor(one_hot)
    for name, values in zip(("images", "one_hot"), batch, strict=True):
        if not values.dtype.is_floating:
            kind = values.dtype.name
            raise ValueError(f"{name} is {kind}, not floating point.")
    return batch
