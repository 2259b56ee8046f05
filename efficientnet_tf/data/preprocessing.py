"""From one image, encoded or not, to a cropped and resized tensor."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from efficientnet_tf.data import frames, numpy_preprocessing, shapes
from efficientnet_tf.data.augment import policies
from efficientnet_tf.data.images import decoding

# Training crops, preprocessing.py of the official code. The first is the
# fraction of the object that a crop must cover; the object is the whole image.
MIN_OBJECT_COVERED = 0.1
ASPECT_RATIOS = (3 / 4, 4 / 3)
ATTEMPTS = 10


def preprocess_for_eval(
    image: tf.Tensor, size: int | tuple[int, int], **options: Any
) -> tf.Tensor:
    """Does `prepare`, with a `Preparation` of this size and these options."""
    return prepare(image, shapes.make(size, **options))


def prepare(image: tf.Tensor, preparation: shapes.Preparation) -> tf.Tensor:
    """Makes what a network takes of one image of any shape.

    With resize="crop" as the official code does.

    Args:
      image: encoded bytes, or [H, W, 3] with values in [0, 255].
      preparation: what it says is done.

    Returns:
      float32 [height, width, 3] with values in [0, 255], but for the overshoot
      of "legacy_bicubic".
    """
    image = decoding.decode(image, preparation.deep_pixels)
    if preparation.resize == shapes.CROP:
        box = frames.find_crop(tf.shape(image), preparation)
        image = tf.image.crop_to_bounding_box(image, *box)
    return _fit(image, preparation)


def preprocess_for_train(
    image: tf.Tensor,
    size: int | tuple[int, int],
    *,
    interpolation: str = "bicubic",
    resize: str = shapes.CROP,
    deep_pixels: str = "used",
    **drawing: Any,
) -> tf.Tensor:
    """Does `prepare_for_train`, with a `Preparation` of this size."""
    preparation = shapes.make(
        size,
        interpolation=interpolation,
        resize=resize,
        deep_pixels=deep_pixels,
    )
    return prepare_for_train(image, preparation, **drawing)


def prepare_for_train(
    image: tf.Tensor,
    preparation: shapes.Preparation,
    *,
    min_area: float = 0.08,
    crop_from: int = 0,
    flip: bool = True,
    augment: Callable | None = None,
    seed: Sequence[int] | tf.Tensor | None = None,
) -> tf.Tensor:
    """Takes a random crop, makes it what a network takes, mirrors half of them.

    In the order of the official code, whose resizing is not symmetric. Only the
    crop of an upright JPEG is decoded. With resize="crop" it has 3:4 to 4:3 of
    the input's proportions, in pixels. With the others, which show an image
    whole, it has 3:4 to 4:3 of the image's own proportions, and is then
    squashed or letterboxed about as the image is in evaluation.

    Args:
      image: encoded bytes, or [H, W, 3] with values in [0, 255].
      preparation: of evaluation, but for its crop.
      min_area: the smallest fraction of the image that a crop covers, at least
        `MIN_OBJECT_COVERED`; 1 keeps the whole image.
      crop_from: if not 0, the whole image is instead resized to so many pixels
        a side, and a random square of the size is taken from it.
      flip: whether to mirror half of the images left to right.
      augment: maps uint8 [height, width, 3] and a seed to such an image, as the
        last step, or None.
      seed: two integers for a repeatable result, or None.

    Returns:
      float32 [height, width, 3] with values in [0, 255], but for the overshoot
      of "legacy_bicubic" without `augment`.
    """
    if crop_from and preparation.width != preparation.height:
        raise ValueError(
            f"crop_from={crop_from} needs a square, not {preparation.size}."
        )
    if seed is None:
        seed = tf.random.uniform([2], maxval=2**31 - 1, dtype="int32")
    seeds: tf.Tensor = tf.convert_to_tensor(seed)
    if crop_from:
        image = decoding.decode(image, preparation.deep_pixels)
        sides = (crop_from, crop_from)
        image = _resize(image, sides, preparation.interpolation)
        image = _crop_anywhere(image, preparation.height, seeds)
    else:
        draw = functools.partial(
            _draw_crop, preparation=preparation, min_area=min_area
        )
        image = _decode_part(
            image, min_area, draw, seeds, preparation.deep_pixels
        )
        image = _fit(image, preparation)
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


def _crop_anywhere(image, size, seed):
    """Takes a random crop of `size` pixels a side of a square image."""
    margin = image.shape[0] - size
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


def _draw_crop(shape, preparation, min_area, seed):
    """Returns int32 [4]: top, left, height and width in pixels."""
    keep_aspect = preparation.resize == shapes.CROP
    # Of images that stay whole, boxes are drawn in a square.
    frame = shape if keep_aspect else tf.constant([1024, 1024, 3])
    proportion = 1.0
    if keep_aspect:
        proportion = preparation.width / preparation.height
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        frame,
        bounding_boxes=tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seed=seed,
        min_object_covered=MIN_OBJECT_COVERED,
        aspect_ratio_range=[ratio * proportion for ratio in ASPECT_RATIOS],
        area_range=(min_area, 1.0),
        max_attempts=ATTEMPTS,
    )
    begin, extent = begin[:2], extent[:2]
    if keep_aspect:
        if min_area <= MIN_OBJECT_COVERED:
            # The whole image means that no attempt succeeded. Where only large
            # crops are allowed, it is the closest to one and is kept.
            padded = dataclasses.replace(
                preparation, crop_padding=shapes.CROP_PADDING
            )
            top, left, *sides = frames.find_crop(shape, padded)
            failed = tf.reduce_all(extent == shape[:2])
            begin = tf.where(failed, tf.stack([top, left]), begin)
            extent = tf.where(failed, tf.stack(sides), extent)
        return tf.concat([begin, extent], axis=0)
    scale = tf.cast(shape[:2], "float32") / 1024
    begin, extent = (
        tf.cast(tf.cast(part, "float32") * scale, "int32")
        for part in (begin, extent)
    )
    return tf.concat([begin, tf.maximum(extent, 1)], axis=0)


def _fit(image, preparation):
    """Resizes pixels to what a network takes, with bars if it says so."""
    if preparation.resize != shapes.LETTERBOX:
        return _resize(image, preparation.size, preparation.interpolation)
    top, left, *sides = frames.find_place(tf.shape(image), preparation)
    image = _resample(image, sides, preparation.interpolation)
    height, width = preparation.size
    image = tf.pad(
        image,
        [
            [top, height - sides[0] - top],
            [left, width - sides[1] - left],
            [0, 0],
        ],
        constant_values=float(shapes.GREY),
    )
    return _finish(image, preparation.size, preparation.interpolation)


def _resize(image, size, interpolation):
    image = _resample(image, size, interpolation)
    return _finish(image, size, interpolation)


def _resample(image, size, interpolation):
    if interpolation in _LEGACY:
        resize = _LEGACY[interpolation]
        image = resize(images=image[None], size=size)[0]
    else:
        sharpen = interpolation == policies.SHARPENED
        method = "bicubic" if sharpen else interpolation
        image = tf.image.resize(image, size, method)
    return tf.cast(image, "float32")  # "nearest" keeps integers.


def _finish(image, size, interpolation):
    image.set_shape([*size, 3])
    if interpolation == policies.SHARPENED:
        rows, columns = map(numpy_preprocessing.make_mask, size)
        image = tf.einsum("yh,hwc,xw->yxc", rows, image, columns)
    if interpolation in numpy_preprocessing.NOT_CLIPPED:
        return image
    return _clip(image)


# By default neither aligns corners nor has centres of half a pixel.
_LEGACY = {
    policies.LEGACY_BILINEAR: tf.raw_ops.ResizeBilinear,
    policies.LEGACY_BICUBIC: tf.raw_ops.ResizeBicubic,
}


def _clip(image):
    # These work in place; `clip_by_value` does not.
    return tf.maximum(tf.minimum(image, 255.0), 0.0)
