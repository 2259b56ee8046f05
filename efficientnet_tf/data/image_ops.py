"""The sixteen operations of AutoAugment and RandAugment, on one image.

Each takes a uint8 image [H, W, 3] and returns another. Where Pillow has the
operation, the values are Pillow's, which the official code means to equal;
where that code rounds in another way, a comment says so. Arguments are numbers
or scalar tensors. Everything is written for one core: arithmetic on whole
rows, because TensorFlow vectorizes neither `where` on bytes nor broadcasting
over an axis of three.
"""

import math

import tensorflow as tf

# What the official code fills empty pixels with.
GREY = 128

# ITU-R 601-2 luma in units of 1 / 65536, as Pillow has it. With these all sums
# of a pixel are whole and below 2^24, and so exact in float32.
LUMA = (19595 / 65536, 38470 / 65536, 7471 / 65536)


def autocontrast(image):
    """Stretches each channel to the range from 0 to 255."""
    low, high = (
        tf.cast(reduce(image, axis=[0, 1]), "float64")[:, None]
        for reduce in (tf.reduce_min, tf.reduce_max)
    )
    # In doubles, because Pillow truncates what they give.
    scale = 255 / tf.maximum(high - low, 1)
    values = tf.range(256, dtype="float64")
    stretched = tf.clip_by_value(values * scale - low * scale, 0, 255)
    return _look_up(image, tf.where(high > low, stretched, values))


def equalize(image):
    """Makes the cumulative histogram of each channel a straight line."""
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


def invert(image):
    return tf.bitwise.invert(image)


def posterize(image, bits):
    """Keeps the upper bits, at least one.

    Zero bits keep one, as TensorFlow's shift in the official code does, while
    Pillow turns the image black.
    """
    shift = tf.cast(tf.clip_by_value(8 - bits, 0, 7), "uint8")
    mask = tf.bitwise.left_shift(tf.constant(255, "uint8"), shift)
    return tf.bitwise.bitwise_and(image, mask)


def solarize(image, threshold):
    """Inverts the values from the threshold on."""
    inverted = tf.cast(image, "float32") >= tf.cast(threshold, "float32")
    return tf.bitwise.bitwise_xor(image, tf.cast(inverted, "uint8") * 255)


def solarize_add(image, addition):
    """Adds to the values below 128."""
    dark = tf.cast(image < 128, "float32")
    return _to_bytes(
        tf.cast(image, "float32") + dark * tf.cast(addition, "float32")
    )


def color(image, factor):
    """Blends with the grey image: 0 is grey, 1 the image itself."""
    image = tf.cast(image, "float32")
    # A product with three equal columns, to have no axis of one to broadcast.
    weights = tf.constant([[weight] * 3 for weight in LUMA])
    grey = tf.matmul(tf.reshape(image, [-1, 3]), weights)
    grey = tf.reshape(tf.floor(grey + 0.5), tf.shape(image))
    return _blend(grey, image, factor)


def contrast(image, factor):
    """Blends with the mean grey: 0 is a plain grey, 1 the image itself.

    The official code takes H * W / 256 for the mean: it sums a histogram that
    it does not weight.
    """
    image = tf.cast(image, "float32")
    grey = tf.floor(tf.linalg.matvec(image, tf.constant(LUMA)) + 0.5)
    # Whole numbers in doubles, because sums in float32 are not exact.
    mean = tf.reduce_mean(tf.cast(grey, "float64"))
    return _blend(tf.cast(tf.floor(mean + 0.5), "float32"), image, factor)


def brightness(image, factor):
    """Blends with black: 0 is black, 1 the image itself."""
    return _blend(0.0, tf.cast(image, "float32"), factor)


def sharpness(image, factor):
    """Blends with the smoothed image: 0 is smooth, 1 the image itself.

    The outermost pixels stay. The official code truncates the smoothed image,
    Pillow rounds it.
    """
    rows = _rows(tf.cast(image, "float32"))
    # Weights of 1 around 5, over 13: a box of 9 and the centre 4 times more.
    box = rows[:-2] + rows[1:-1] + rows[2:]
    box = box[:, :-6] + box[:, 3:-3] + box[:, 6:]
    centre = rows[1:-1, 3:-3]
    smooth = tf.floor((box + 4 * centre) / 13 + 0.5)
    smooth = rows + tf.pad(smooth - centre, [[1, 1], [3, 3]])
    return _restore(_blend(smooth, rows, factor), image)


