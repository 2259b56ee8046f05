"""What an image file's header says: its format, and which way up it is.

All in TensorFlow's graph, because an exported model must turn photographs like
the pipeline that it was trained with, and TensorFlow has no op for EXIF.
"""

import typing
from collections.abc import Callable

import tensorflow as tf

from efficientnet_tf.data.images import (
    exif as exif_lib,
    format_ops,
    formats,
)

# The patterns below are of bytes read as text; see `format_ops.to_text`.

# Of two bytes that say less than 10,496: with such sides no image is too large.
_PLAIN_SIDE = r"[\x00-\x28]."
# How most photographs begin, as JPEGs without EXIF, XMP or four inks: JFIF's
# segment or none; one table for all channels or two; a frame (baseline,
# extended, progressive: TensorFlow decodes no others) of 8 bits, sides below
# `_PLAIN_SIDE`, and three channels or one, as its size says.
_PLAIN_JPEG = (
    r"\xff\xd8(?:\xff\xe0\x00\x10.{14})?"
    r"(?:(?:\xff\xdb\x00\x43.{65}){1,2}|\xff\xdb\x00\x84.{130})"
    rf"\xff[\xc0-\xc2]\x00[\x0b\x11]\x08(?:{_PLAIN_SIDE}){{2}}"
)
# And most small PNGs: up to 8 bits, and pixels at once. If these fill one chunk
# with this size, at this place, nothing but the last chunk's bytes comes after.
_PLAIN_PNG = (
    r"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"
    rf"(?:\x00\x00{_PLAIN_SIDE}){{2}}[\x01-\x08].{{8}}....IDAT"
)
_PIXELS_SIZE, _AROUND_PIXELS = 33, 57
_PLAIN_BYTES = 192

# A file's parts are a JPEG's segments, which begin with FF, a name of one byte
# and a size of two; a PNG's chunks, with a size of four and a name of four; a
# WebP's chunks, with a name of four and a size of four. No pattern fits parts
# of two formats, as sizes begin with less than FF.
_PARTS = {
    "exif": (
        # Writers put JPEG's prefix before it in other formats too, or twice.
        r"(?:\xff\xe1..Exif\x00\x00|[^\xff]...eXIf|EXIF....)"
        r"(?:Exif\x00\x00)?"
    ),
    "xmp": (
        r"\xff\xe1..http://ns\.adobe\.com/xap/1\.0/\x00|"
        r"[^\xff]...(?:tEXt|iTXt)XML:com\.adobe\.xmp\x00|XMP ...."
    ),
    # ImageMagick hides EXIF in a text, which is hexadecimal and compressed; and
    # XMP may be compressed.
    "hidden_exif": (
        r"[^\xff]...(?:(?:tEXt|zTXt|iTXt)Raw profile type exif\x00|"
        r"(?:zTXtXML:com\.adobe\.xmp|iTXtXML:com\.adobe\.xmp\x00\x01))"
    ),
    "used_bits": r"[^\xff]...sBIT",
    # Frames of 8 bits. Of four inks Pillow takes those without Adobe's mark for
    # inverted all the same, and TensorFlow does not.
    "frame": r"\xff[\xc0-\xc2]..\x08....[^\x04]",
    "four_inks": r"\xff[\xc0-\xc2]..\x08....\x04",
    "adobe": r"\xff\xee..Adobe",
}


class Header(typing.NamedTuple):
    """What decides how a file is decoded; scalar tensors.

    Attributes:
      kind: `formats.JPEG`, `PNG`, `GIF`, `BMP`, `WEBP` or `OTHER`.
      exact: whether TensorFlow's ops give the pixels that Pillow gives.
      orientation: EXIF's, from 1 (upright) to 8.
      deep: whether it is a PNG with 16 bits a sample.
      used_bits: of those, how many a PNG's sBIT chunk says are used, or 0.
    """

    kind: tf.Tensor
    exact: tf.Tensor
    orientation: tf.Tensor
    deep: tf.Tensor
    used_bits: tf.Tensor


