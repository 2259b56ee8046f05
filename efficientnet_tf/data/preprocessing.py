"""From one image, encoded or not, to a cropped and resized tensor."""

import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

from efficientnet_tf.data import numpy_preprocessing
from efficientnet_tf.data.augment import policies
from efficientnet_tf.data.images import decoding

# Training crops, preprocessing.py of the official code. The first is the
# fraction of the object that a crop must cover; the object is the whole image.
MIN_OBJECT_COVERED = 0.1
ASPECT_RATIOS = (3 / 4, 4 / 3)
ATTEMPTS = 10


def preprocess_for_eval(
    image: tf.Tensor,
    size: int,
    *,
    interpolation: str = "bicubic",
    crop_padding: int | None = numpy_preprocessing.CROP_PADDING,
    deep_pixels: str = "used",
) -> tf.Tensor:
    """Crops the centre square and resizes it, like the official code.

    Args:
      image: encoded bytes, or [H, W, 3] with values in [0, 255].
      size: pixels a side of the result.
      interpolation: a method of `tf.image.resize`, or one of `policies`.
      crop_padding: the square has the side min(H, W) * size / (size +
        crop_padding); 0 keeps the largest centre square, None resizes the whole
        image without keeping its aspect ratio.
      deep_pixels: one of `policies.DEEP_PIXELS`, for encoded images.

    Returns:
      float32 [size, size, 3] with values in [0, 255], but for the overshoot of
      "legacy_bicubic".
    """
    image = decoding.decode(image, deep_pixels)
    if crop_padding is not None:
        box = find_crop(tf.shape(image), size, crop_padding)
        image = tf.image.crop_to_bounding_box(image, *box)
    return _resize(image, size, interpolation)


def find_crop(
    shape: Sequence[int] | tf.Tensor, size: int, crop_padding: int | None
) -> tuple[tf.Tensor, ...]:
    """Returns the part of an image that `preprocess_for_eval` resizes.

    Args:
      shape: of the image, [H, W] or [H, W, 3].
      size: as there.
      crop_padding: as there.

    Returns:
      (top, left, height, width) in pixels of the image.
    """
    shape = tf.convert_to_tensor(shape)
    if crop_padding is None:
        return tf.constant(0), tf.constant(0), shape[0], shape[1]
    top, left, side = _center(shape, size / (size + crop_padding))
    return top, left, side, side


def preprocess_for_train(
    image: tf.Tensor,
    size: int,
    *,
    interpolation: str = "bicubic",
    min_area: float = 0.08,
    keep_aspect: bool = True,
    resize: int = 0,
    flip: bool = True,
    deep_pixels: str = "used",
    augment: Callable | None = None,
    seed: Sequence[int] | tf.Tensor | None = None,
) -> tf.Tensor:
    """Takes a random crop of 3:4 to 4:3, resizes it, mirrors half of them.

    In the order of the official code, whose resizing is not symmetric. Only the
    crop of an upright JPEG is decoded.

    Args:
      image: encoded bytes, or [H, W, 3] with values in [0, 255].
      size: pixels a side of the result.
      interpolation: a method of `tf.image.resize`, or one of `policies`.
      min_area: the smallest fraction of the image that a crop covers, at least
        `MIN_OBJECT_COVERED`; 1 keeps the whole image.
      keep_aspect: whether 3:4 refers to pixels, as in the official code, or to
        the image resized to a square, which matches `crop_padding=None` in
        evaluation.
      resize: if not 0, the whole image is instead resized to so many pixels a
        side, and a random crop of `size` is taken from it.
      flip: whether to mirror half of the images left to right.
      deep_pixels: one of `policies.DEEP_PIXELS`, for encoded images.
      augment: maps uint8 [size, size, 3] and a seed to such an image, as the
        last step, or None.
      seed: two integers for a repeatable result, or None.

    Returns:
      float32 [size, size, 3] with values in [0, 255], but for the overshoot of
      "legacy_bicubic" without `augment`.
    """
    if seed is None:
        seed = tf.random.uniform([2], maxval=2**31 - 1, dtype="int32")
    seeds: tf.Tensor = tf.convert_to_tensor(seed)
    if resize:
        image = decoding.decode(image, deep_pixels)
        image = _resize(image, resize, interpolation)
        image = _crop_anywhere(image, resize - size, seeds)
    else:
        draw = functools.partial(
            _draw_crop, size=size, min_area=min_area, keep_aspect=keep_aspect
        )
        image = _decode_part(image, min_area, draw, seeds, deep_pixels)
        image = _resize(image, size, interpolation)
    if flip:
        image = _flip_half(image, seeds + 1)
    return image if augment is None else _augment(image, augment, seeds + 2)


