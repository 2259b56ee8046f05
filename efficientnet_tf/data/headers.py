"""What an image file's header says: its format, and which way up it is.

All in TensorFlow's graph, because an exported model must turn photographs like
the pipeline that it was trained with, and TensorFlow has no op for EXIF.
"""

import functools
import itertools
import typing
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from efficientnet_tf.data import exif as exif_lib, formats

# Segments of JPEG: EXIF or XMP, and Adobe's mark.
_APP1, _APP14 = b"\xff\xe1", b"\xff\xee"
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
# Frames: baseline, extended, progressive. TensorFlow decodes no others.
_FRAMES = (b"\xff\xc0", b"\xff\xc1", b"\xff\xc2")

# How most JPEGs begin: (bytes, how much there is of it) of JFIF's segment or
# none; one table for all channels or two; a frame of 8 bits and three channels
# or one, as its size says.
_JFIF, _TABLE = (b"\xff\xe0\0\x10", 18), (b"\xff\xdb\0\x43", 69)
_USUAL_JPEG: tuple[Sequence[list[tuple[bytes, int]]], ...] = (
    ([(b"\xff\xd8", 2)],),
    ([_JFIF], []),
    ([_TABLE], [_TABLE, _TABLE], [(b"\xff\xdb\0\x84", 134)]),
    [
        [(frame + size, 0)]
        for frame in _FRAMES
        for size in (b"\0\x11\x08", b"\0\x0b\x08")
    ],
)

_XMP_KEYWORD = b"XML:com.adobe.xmp\0"
_RAW_PROFILE = b"Raw profile type exif\0"


class Header(typing.NamedTuple):
    """What decides how a file is decoded; scalar tensors.

    Attributes:
      kind: `formats.JPEG`, `PNG`, `GIF`, `BMP`, `WEBP` or `OTHER`.
      exact: whether TensorFlow's ops give the pixels that Pillow gives.
      orientation: EXIF's, from 1 (upright) to 8.
      sample_bits: of a PNG, 16 or at most 8, else 0.
      used_bits: of those, how many a PNG's sBIT chunk says are used, or 0.
    """

    kind: tf.Tensor
    exact: tf.Tensor
    orientation: tf.Tensor
    sample_bits: tf.Tensor
    used_bits: tf.Tensor


class _Layout(typing.NamedTuple):
    """How a format's parts follow each other: name, size, content.

    Attributes:
      start: where the first one begins.
      name: where its name is in each part.
      weights: of a part's first bytes, whose sum is the content's size.
      around: bytes of a part that its size does not count.
      even: whether parts begin at even places.
      last: the names of parts that none is looked at after.
    """

    start: int
    name: int
    weights: tuple[int, ...]
    around: int
    even: bool
    last: tuple[bytes, ...]


# EXIF data stand before the frame, whose size libraries need first.
_SEGMENTS = _Layout(2, 0, (0, 0, 256, 1), 2, False, (*_FRAMES, b"\xff\xda"))
_PNG_CHUNKS = _Layout(8, 4, (2**24, 2**16, 2**8, 1), 12, False, (b"IEND",))
_RIFF_CHUNKS = _Layout(
    12, 0, (0, 0, 0, 0, 1, 2**8, 2**16, 2**24), 8, True, (b"    ",)
)

# So much of each part is compared with the prefixes below.
_PART_BYTES = 40


class _Parts(typing.NamedTuple):
    """The parts of a file: [N] places, and [N, _PART_BYTES] first bytes."""

    image: tf.Tensor
    layout: _Layout
    places: tf.Tensor
    heads: tf.Tensor

    def match(self, name: bytes, prefix: bytes = b"") -> tf.Tensor:
        """Returns which parts have a name and begin with a prefix; bool [N]."""
        found = _equal(self.heads, self.layout.name, name)
        if prefix:
            found &= _equal(self.heads, _content_at(self.layout), prefix)
        return found

    def read(self, matched: tf.Tensor, skip: int = 0) -> tf.Tensor:
        """Returns the content of the first part that matched, or ""."""

        def read():
            index = tf.argmax(matched)
            size = _size(self.heads[index], self.layout)
            if self.layout is _SEGMENTS:
                size -= 2  # The size counts itself.
            begin = self.places[index] + _content_at(self.layout) + skip
            begin = tf.minimum(begin, tf.strings.length(self.image))
            size = tf.maximum(size - skip, 0)
            return tf.strings.substr(self.image, begin, size)

        return tf.cond(tf.reduce_any(matched), read, lambda: tf.constant(b""))