class _Layout(typing.NamedTuple):
    """How a format's parts follow each other.

    Attributes:
      start: where the first one begins; -1: nowhere.
      last: the pattern of parts that none is looked at after. EXIF data of a
        JPEG stand before the frame, whose size libraries need first.
      weights: of a part's first bytes, whose sum is a size.
      around: bytes of a part that its size does not count.
      behind: those of them that follow its content.
      odd: 1 if parts begin at even places.
    """

    start: int = -1
    last: str = ""
    weights: tuple[int, ...] = (0,) * 8
    around: int = 0
    behind: int = 0
    odd: int = 0


_LAYOUTS = (
    _Layout(
        2,
        # Nor behind markers without a size, which a photograph has none of.
        r"(?s)[^\xff].*|\xff[\x01\xc0-\xc2\xd0-\xda].*",
        (0, 0, 256, 1, 0, 0, 0, 0),
        2,
    ),
    _Layout(8, "(?s)....IEND.*", (2**24, 2**16, 2**8, 1, 0, 0, 0, 0), 12, 4),
    _Layout(),
    _Layout(),
    _Layout(12, "", (0, 0, 0, 0, 1, 2**8, 2**16, 2**24), 8, 0, 1),
    _Layout(),
)


def _bytes_with(mask: int, *values: int) -> str:
    """Returns the pattern of bytes whose bits of a mask have such a value."""
    fit = [byte for byte in range(256) if byte & mask in values]
    return "[" + "".join(rf"\x{byte:02x}" for byte in fit) + "]"


# A GIF is exact if its first frame fills the canvas, whose size is the first
# group and the frame's the second, and is opaque. Before it there may be a
# table of colours, how often an animation is repeated, comments, and a control
# block.
_GIF = "GIF8..(....)(?:{})(?:{}|{}|{})*,{}(....)".format(
    "|".join(
        f"{_bytes_with(0x87, 0x80 + bits)}..(?:.{{{3 * 2 ** (bits + 1)}}})"
        for bits in range(8)
    )
    + r"|[\x00-\x7f]..",
    r"\x21\xff\x0b.{16}",
    r"\x21\xfe[^\x00]*\x00",
    r"\x21\xf9." + _bytes_with(1, 0) + ".{4}",
    r"\x00" * 4,
)
_GIF_BYTES = 1024
# A BMP is exact if its header is Windows', not OS/2's, with 24 or 32 bits a
# pixel and without compression, palette and bit masks.
_BMP = r"BM.{12}[\x28-\xff].{13}[\x18\x20]\x00{5}"
# A WebP is exact if it is not animated, and both sides are below 8,193 of the
# 16,384 that are possible: no more than `formats.MOST_WIDE_PIXELS` in all.
_WEBP = "RIFF....WEBPVP8"
_LONG_SIDE = r"(?:.[\x20-\xff].|..[\x01-\xff])"
_NOT_EXACT_WEBP = _WEBP + "(?:{}|{}|{}|{})".format(
    "X...." + _bytes_with(2, 2),
    rf"X.{{8}}(?:{_LONG_SIDE}...|...{_LONG_SIDE})",
    rf"L....\x2f(?:.{_bytes_with(32, 32)}|...{_bytes_with(8, 8)})",
    rf" .{{7}}\x9d\x01\x2a(?:..)?.{_bytes_with(32, 32)}",
)
_TURNED_WEBP = _WEBP + "X...." + _bytes_with(12, 4, 8, 12)

# Where a JPEG's (from its frame on), a PNG's and a GIF's two sides are, and the
# weights of the eight bytes there. A BMP has a byte for each pixel, if it is
# exact.
_HIGH, _LOW = (2**24, 2**16, 2**8, 1), (1, 2**8)
_SIDES = (
    (5, ((*_HIGH[2:], *(0,) * 6), (0, 0, *_HIGH[2:], *(0,) * 4))),
    (16, ((*_HIGH, *(0,) * 4), (*(0,) * 4, *_HIGH))),
    (6, ((*_LOW, *(0,) * 6), (0, 0, *_LOW, *(0,) * 4))),
    *((0, ((0,) * 8,) * 2),) * 3,
)

