"""The sixteen operations of AutoAugment and RandAugment, on one image.

Each maps a uint8 image [H, W, 3] to another, with the values of autoaugment.py
in the official code, which published weights were trained with. It follows
Pillow; where the two differ, the docstring says so. Arguments are numbers or
scalar tensors. Everything is written to be fast on one core: with arithmetic on
whole rows, because TensorFlow vectorizes neither `where` on bytes nor
broadcasting over an axis of three.
"""

import math
import typing

import tensorflow as tf

Number: typing.TypeAlias = float | tf.Tensor

# The official code's fill value.
GREY = 128

# The weights of `tf.image.rgb_to_grayscale`.
LUMA = (0.2989, 0.587, 0.114)


def autocontrast(image: tf.Tensor) -> tf.Tensor:
    """Stretches each channel to the range from 0 to 255.

    Truncated from float32, so some values are one less than Pillow's.
    """
    low, high = (
        tf.cast(reduce(image, axis=[0, 1]), "float32")[:, None]
        for reduce in (tf.reduce_min, tf.reduce_max)
    )
    scale = 255.0 / tf.maximum(high - low, 1.0)
    values = tf.range(256, dtype="float32")
    stretched = tf.clip_by_value(values * scale - low * scale, 0.0, 255.0)
    return _look_up(image, tf.where(high > low, stretched, values))