def read_header(image: tf.Tensor) -> Header:
    """Reads the header of encoded bytes, a scalar string, in the graph."""
    plain = _header(True)
    plain = Header(tf.constant(formats.JPEG), *plain)
    return tf.cond(
        _is_plain_jpeg(image), lambda: plain, lambda: _read_any(image)
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


_find_orientation = outline(exif_lib.find_orientation)


def _is_plain_jpeg(image):
    """Whether a JPEG begins in a usual way, without EXIF, XMP or four inks.

    A short cut for most photographs: the walk below takes as long as to decode
    a small one.
    """
    data = tf.io.decode_raw(formats.read_head(image), "uint8")
    places, values = _usual_beginnings()
    same = tf.gather(data, places) == tf.constant(values, "uint8")
    return tf.reduce_any(tf.reduce_all(same, axis=1))


@functools.cache
def _usual_beginnings():
    """Returns the places and values of bytes in usual JPEGs, [N, K] each."""
    rows = []
    for parts in itertools.product(*_USUAL_JPEG):
        row, place = [], 0
        for part, size in itertools.chain(*parts):
            row += [(place + i, byte) for i, byte in enumerate(part)]
            place += size
        rows.append(row)
    longest = max(map(len, rows))
    # Filled up with their first byte.
    rows = [row + row[:1] * (longest - len(row)) for row in rows]
    return np.moveaxis(np.array(rows), -1, 0)


@outline
def _read_any(image):
    head = formats.read_head(image)
    kind = tf.constant(formats.OTHER)
    for index in reversed(range(formats.OTHER)):
        kind = tf.where(formats.has(head, formats.MAGIC[index][1]), index, kind)
    branches = [
        lambda: _read_jpeg(image),
        lambda: _read_png(image, head),
        lambda: _read_gif(head),
        lambda: _read_bmp(head),
        lambda: _read_webp(image, head),
        lambda: _header(False),
    ]
    return Header(kind, *tf.switch_case(kind, branches))


def _header(exact, orientation=1, sample_bits=0, used_bits=0):
    return (
        tf.convert_to_tensor(exact),
        tf.convert_to_tensor(orientation, "int32"),
        tf.convert_to_tensor(sample_bits, "int32"),
        tf.convert_to_tensor(used_bits, "int32"),
    )


# Outlined, what is not run costs nothing: TensorFlow prepares the nodes of all
# branches anew for each data set, for a second in all.
@outline
def _read_jpeg(image):
    parts = _walk(image, _SEGMENTS)
    frames = tf.reduce_any([parts.match(name) for name in _FRAMES], axis=0)
    frame = parts.read(frames)
    precision, components = (
        formats.read_byte(frame, 0),
        formats.read_byte(frame, 5),
    )
    # Without Adobe's mark, Pillow takes four inks for inverted all the same,
    # and TensorFlow does not.
    marked = tf.reduce_any(parts.match(_APP14, b"Adobe"))
    exact = (precision == 8) & ((components != 4) | marked)
    exif = parts.read(parts.match(_APP1, _EXIF), len(_EXIF))
    xmp = parts.read(parts.match(_APP1, _XMP), len(_XMP))
    return _header(exact, _find_orientation(exif, xmp))


@outline
def _read_png(image, head):
    parts = _walk(image, _PNG_CHUNKS)
    exif = parts.read(parts.match(b"eXIf"))
    xmp = parts.read(parts.match(b"iTXt", _XMP_KEYWORD), len(_XMP_KEYWORD))
    # ImageMagick hides EXIF in a text, which is hexadecimal and compressed.
    hidden = [
        tf.reduce_any(parts.match(name, _RAW_PROFILE))
        for name in (b"tEXt", b"zTXt", b"iTXt")
    ]
    exact = (exif != b"") | ~tf.reduce_any(hidden)
    used_bits = formats.read_byte(parts.read(parts.match(b"sBIT")), 0)
    orientation = _find_orientation(exif, xmp)
    return _header(exact, orientation, formats.read_byte(head, 24), used_bits)


@outline
def _read_gif(head):
    """A GIF is exact if its first frame fills the canvas and is opaque."""
    flags = formats.read_byte(head, 10)
    colours = 3 * tf.bitwise.left_shift(2, flags & 7)
    place = 13 + tf.where(flags >= 128, colours, 0)
    # How often an animation is repeated.
    looped = tf.strings.substr(head, place, 3) == b"\x21\xff\x0b"
    place += tf.where(looped, 19, 0)
    control = tf.strings.substr(head, place, 8)
    controlled = tf.strings.substr(control, 0, 2) == b"\x21\xf9"
    opaque = ~controlled | (formats.read_byte(control, 3) % 2 == 0)
    place += tf.where(controlled, 8, 0)
    canvas = tf.strings.substr(head, 6, 4)
    whole = tf.strings.join([b",\0\0\0\0", canvas])
    return _header(opaque & (tf.strings.substr(head, place, 9) == whole))


def _read_bmp(head):
    """A BMP is exact without a palette, bit masks and compression."""
    # The header is Windows', not OS/2's; then bits a pixel and compression.
    windows = formats.read_byte(head, 14) >= 40
    kind = tf.strings.substr(head, 28, 6)
    plain = (kind == b"\x18\0\0\0\0\0") | (kind == b"\x20\0\0\0\0\0")
    return _header(windows & plain)


@outline
def _read_webp(image, head):
    extended = tf.strings.substr(head, 12, 4) == b"VP8X"
    flags = tf.where(extended, formats.read_byte(head, 20), 0)

    def find():
        parts = _walk(image, _RIFF_CHUNKS)
        exif = parts.read(parts.match(b"EXIF"))
        # Some writers put JPEG's prefix before it.
        prefixed = tf.strings.substr(exif, 0, len(_EXIF)) == _EXIF
        exif = tf.strings.substr(exif, tf.where(prefixed, len(_EXIF), 0), 2**16)
        return _find_orientation(exif, parts.read(parts.match(b"XMP ")))

    orientation = tf.cond(flags & 12 > 0, find, lambda: tf.constant(1))
    animated = flags & 2 > 0
    return _header(~animated, orientation)


def _walk(image, layout):
    """Returns the `_Parts` of a file up to its pixels or its end."""
    data = tf.io.decode_raw(image, "uint8")
    total = tf.size(data)
    last = tf.constant([list(name) for name in layout.last], "uint8")
    name = slice(layout.name, layout.name + last.shape[1])

    def is_inside(place, *_):
        return place + 8 <= total

    def step(place, index, places):
        head = data[place : place + 8]
        around = _size(head, layout) + layout.around
        if layout is _SEGMENTS:
            # A JPEG may fill up with 0xFF between segments.
            around = tf.where(head[1] == 0xFF, 1, around)
            around = tf.where(head[0] == 0xFF, around, 0)
        if layout.even:
            around += around % 2
        # A damaged size ends the walk, too.
        ends = tf.reduce_any(tf.reduce_all(head[name] == last, axis=1))
        ends |= around <= 0
        return (
            tf.where(ends, total, place + around),
            index + 1,
            places.write(index, place),
        )

    places = tf.TensorArray("int32", 0, dynamic_size=True, element_shape=[])
    *_, places = tf.while_loop(
        is_inside, step, (layout.start, 0, places), parallel_iterations=1
    )
    places = places.stack()
    wanted = places[:, None] + tf.range(_PART_BYTES)
    heads = tf.gather(data, tf.minimum(wanted, total - 1))
    return _Parts(image, layout, places, heads)


def _content_at(layout):
    return 4 if layout is _SEGMENTS else 8


def _size(head, layout):
    weights = tf.constant(layout.weights)
    sized = tf.cast(head[: len(layout.weights)], "int32")
    return tf.reduce_sum(sized * weights)


def _equal(heads, at, wanted):
    wanted = tf.constant(list(wanted), "uint8")
    return tf.reduce_all(heads[:, at : at + wanted.shape[0]] == wanted, axis=1)
