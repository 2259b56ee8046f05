"""Which way up a photograph is, from EXIF or XMP data, in the graph."""

import tensorflow as tf

from efficientnet_tf.data.images import format_ops

# What follows the orientation's tag in a directory: a type, how many values
# there are, and four bytes, which begin with them. Pillow takes all integers:
# of two bytes, of four, signed bytes. Of several values the first counts; more
# than four bytes would be elsewhere. The first row is of numbers whose low byte
# comes first.
_VALUES = (
    (
        r"[\x03\x08]\x00[\x01\x02]\x00\x00\x00([\x01-\x08])\x00..",
        r"[\x04\x09\x0d]\x00\x01\x00\x00\x00([\x01-\x08])\x00\x00\x00",
        r"\x06\x00[\x01\x02]\x00\x00\x00([\x01-\x08])...",
    ),
    (
        r"\x00[\x03\x08]\x00\x00\x00[\x01\x02]\x00([\x01-\x08])..",
        r"\x00[\x04\x09\x0d]\x00\x00\x00\x01\x00\x00\x00([\x01-\x08])",
        r"\x00\x06\x00\x00\x00[\x01\x02]([\x01-\x08])...",
    ),
)

# The byte order and a directory's entries, of 12 bytes each; of several with
# the tag the first counts, even if it has no usable value.
_DIRECTORY = "|".join(
    f"{start}(?:.{{12}})*?{tag}(?:{'|'.join(values)}|.{{10}})"
    for start, tag, values in zip(
        ("II", "MM"), (r"\x12\x01", r"\x01\x12"), _VALUES, strict=True
    )
)


def find_orientation(exif: tf.Tensor, xmp: tf.Tensor) -> tf.Tensor:
    """Returns the orientation that EXIF data say, else XMP data, else 1.

    Args:
      exif: a TIFF file as a scalar string, or "".
      xmp: XML as a scalar string, or "". Pillow turns by it, too.

    Returns:
      int32 [], from 1 (upright) to 8.
    """

    def find():
        directory = format_ops.to_text(_read_directory(exif))
        found = tf.strings.regex_replace(
            directory, f"(?s)^(?:{_DIRECTORY}).*", r"=\1\2\3\4\5\6"
        )
        tagged = tf.strings.substr(found, 0, 1) == b"="
        digit = tf.strings.regex_replace(
            format_ops.to_text(xmp),
            r"(?s)^.*?tiff:Orientation(?:=\"|>)([0-9]).*",
            r"\1",
        )
        said = tf.strings.length(digit) == 1
        digit = tf.where(said, format_ops.read_byte(digit, 0) - ord("0"), 1)
        return tf.where(tagged, format_ops.read_byte(found, 1), digit)

    nothing = (exif == b"") & (xmp == b"")
    found = tf.cond(nothing, lambda: tf.constant(1), find)
    return tf.where((found < 1) | (found > 8), 1, found)


def _read_directory(exif):
    """Returns a TIFF file's byte order and the entries of its directory."""
    order = tf.strings.substr(exif, 0, 2)
    # Zeros, so that the fields of damaged data can be read.
    padded = tf.strings.join([exif, bytes(8)])

    def number(place, kind):
        field = tf.strings.substr(padded, place, tf.as_dtype(kind).size)
        low_first, high_first = (
            tf.io.decode_raw(field, kind, little_endian=little)
            for little in (True, False)
        )
        values = tf.where(order == b"II", low_first, high_first)
        return tf.cast(values[0], "int32")

    size = tf.strings.length(exif)
    begin = tf.clip_by_value(number(4, "int32"), 0, size)
    count = number(begin, "uint16")
    begin = tf.minimum(begin + 2, size)
    entries = tf.strings.substr(exif, begin, 12 * count)
    return tf.strings.join([order, entries])