# So much of each part is compared with patterns, and of so many parts: more
# would take longer than any photograph is worth.
_PART_BYTES = 40
_MOST_PARTS = 2**14


def read_header(image: tf.Tensor) -> Header:
    """Reads the header of encoded bytes, a scalar string, in the graph."""
    # A short cut: the walk below takes as long as to decode a small image.
    head = tf.strings.substr(image, 0, _PLAIN_BYTES)
    text = format_ops.to_text(head)
    is_jpeg = format_ops.begins(text, _PLAIN_JPEG)
    padded = tf.strings.join([head, bytes(_AROUND_PIXELS)])
    size = tf.strings.substr(padded, _PIXELS_SIZE, 4)
    size = tf.io.decode_raw(size, "int32", little_endian=False)[0]
    is_png = format_ops.begins(text, _PLAIN_PNG)
    is_png &= size == tf.strings.length(image) - _AROUND_PIXELS
    kind = tf.where(is_jpeg, formats.JPEG, formats.PNG)
    rest = [tf.constant(value) for value in (True, 1, False, 0)]
    return tf.cond(
        is_jpeg | is_png,
        lambda: Header(kind, *rest),
        lambda: _read_any(image),
    )


def outline(function: Callable) -> Callable:
    """Returns a function that is one node in the graph that calls it.

    TensorFlow visits the nodes of a branch that is not taken, which took longer
    than to decode a small JPEG.
    """
    attributes = {"_noinline": True}
    return tf.function(
        function, autograph=False, experimental_attributes=attributes
    )


@outline
def _read_any(image):
    text = format_ops.read_text(image, 0, formats.MAGIC_BYTES)
    kind = format_ops.read_kind(text)
    parts, complete = _find_parts(image, text, kind)
    begin, end = parts["exif"]
    begin += _count_matched(
        format_ops.read_text(image, begin, _PART_BYTES), "exif"
    )
    exif = tf.strings.substr(image, begin, tf.maximum(end - begin, 0))
    begin, end = parts["xmp"]
    xmp = tf.strings.substr(image, begin, end - begin)
    deep = (kind == formats.PNG) & (format_ops.read_byte(image, 24) == 16)
    limit = tf.where(deep, formats.MOST_WIDE_PIXELS, formats.MOST_PIXELS)
    few = _count_pixels(image, kind, parts) <= tf.cast(limit, "float64")
    return Header(
        kind,
        _is_exact(image, text, kind, parts, exif) & complete & few,
        exif_lib.find_orientation(exif, xmp),
        deep,
        format_ops.read_byte(image, parts["used_bits"][0] + 8),
    )


def _count_matched(text, name):
    """Returns how many characters of a part's head fit its pattern."""
    rest = tf.strings.regex_replace(text, f"(?s)^(?:{_PARTS[name]})", "")
    both = tf.strings.length([text, rest], "UTF8_CHAR")
    return both[0] - both[1]


def _is_exact(image, text, kind, parts, exif):
    total = tf.strings.length(image)
    has = {name: begin < total for name, (begin, _) in parts.items()}
    exact = [
        has["frame"] | (has["four_inks"] & has["adobe"]),
        (exif != b"") | ~has["hidden_exif"],
        tf.cond(
            kind == formats.GIF, lambda: _is_exact_gif(image), lambda: False
        ),
        format_ops.begins(text, _BMP) & _is_whole_bmp(image),
        ~format_ops.begins(text, _NOT_EXACT_WEBP),
        False,
    ]
    return tf.gather(exact, kind)


def _is_whole_bmp(image):
    """Whether the file's length is what its header says.

    TensorFlow refuses a BMP with more bytes, of which some programs add two.
    """
    head = tf.strings.join([tf.strings.substr(image, 0, 30), bytes(30)])
    fields = tf.io.decode_raw(tf.strings.substr(head, 10, 20), "int32")
    begin, _, width, height, kind = tf.unstack(tf.cast(fields, "int64"), 5)
    bits = tf.bitwise.right_shift(kind, 16)
    size = begin + (bits * width + 31) // 32 * 4 * tf.abs(height)
    return size == tf.cast(tf.strings.length(image), "int64")


