"""Formats of image files, told by their first bytes in TensorFlow's graph."""

import tensorflow as tf

from efficientnet_tf.data.images import formats


def name_format(image: tf.Tensor) -> tf.Tensor:
    """Returns what `formats.identify` returns, in the graph."""
    names, rows = zip(*formats.MAGIC, strict=True)
    text = read_text(image, 0, formats.MAGIC_BYTES)
    return tf.gather([*names, ""], _find(text, rows))


def read_kind(text: tf.Tensor) -> tf.Tensor:
    """Returns the number of a format in `formats`, `OTHER` included; int32 [].

    Args:
      text: `formats.MAGIC_BYTES` of a file, of `read_text`.
    """
    return _find(text, [parts for _, parts in formats.MAGIC[: formats.OTHER]])


def _find(text, rows):
    """Returns the number of the first row that a text begins with."""
    found = [begins(text, _to_pattern(parts)) for parts in rows]
    return tf.argmax([*found, True], output_type="int32")


def _to_pattern(parts):
    pattern, end = "", 0
    for at, part in parts:
        pattern += f".{{{at - end}}}" + "".join(
            rf"\x{byte:02x}" for byte in part
        )
        end = at + len(part)
    return pattern


def to_text(image: tf.Tensor) -> tf.Tensor:
    """Returns bytes as characters of the same numbers, for patterns."""
    return tf.strings.unicode_transcode(image, "ISO-8859-1", "UTF-8")


def read_text(image: tf.Tensor, begin: int | tf.Tensor, size: int) -> tf.Tensor:
    """Returns so many bytes of a string, or those there are, as `to_text`."""
    return to_text(tf.strings.substr(image, begin, size))


def begins(text: tf.Tensor, pattern: str) -> tf.Tensor:
    """Returns whether texts begin with a regular expression; bool."""
    return tf.strings.regex_full_match(text, f"(?s)(?:{pattern}).*")


def read_byte(image: tf.Tensor, place: int | tf.Tensor) -> tf.Tensor:
    """Returns one byte as int32 [], 0 behind the end."""
    place = tf.minimum(place, tf.strings.length(image))
    byte = tf.io.decode_raw(tf.strings.substr(image, place, 1), "uint8")
    return tf.reduce_sum(tf.cast(byte, "int32"))
