"""Which way up a photograph is, from EXIF or XMP data, in the graph."""

import tensorflow as tf

from efficientnet_tf.data import formats

_ORIENTATION_TAG = 0x0112

# Types of a value: a signed byte; two bytes; four. Pillow takes all integers.
_BYTE, _SHORTS, _LONGS = 6, (3, 8), (4, 9)


def find_orientation(exif: tf.Tensor, xmp: tf.Tensor) -> tf.Tensor:
    """Returns the orientation that EXIF data say, else XMP data, else 1.

    Args:
      exif: a TIFF file as a scalar string, or "".
      xmp: XML as a scalar string, or "". Pillow turns by it, too.

    Returns:
      int32 [], from 1 (upright) to 8.
    """

    def find():
        found = _read_orientation(exif)
        return tf.where(found < 0, _search_orientation(xmp), found)

    nothing = (exif == b"") & (xmp == b"")
    found = tf.cond(nothing, lambda: tf.constant(1), find)
    return tf.where((found < 1) | (found > 8), 1, found)


def _read_orientation(exif):
    """Returns the orientation in a TIFF directory, or -1 without one."""
    data = formats.read_bytes(exif)
    little = tf.strings.substr(exif, 0, 2) == b"II"
    known = little | (tf.strings.substr(exif, 0, 2) == b"MM")
    # Zeros, so that the fields of damaged data can be read.
    data = tf.concat([data, tf.zeros([16], "int32")], axis=0)
    size = tf.strings.length(exif)

    def number(values):
        """Combines the last axis, two or four bytes."""
        values = tf.where(little, tf.reverse(values, [-1]), values)
        weights = [2**24, 2**16, 2**8, 1][-values.shape[-1] :]
        return tf.reduce_sum(values * tf.constant(weights), axis=-1)

    begin = number(tf.ensure_shape(data[4:8], [4]))
    begin = tf.clip_by_value(begin, 0, size)
    count = number(tf.ensure_shape(data[begin : begin + 2], [2]))
    begin += 2
    count = tf.maximum(tf.minimum(count, (size - begin) // 12), 0)
    entries = tf.reshape(data[begin : begin + 12 * count], [-1, 12])
    tags, kinds = number(entries[:, :2]), number(entries[:, 2:4])
    is_short, is_long = (
        tf.reduce_any(kinds[:, None] == tf.constant(types), axis=1)
        for types in (_SHORTS, _LONGS)
    )
    value = tf.where(is_short, number(entries[:, 8:10]), entries[:, 8])
    value = tf.where(is_long, number(entries[:, 8:12]), value)
    usable = is_short | is_long | (kinds == _BYTE)
    # Of several values, the first; more than four bytes would be elsewhere.
    values = number(entries[:, 4:8])
    usable &= (values >= 1) & (values <= tf.where(is_long, 1, 2))
    found = tf.where(usable, value, 0)[tags == _ORIENTATION_TAG]
    # Of several entries, the first.
    return tf.concat([tf.where(known, found, -1), [-1]], axis=0)[0]


def _search_orientation(xmp):
    """Returns the orientation in an XMP packet, or 1."""
    pattern = r"(?s).*tiff:Orientation(?:=\"|>)([0-9]).*"
    digit = tf.strings.regex_replace(xmp, pattern, r"\1")
    found = tf.strings.length(digit) == 1
    return tf.where(found, formats.read_byte(digit, 0) - ord("0"), 1)