def equalize(image: tf.Tensor) -> tf.Tensor:
    """Equalizes the histogram of each channel."""
    counts = tf.raw_ops.Bincount(
        arr=_table_indices(image), size=3 * 256, weights=tf.zeros([0], "int32")
    )
    counts = tf.reshape(counts, [3, 256])
    upto = tf.cumsum(counts, axis=1)
    # All pixels but those of the brightest value.
    below = tf.where(upto < upto[:, -1:], upto, 0)
    step = tf.reduce_max(below, axis=1, keepdims=True) // 255
    table = (upto - counts + step // 2) // tf.maximum(step, 1)
    table = tf.where(step > 0, tf.minimum(table, 255), tf.range(256))
    return _look_up(image, table)


def invert(image: tf.Tensor) -> tf.Tensor:
    """Maps each value v to 255 - v."""
    return tf.bitwise.invert(image)


def posterize(image: tf.Tensor, bits: Number) -> tf.Tensor:
    """Keeps the upper `bits` bits, at least one.

    Zero bits keep one, as TensorFlow's shift in the official code does; Pillow
    makes the image black.
    """
    shift = tf.cast(tf.clip_by_value(8 - bits, 0, 7), "uint8")
    mask = tf.bitwise.left_shift(tf.constant(255, "uint8"), shift)
    return tf.bitwise.bitwise_and(image, mask)


def solarize(image: tf.Tensor, threshold: Number) -> tf.Tensor:
    """Inverts the values at or above the threshold."""
    inverted = tf.cast(image, "float32") >= tf.cast(threshold, "float32")
    return tf.bitwise.bitwise_xor(image, tf.cast(inverted, "uint8") * 255)


def solarize_add(image: tf.Tensor, addition: Number) -> tf.Tensor:
    """Adds to the values below 128, clipped to 255."""
    dark = tf.cast(image < 128, "float32")
    return _to_bytes(
        tf.cast(image, "float32") + dark * tf.cast(addition, "float32")
    )


def color(image: tf.Tensor, factor: Number) -> tf.Tensor:
    """Blends with the greyscale image: 0 is grey, 1 the image itself.

    The grey is that of `tf.image.rgb_to_grayscale`, up to one level from
    Pillow's.
    """
    image = tf.cast(image, "float32")
    # Three equal columns avoid broadcasting over an axis of one. The factors
    # are those of TensorFlow's conversion from and to bytes, in its order.
    weights = tf.constant([[weight] * 3 for weight in LUMA])
    grey = tf.matmul(tf.reshape(image * (1 / 255), [-1, 3]), weights)
    grey = tf.reshape(tf.floor(grey * 255.5), tf.shape(image))
    return _blend(grey, image, factor)


def contrast(image: tf.Tensor, factor: Number) -> tf.Tensor:
    """Blends with a grey of H * W / 256, at most 255; 1 is the image itself.

    Pillow blends with the mean of the greyscale image. The official code sums
    the counts of its histogram instead of the values: 196 at 224 pixels.
    """
    pixels = tf.size(image) // len(LUMA)
    grey = tf.cast(tf.minimum(pixels // 256, 255), "float32")
    return _blend(grey, tf.cast(image, "float32"), factor)


def brightness(image: tf.Tensor, factor: Number) -> tf.Tensor:
    """Blends with black: 0 is black, 1 the image itself."""
    return _blend(0.0, tf.cast(image, "float32"), factor)


def sharpness(image: tf.Tensor, factor: Number) -> tf.Tensor:
    """Blends with the smoothed image: 0 is smooth, 1 the image itself.

    Border pixels are unchanged. The smoothed image is truncated; Pillow rounds
    it.
    """
    rows = _rows(tf.cast(image, "float32"))
    # The kernel is (1 1 1, 1 5 1, 1 1 1) / 13: a box plus 4 times the centre.
    box = rows[:-2] + rows[1:-1] + rows[2:]
    box = box[:, :-6] + box[:, 3:-3] + box[:, 6:]
    centre = rows[1:-1, 3:-3]
    smooth = tf.floor((box + 4 * centre) / 13)
    smooth = rows + tf.pad(smooth - centre, [[1, 1], [3, 3]])
    return _restore(_blend(smooth, rows, factor), image)


def rotate(image: tf.Tensor, degrees: Number) -> tf.Tensor:
    """Rotates counter-clockwise about the centre."""
    return transform(image, rotation_matrix(image, degrees))


def shear_x(image: tf.Tensor, slope: Number) -> tf.Tensor:
    """Moves each row to the left by its index times the slope."""
    return transform(image, shear_x_matrix(image, slope))


def shear_y(image: tf.Tensor, slope: Number) -> tf.Tensor:
    """Moves each column upwards by its index times the slope."""
    return transform(image, shear_y_matrix(image, slope))


def translate_x(image: tf.Tensor, pixels: Number) -> tf.Tensor:
    """Moves the image to the left."""
    return transform(image, translate_x_matrix(image, pixels))


def translate_y(image: tf.Tensor, pixels: Number) -> tf.Tensor:
    """Moves the image upwards."""
    return transform(image, translate_y_matrix(image, pixels))


# The matrices are float32 [6], the first two rows of an affine matrix that maps
# coordinates in the result to coordinates in the image.


def rotation_matrix(image: tf.Tensor, degrees: Number) -> tf.Tensor:
    """Returns the matrix of `rotate`."""
    radians = tf.cast(degrees, "float32") * (math.pi / 180)
    cos, sin = tf.cos(radians), tf.sin(radians)
    shape = tf.cast(tf.shape(image) - 1, "float32")
    y, x = shape[0] / 2, shape[1] / 2
    return _matrix(
        cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y
    )


def shear_x_matrix(_: tf.Tensor, slope: Number) -> tf.Tensor:
    """Returns the matrix of `shear_x`."""
    return _matrix(1, slope, 0, 0, 1, 0)


def shear_y_matrix(_: tf.Tensor, slope: Number) -> tf.Tensor:
    """Returns the matrix of `shear_y`."""
    return _matrix(1, 0, 0, slope, 1, 0)


def translate_x_matrix(_: tf.Tensor, pixels: Number) -> tf.Tensor:
    """Returns the matrix of `translate_x`."""
    return _matrix(1, 0, pixels, 0, 1, 0)


def translate_y_matrix(_: tf.Tensor, pixels: Number) -> tf.Tensor:
    """Returns the matrix of `translate_y`."""
    return _matrix(1, 0, 0, 0, 1, pixels)


def transform(image: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """Applies an affine transform with nearest-neighbour sampling.

    Coordinates refer to pixel centres, the first of which is (0, 0). Pixels
    from outside the image are grey.
    """
    # The kernel computes coordinates for each channel separately, so a pixel is
    # packed into one integer; below 2^24 it is exact in float32.
    weights = tf.constant([1.0, 256.0, 65536.0])
    packed = tf.linalg.matvec(tf.cast(image, "float32"), weights)
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(packed, "int32")[None, ..., None],
        transforms=tf.pad(matrix, [[0, 2]])[None],
        output_shape=tf.shape(image)[:2],
        fill_value=float(GREY * (1 + 256 + 65536)),
        interpolation="NEAREST",
        fill_mode="CONSTANT",
    )
    unpacked = tf.bitcast(moved[0, ..., 0], "uint8")[..., :3]
    return tf.ensure_shape(unpacked, image.shape)


def cutout(image: tf.Tensor, half_side: Number, center: tf.Tensor) -> tf.Tensor:
    """Fills a square of side 2 * half_side, clipped to the image, with grey.

    Args:
      image: uint8 [H, W, 3].
      half_side: pixels.
      center: row and column of the centre, as fractions of the sides in [0, 1).
    """
    sides = tf.shape(image)[:2]
    center = tf.cast(center * tf.cast(sides, "float32"), "int32")
    half_side = tf.cast(half_side, "int32")
    box = box_mask(sides, center - half_side, center + half_side)
    return paste(image, tf.constant(GREY, "uint8"), box)


def box_mask(sides: tf.Tensor, start: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
    """Returns uint8 [H, 3 * W]: 255 inside the box [start, stop), else 0."""
    rows, columns = (
        tf.cast((at >= start[axis]) & (at < stop[axis]), "uint8") * 255
        for axis, at in enumerate((tf.range(sides[0]), tf.range(sides[1])))
    )
    return tf.bitwise.bitwise_and(rows[:, None], tf.repeat(columns, 3))


def paste(image: tf.Tensor, values: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Replaces the image by `values` where a mask of `box_mask` is 255."""
    kept = tf.bitwise.bitwise_and(_rows(image), tf.bitwise.invert(mask))
    pasted = tf.bitwise.bitwise_and(values, mask)
    return _restore(tf.bitwise.bitwise_or(kept, pasted), image)


def _blend(degenerate, image, factor):
    """Blends in Pillow's order of operations, which decides rounding."""
    factor = tf.cast(factor, "float32")
    return _to_bytes(degenerate + factor * (image - degenerate))


def _to_bytes(image):
    return tf.cast(tf.clip_by_value(image, 0.0, 255.0), "uint8")


def _rows(image):
    return tf.reshape(image, [tf.shape(image)[0], -1])


def _restore(rows, image):
    return tf.ensure_shape(tf.reshape(rows, tf.shape(image)), image.shape)


def _table_indices(image):
    """Returns int32 [H, 3 * W]: value + 256 * channel."""
    offsets = tf.tile([0, 256, 512], [tf.shape(image)[1]])
    return _rows(tf.cast(image, "int32")) + offsets


def _look_up(image, tables):
    """Maps values through tables [3, 256], one row per channel."""
    tables = tf.reshape(tf.cast(tables, "uint8"), [-1])
    # On bytes, `gather_nd` takes two thirds of the time of `gather`.
    found = tf.gather_nd(tables, _table_indices(image)[..., None])
    return _restore(found, image)


def _matrix(*entries):
    return tf.stack([tf.cast(entry, "float32") for entry in entries])