def _count_pixels(image, kind, parts):
    """Returns how many pixels a JPEG, PNG or GIF says it has, float64 []."""
    places, weights = zip(*_SIDES, strict=True)
    place = tf.gather(places, kind)
    frame = tf.minimum(parts["frame"][0], parts["four_inks"][0])
    place += tf.where(kind == formats.JPEG, frame, 0)
    place = tf.minimum(place, tf.strings.length(image))
    sides = tf.io.decode_raw(
        tf.strings.substr(image, place, 8), "uint8", fixed_length=8
    )
    weights = tf.gather(tf.constant(weights, "float64"), kind)
    return tf.reduce_prod(tf.linalg.matvec(weights, tf.cast(sides, "float64")))


@outline
def _is_exact_gif(image):
    text = format_ops.read_text(image, 0, _GIF_BYTES)
    sizes = tf.strings.regex_replace(text, f"(?s)^{_GIF}.*", r"\1\2")
    canvas, frame = (
        tf.strings.substr(sizes, place, 4, "UTF8_CHAR") for place in (0, 4)
    )
    return (tf.strings.length(sizes, "UTF8_CHAR") == 8) & (canvas == frame)


def _find_parts(image, text, kind):
    """Returns where the first part of each kind of `_PARTS` begins and ends.

    A part that there is none of begins where the file ends. The second value
    is whether all parts were looked at.
    """
    heads, edges, behind, complete = _walk(image, text, kind)
    found = tf.stack([format_ops.begins(heads, row) for row in _PARTS.values()])
    found = tf.pad(found, [[0, 0], [0, 1]], constant_values=True)
    index = tf.argmax(found, axis=1, output_type="int32")
    begins = tf.gather(edges, index)
    ends = tf.maximum(tf.gather(edges, index + 1) - behind, begins)
    parts = zip(tf.unstack(begins), tf.unstack(ends), strict=True)
    return dict(zip(_PARTS, parts, strict=True)), complete


def _walk(image, text, kind):
    """Goes over the parts of a file up to its pixels or its end.

    Returns:
      The first bytes of each part, as text [N]; where each begins, and twice
      the end, int32 [N + 2]; how many bytes of each follow its content; and
      whether there are no more parts.
    """
    total = tf.strings.length(image)
    columns = zip(*_LAYOUTS, strict=True)
    layout = _Layout(*(tf.gather(column, kind) for column in columns))
    plain = (kind == formats.WEBP) & ~format_ops.begins(text, _TURNED_WEBP)
    start = tf.where((layout.start < 0) | plain, total, layout.start)

    def is_inside(place, count, *_):
        return (place + 8 <= total) & (count < _MOST_PARTS)

    def step(place, count, heads, places):
        head = format_ops.read_text(image, place, _PART_BYTES)
        sized = tf.io.decode_raw(tf.strings.substr(image, place, 8), "uint8")
        size = tf.reduce_sum(tf.cast(sized, "int32") * layout.weights)
        size += layout.around
        size += size & layout.odd
        # A JPEG may fill up with 0xFF between segments.
        size = tf.where(format_ops.begins(head, r"\xff\xff"), 1, size)
        # A damaged size ends the walk, too.
        ends = tf.strings.regex_full_match(head, layout.last) | (size <= 0)
        size = tf.where(ends, total, tf.minimum(size, total))
        return (
            place + size,
            count + 1,
            heads.write(count, head),
            places.write(count, place),
        )

    arrays = [
        tf.TensorArray(kind, 0, dynamic_size=True, element_shape=[])
        for kind in ("string", "int32")
    ]
    place, _, heads, places = tf.while_loop(
        is_inside, step, (start, 0, *arrays), parallel_iterations=1
    )
    edges = tf.concat([places.stack(), [total, total]], axis=0)
    return heads.stack(), edges, layout.behind, place + 8 > total
