"""From the bytes of one image to a cropped and resized tensor."""

import pathlib

import tensorflow as tf

# The border, in pixels of the resized image, that evaluation crops away.
# preprocessing.py of the official code; its later fraction of 0.875 equals
# this only at 224 pixels.
CROP_PADDING = 32

FORMATS = "JPEG, PNG, GIF, BMP or WebP"


def decode(image):
    """Decodes bytes to uint8 [H, W, 3]; an image passes through.

    Grey, CMYK and transparent images become RGB, and an animation its first
    frame.
    """
    if image.dtype != tf.string:
        return image
    image = tf.io.decode_image(image, channels=3, expand_animations=False)
    image.set_shape([None, None, 3])
    return image


def read_image(path):
    """Reads one file to a uint8 tensor [H, W, 3].

    Raises:
      OSError: the file is missing, empty, cut short or not an image.
    """
    path = pathlib.Path(path)
    data = path.read_bytes()
    if not data:
        raise OSError(f"{path} is empty.")
    try:
        return decode(tf.constant(data))
    except tf.errors.InvalidArgumentError as error:
        if "Unknown image file format" in error.message:
            reason = f"is not an image ({FORMATS})"
        elif "WebP Animation" in error.message:
            reason = "is an animated WebP without transparency"
        else:
            reason = "is a damaged or truncated image"
        raise OSError(f"{path} {reason}.") from None


def preprocess_for_eval(
    image, size, *, interpolation="bicubic", crop_padding=CROP_PADDING
):
    """Crops the centre square and resizes it, as the official code does.

    Args:
      image: encoded bytes, or [H, W, 3] with values in [0, 255].
      size: pixels a side of the result.
      interpolation: of `tf.image.resize`.
      crop_padding: the square is min(H, W) * size / (size + crop_padding);
        0 keeps the whole centre square, None resizes the whole image and
        lets its aspect ratio go.

    Returns:
      float32 [size, size, 3] with values in [0, 255].
    """
    image = decode(image)
    if crop_padding is not None:
        image = _crop_center(image, size / (size + crop_padding))
    return _resize(image, size, interpolation)


def preprocess_for_train(
    image,
    size,
    *,
    interpolation="bicubic",
    min_area=0.08,
    keep_aspect=True,
    flip=True,
    seed=None,
):
    """Takes a random crop of 3:4 to 4:3, resizes it, flips it half the time.

    Args:
      image: encoded bytes, or [H, W, 3] with values in [0, 255].
      size: pixels a side of the result.
      interpolation: of `tf.image.resize`.
      min_area: the smallest share of the image that a crop covers; 1 keeps
        the whole image.
      keep_aspect: whether 3:4 is in pixels, as in the official code, or as if
        the image had been resized to a square first (the match of
        `crop_padding=None` in evaluation).
      flip: whether to mirror left and right.
      seed: two integers for a repeatable result, or None.

    Returns:
      float32 [size, size, 3] with values in [0, 255].
    """
    if seed is None:
        seed = tf.random.uniform([2], maxval=2**31 - 1, dtype="int32")
    seed = tf.convert_to_tensor(seed)
    image = decode(image)
    if min_area < 1:
        image = _random_crop(image, min_area, keep_aspect, seed)
    image = _resize(image, size, interpolation)
    if flip:
        image = tf.image.stateless_random_flip_left_right(image, seed + 1)
    return image


def _crop_center(image, share):
    shape = tf.shape(image)
    height, width = shape[0], shape[1]
    side = share * tf.cast(tf.minimum(height, width), "float32")
    side = tf.maximum(tf.cast(side, "int32"), 1)
    return tf.image.crop_to_bounding_box(
        image, (height - side + 1) // 2, (width - side + 1) // 2, side, side
    )


def _random_crop(image, min_area, keep_aspect, seed):
    shape = tf.shape(image)
    # Boxes are drawn in a unit square where the image's own aspect is let go.
    frame = shape if keep_aspect else tf.constant([1024, 1024, 3])
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        frame,
        bounding_boxes=tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seed=seed,
        min_object_covered=0.0,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(min_area, 1.0),
        max_attempts=10,
    )
    if not keep_aspect:
        scale = tf.cast(shape[:2], "float32") / 1024
        begin, extent = (
            tf.cast(tf.cast(part[:2], "float32") * scale, "int32")
            for part in (begin, extent)
        )
        extent = tf.maximum(extent, 1)
        begin = tf.concat([begin, [0]], axis=0)
        extent = tf.concat([extent, [3]], axis=0)
    return tf.slice(image, begin, extent)


def _resize(image, size, interpolation):
    image = tf.image.resize(image, (size, size), interpolation)
    image = tf.cast(image, "float32")  # "nearest" keeps integers.
    image.set_shape([size, size, 3])
    # Bicubic overshoots.
    return tf.clip_by_value(image, 0.0, 255.0)