def rotate(image, degrees):
    """Rotates about the centre, counter-clockwise."""
    return transform(image, rotation_matrix(image, degrees))


def shear_x(image, slope):
    """Moves each row by its index times the slope, to the left."""
    return transform(image, shear_x_matrix(image, slope))


def shear_y(image, slope):
    """Moves each column by its index times the slope, upwards."""
    return transform(image, shear_y_matrix(image, slope))


def translate_x(image, pixels):
    """Moves the image to the left."""
    return transform(image, translate_x_matrix(image, pixels))


def translate_y(image, pixels):
    """Moves the image upwards."""
    return transform(image, translate_y_matrix(image, pixels))


# The matrices are float32 [6], the first two rows of an affine matrix, from a
# place in the result to its place in the image.


def rotation_matrix(image, degrees):
    radians = tf.cast(degrees, "float32") * (math.pi / 180)
    cos, sin = tf.cos(radians), tf.sin(radians)
    shape = tf.cast(tf.shape(image) - 1, "float32")
    y, x = shape[0] / 2, shape[1] / 2
    return _matrix(
        cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y
    )


def shear_x_matrix(_, slope):
    return _matrix(1, slope, 0, 0, 1, 0)


def shear_y_matrix(_, slope):
    return _matrix(1, 0, 0, slope, 1, 0)


def translate_x_matrix(_, pixels):
    return _matrix(1, 0, pixels, 0, 1, 0)


def translate_y_matrix(_, pixels):
    return _matrix(1, 0, 0, 0, 1, pixels)


def transform(image, matrix):
    """Takes each pixel from the nearest one to its affine transform.

    Coordinates are of pixel centres, (0, 0) being the first; what comes from
    outside is grey.
    """
    # The operation works out the place of each channel anew: pack a pixel into
    # one integer, exactly, as it stays below 2^24.
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


def cutout(image, half_side, center):
    """Greys a square of 2 * half_side, cut off where it leaves the image.

    Args:
      center: row and column of the centre, as shares of the sides in [0, 1).
    """
    sides = tf.shape(image)[:2]
    center = tf.cast(center * tf.cast(sides, "float32"), "int32")
    half_side = tf.cast(half_side, "int32")
    box = box_mask(sides, center - half_side, center + half_side)
    return paste(image, tf.constant(GREY, "uint8"), box)


def box_mask(sides, start, stop):
    """uint8 [H, 3 * W]: 255 in rows and columns from start to before stop."""
    rows, columns = (
        tf.cast((at >= start[axis]) & (at < stop[axis]), "uint8") * 255
        for axis, at in enumerate((tf.range(sides[0]), tf.range(sides[1])))
    )
    return tf.bitwise.bitwise_and(rows[:, None], tf.repeat(columns, 3))


def paste(image, values, mask):
    """Takes the image where a mask of `box_mask` is 0, else the values."""
    kept = tf.bitwise.bitwise_and(_rows(image), tf.bitwise.invert(mask))
    pasted = tf.bitwise.bitwise_and(values, mask)
    return _restore(tf.bitwise.bitwise_or(kept, pasted), image)


def _blend(degenerate, image, factor):
    """Pillow's order of float32 arithmetic, which decides what is truncated."""
    factor = tf.cast(factor, "float32")
    return _to_bytes(degenerate + factor * (image - degenerate))


def _to_bytes(image):
    return tf.cast(tf.clip_by_value(image, 0.0, 255.0), "uint8")


def _rows(image):
    return tf.reshape(image, [tf.shape(image)[0], -1])


def _restore(rows, image):
    return tf.ensure_shape(tf.reshape(rows, tf.shape(image)), image.shape)


def _table_indices(image):
    """int32 [H, 3 * W]: value + 256 * channel."""
    offsets = tf.tile([0, 256, 512], [tf.shape(image)[1]])
    return _rows(tf.cast(image, "int32")) + offsets


def _look_up(image, tables):
    """Replaces values through a table [3, 256] of a row per channel."""
    tables = tf.reshape(tf.cast(tables, "uint8"), [-1])
    # On bytes it takes two thirds of the time of `gather`.
    found = tf.gather_nd(tables, _table_indices(image)[..., None])
    return _restore(found, image)


def _matrix(*entries):
    return tf.stack([tf.cast(entry, "float32") for entry in entries])