def _augment(image, augment, seed):
    # Truncated, not rounded, like the official code's images.
    augmented = augment(tf.cast(_clip(image), "uint8"), seed)
    return tf.cast(tf.ensure_shape(augmented, image.shape), "float32")


def _decode_part(image, min_area, draw, seed, deep_pixels):
    """Decodes a random crop, or, if that covers everything, the image."""
    if min_area < 1:
        draw = functools.partial(draw, seed=seed)
        return decoding.decode_crop(image, draw, deep_pixels)
    return decoding.decode(image, deep_pixels)


def _crop_anywhere(image, margin, seed):
    """Takes a random crop, `margin` pixels smaller, of a square image."""
    size = image.shape[0] - margin
    offset = tf.random.stateless_uniform([2], seed, 0, margin + 1, "int32")
    top, left = tf.unstack(offset)
    return tf.image.crop_to_bounding_box(image, top, left, size, size)


def _flip_half(image, seed):
    """Mirrors half of the images left to right."""
    return tf.cond(
        tf.random.stateless_uniform([], seed) < 0.5,
        lambda: tf.reverse(image, [1]),
        lambda: tf.identity(image),
    )


def _center(shape, share):
    """Returns (top, left, side) of a central square."""
    height, width = shape[0], shape[1]
    side = share * tf.cast(tf.minimum(height, width), "float32")
    side = tf.maximum(tf.cast(side, "int32"), 1)
    return (height - side + 1) // 2, (width - side + 1) // 2, side


def _draw_crop(shape, size, min_area, keep_aspect, seed):
    """Returns int32 [4]: top, left, height and width in pixels."""
    # Without keeping the aspect ratio, boxes are drawn in a square.
    frame = shape if keep_aspect else tf.constant([1024, 1024, 3])
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        frame,
        bounding_boxes=tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seed=seed,
        min_object_covered=MIN_OBJECT_COVERED,
        aspect_ratio_range=ASPECT_RATIOS,
        area_range=(min_area, 1.0),
        max_attempts=ATTEMPTS,
    )
    begin, extent = begin[:2], extent[:2]
    if keep_aspect:
        if min_area <= MIN_OBJECT_COVERED:
            # The whole image means that no attempt succeeded. Where only large
            # crops are allowed, it is the closest to one and is kept.
            top, left, side = _center(
                shape, size / (size + numpy_preprocessing.CROP_PADDING)
            )
            failed = tf.reduce_all(extent == shape[:2])
            begin = tf.where(failed, tf.stack([top, left]), begin)
            extent = tf.where(failed, tf.stack([side, side]), extent)
        return tf.concat([begin, extent], axis=0)
    scale = tf.cast(shape[:2], "float32") / 1024
    begin, extent = (
        tf.cast(tf.cast(part, "float32") * scale, "int32")
        for part in (begin, extent)
    )
    return tf.concat([begin, tf.maximum(extent, 1)], axis=0)


def _resize(image, size, interpolation):
    if interpolation in _LEGACY:
        resize = _LEGACY[interpolation]
        image = resize(images=image[None], size=(size, size))[0]
    else:
        sharpen = interpolation == policies.SHARPENED
        method = "bicubic" if sharpen else interpolation
        image = tf.image.resize(image, (size, size), method)
    image = tf.cast(image, "float32")  # "nearest" keeps integers.
    image.set_shape([size, size, 3])
    if interpolation == policies.SHARPENED:
        mask = numpy_preprocessing.make_mask(size)
        image = tf.einsum("yh,hwc,xw->yxc", mask, image, mask)
    return (
        image
        if interpolation in numpy_preprocessing.NOT_CLIPPED
        else _clip(image)
    )


# By default neither aligns corners nor has centres of half a pixel.
_LEGACY = {
    policies.LEGACY_BILINEAR: tf.raw_ops.ResizeBilinear,
    policies.LEGACY_BICUBIC: tf.raw_ops.ResizeBicubic,
}


def _clip(image):
    # These work in place; `clip_by_value` does not.
    return tf.maximum(tf.minimum(image, 255.0), 0.0)
