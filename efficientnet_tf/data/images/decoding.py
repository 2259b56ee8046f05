"""From the bytes of an image file to upright RGB pixels of 8 bits.

Every route goes through here, so that a network is served with the pixels that
it was trained with: those that Pillow shows. Transparency is dropped and the
colour below it kept, as `Image.convert("RGB")`, TensorFlow and the data sets
of torchvision and timm do; of an animation the first frame is taken.
"""

import contextlib
import contextvars
import functools
import os
from collections.abc import Callable, Iterator

import tensorflow as tf

from efficientnet_tf.data.images import (
    format_ops,
    formats,
    headers,
    pillow_files,
)
from efficientnet_tf.utils import files

# Pillow's; TensorFlow's own default, which the official code had, is faster by
# little and differs from it by up to 8 levels.
_DCT = "INTEGER_ACCURATE"

# Around a crop of a JPEG: colour is stored at half the resolution and
# interpolated from its neighbours.
_CROP_MARGIN = 2

# What TensorFlow's ops decode otherwise than Pillow, or not at all.
_NOT_EXACT = (
    "a JPEG that is cut short, coded unusually, or CMYK without Adobe marker",
    "a PNG with its EXIF or XMP data in a compressed text",
    "a GIF with transparency, metadata, or a frame smaller than the canvas",
    "a BMP with a palette, bit masks, compression, 16 bits a pixel, or bytes "
    "after its pixels",
    "an animated WebP",
)
_OR_LARGE = f", or an image of more than {formats.MOST_PIXELS:,} pixels"

# By EXIF's orientation: the order of axes, and which of them are mirrored then.
_AXES = [(0, 1, 2)] * 5 + [(1, 0, 2)] * 4
_MIRRORED = [(i in (3, 4, 7, 8), i in (2, 3, 6, 7), False) for i in range(9)]

_graph_only = contextvars.ContextVar("graph_only", default=False)


@contextlib.contextmanager
def graph_only() -> Iterator[None]:
    """Within it, `decode` is `decode_in_graph`: for graphs of other processes.

    They have no Python function of this one, and could take one of their own
    for it.
    """
    token = _graph_only.set(True)
    try:
        yield
    finally:
        _graph_only.reset(token)


def name_not_exact(image: tf.Tensor) -> str:
    """Returns what an image is that `decode_in_graph` refuses: "a TIFF".

    "" if it decodes the image, and for pixels.
    """
    if image.dtype != tf.string:
        return ""
    header = headers.read_header(image)
    if header.exact:
        return ""
    return _name(image, header.kind).numpy().decode() or "a file"


def decode(image: tf.Tensor, deep_pixels: str | None = None) -> tf.Tensor:
    """Decodes bytes to upright uint8 [H, W, 3]; decoded images pass through.

    What TensorFlow's ops cannot decode as Pillow does goes through Pillow, so
    that this cannot be exported; see `decode_in_graph`.

    Args:
      image: a scalar string, or pixels.
      deep_pixels: one of `policies.DEEP_PIXELS`, which is logged once if there
        are such pixels; None: "used", and nothing is logged.
    """
    if image.dtype != tf.string:
        return image
    return _decode_read(image, headers.read_header(image), deep_pixels)


def decode_in_graph(
    image: tf.Tensor, deep_pixels: str | None = None
) -> tf.Tensor:
    """Decodes like `decode`, by ops that can be exported; logs nothing.

    Raises:
      InvalidArgumentError: names a format that those ops cannot decode.
    """
    with graph_only():
        return decode(image, deep_pixels)


def decode_crop(
    image: tf.Tensor, draw_crop: Callable, deep_pixels: str | None = None
) -> tf.Tensor:
    """Decodes a part of an image; of an upright JPEG, only that part.

    Args:
      image: a scalar string, or pixels.
      draw_crop: maps an image's shape to (top, left, height, width), int32 [4].
      deep_pixels: see `decode`.

    Returns:
      uint8 [height, width, 3].
    """

    def crop(pixels):
        box = draw_crop(tf.shape(pixels))
        return tf.image.crop_to_bounding_box(pixels, *tf.unstack(box))

    if image.dtype != tf.string:
        return crop(image)
    header = headers.read_header(image)
    direct = header.exact & (header.kind == formats.JPEG)
    direct &= header.orientation == 1
    return tf.cond(
        direct,
        lambda: _crop_jpeg(image, draw_crop),
        lambda: crop(_decode_read(image, header, deep_pixels)),
    )


def read_image(
    path: str | os.PathLike, deep_pixels: str | None = None
) -> tf.Tensor:
    """Reads one file of any format that Pillow knows to uint8 [H, W, 3].

    Args:
      path: the file.
      deep_pixels: see `decode`.

    Raises:
      OSError: names the file, its format and why it cannot be read.
    """
    return decode_file(files.read_bytes(path), path, deep_pixels)


def decode_file(
    data: bytes, path: str | os.PathLike, deep_pixels: str | None = None
) -> tf.Tensor:
    """Decodes what `read_image` reads: the content of the file `path`."""
    pillow_files.check_file(data, path)
    try:
        header = headers.read_header(tf.constant(data))
        by_tensorflow = header.exact & (header.kind != formats.GIF)
        if not by_tensorflow and header.kind != formats.PNG:
            return tf.constant(pillow_files.decode(data, deep_pixels))
        _note_deep(header, deep_pixels)
        if not header.exact:
            orientation = pillow_files.read_orientation(data)
            header = header._replace(orientation=tf.constant(orientation))
        return _decode_exact(tf.constant(data), header, deep_pixels)
    except tf.errors.InvalidArgumentError:
        kind = formats.identify(data)
        raise OSError(f"{path} is a damaged or truncated {kind}.") from None
    except ValueError as error:
        raise OSError(f"{path} {error}.") from None


def turn(image: tf.Tensor, orientation: int | tf.Tensor) -> tf.Tensor:
    """Rotates and mirrors [H, W, 3] from an EXIF orientation to upright."""
    orientation = tf.convert_to_tensor(orientation)

    def turn_it():
        axes = tf.gather(_AXES, orientation)
        # `tf.reverse` wants to know how many axes there are beforehand.
        return tf.raw_ops.Reverse(
            tensor=tf.transpose(image, axes),
            dims=tf.gather(_MIRRORED, orientation),
        )

    return tf.cond(orientation == 1, lambda: tf.identity(image), turn_it)


def _decode_read(image, header, deep_pixels):
    """Decodes bytes of any format, whose header was read."""
    if _graph_only.get():
        return _decode_or_refuse(image, header, deep_pixels)

    def decode_exact():
        _note_deep(header, deep_pixels)
        return _decode(image, header, deep_pixels)

    def decode_png():
        _note_deep(header, deep_pixels)
        turned = header._replace(orientation=_find_orientation(image))
        return _decode_exact(image, turned, deep_pixels)

    def read():
        if tf.executing_eagerly():
            return _read_eagerly(image, deep_pixels)
        function = functools.partial(
            pillow_files.decode, deep_pixels=deep_pixels
        )
        return tf.numpy_function(function, [image], "uint8", stateful=False)

    def decode_other():
        return tf.cond(header.kind == formats.PNG, decode_png, read)

    # TensorFlow reads all frames of a GIF, in which no memory may suffice.
    exact = header.exact & (header.kind != formats.GIF)
    pixels = tf.cond(exact, decode_exact, decode_other)
    pixels.set_shape([None, None, 3])
    return pixels


def _decode_or_refuse(image, header, deep_pixels):
    def refuse():
        message = _say_refused(image, header.kind)
        with tf.control_dependencies([tf.debugging.Assert(False, [message])]):
            return tf.zeros([0, 0, 3], "uint8")

    pixels = tf.cond(
        header.exact, lambda: _decode(image, header, deep_pixels), refuse
    )
    pixels.set_shape([None, None, 3])
    return pixels


def _find_orientation(image):
    """Returns the orientation of a PNG whose EXIF data Pillow alone reads.

    Its pixels are TensorFlow's all the same: Pillow keeps 8 of 16 bits.
    """
    if not tf.executing_eagerly():
        found = tf.numpy_function(
            pillow_files.read_orientation, [image], "int32", stateful=False
        )
        return tf.ensure_shape(found, [])
    try:
        return tf.constant(pillow_files.read_orientation(image.numpy()))
    except ValueError as error:  # As in the graph.
        raise tf.errors.InvalidArgumentError(None, None, str(error)) from None


def _read_eagerly(image, deep_pixels):
    try:
        return tf.constant(pillow_files.decode(image.numpy(), deep_pixels))
    except ValueError as error:  # As in the graph.
        raise tf.errors.InvalidArgumentError(None, None, str(error)) from None


def _decode(image, header, deep_pixels):
    """Decodes bytes whose header is exact."""
    plain = (header.kind == formats.JPEG) | (header.kind == formats.PNG)
    return tf.cond(
        plain & (header.orientation == 1) & ~header.deep,
        lambda: _decode_plain(image),
        lambda: _decode_exact(image, header, deep_pixels),
    )


@headers.outline
def _decode_exact(image, header, deep_pixels):
    branches = [
        lambda: _decode_plain(image),
        lambda: _decode_png(image, header, deep_pixels),
        lambda: _decode_any(image, 3),
        lambda: _decode_any(image, 0),
        lambda: _decode_any(image, 0),
    ]
    return turn(tf.switch_case(header.kind, branches), header.orientation)


def _decode_plain(image):
    """Decodes a JPEG, or a PNG of up to 8 bits; TensorFlow's op takes both."""
    return tf.io.decode_jpeg(image, channels=3, dct_method=_DCT)


def _decode_any(image, channels):
    """Decodes a GIF, BMP or WebP, of the latter all channels there are."""
    pixels = tf.io.decode_image(
        image, channels=channels, expand_animations=False
    )
    # Asked for three channels, TensorFlow refuses the latter's fourth.
    return tf.ensure_shape(pixels[..., :3], [None, None, 3])


def _decode_png(image, header, deep_pixels):
    def decode_deep():
        samples = tf.io.decode_png(image, channels=3, dtype="uint16")
        depth = tf.constant(16)
        if deep_pixels != "full":
            largest = tf.cast(tf.reduce_max(samples), "int32")
            depth = _used_depth(largest, header.used_bits)
        shift = tf.cast(depth - 8, "uint16")
        return tf.cast(tf.bitwise.right_shift(samples, shift), "uint8")

    return tf.cond(
        header.deep,
        decode_deep,
        lambda: _decode_plain(image),
    )


def _used_depth(largest, said):
    """Returns how many bits samples use; `said` in the file, or 0."""
    depth = tf.constant(16)
    for known in reversed(pillow_files.DEPTHS):
        depth = tf.where(largest < 2**known, known, depth)
    # A file that says how many bits count has stretched them to all 16, unless
    # no sample is larger than they are.
    fits = largest < tf.bitwise.left_shift(1, said)
    said_depth = tf.where(fits, tf.maximum(said, 8), 16)
    return tf.where(said > 0, said_depth, depth)


def _crop_jpeg(image, draw_crop):
    shape = tf.image.extract_jpeg_shape(image)
    box = draw_crop(shape)
    # Exact to the edge, by a margin that is then cut off.
    begin = tf.maximum(box[:2] - _CROP_MARGIN, 0)
    end = tf.minimum(box[:2] + box[2:] + _CROP_MARGIN, shape[:2])
    pixels = tf.image.decode_and_crop_jpeg(
        image, tf.concat([begin, end - begin], 0), channels=3, dct_method=_DCT
    )
    top, left = tf.unstack(box[:2] - begin)
    return pixels[top : top + box[2], left : left + box[3]]


def _say_refused(image, kind):
    """Returns what to say of an image that the graph cannot decode."""
    name = _name(image, kind)
    said = tf.strings.join([name, ", which an exported model cannot decode"])
    return tf.where(name == "", "not an image in a known format", said)


def _name(image, kind):
    """Returns "a TIFF", or what an image is of `_NOT_EXACT`; "" if unknown."""
    name = format_ops.name_format(image)
    vowel = tf.strings.regex_full_match(name, "[AIO].*")
    other = tf.strings.join([tf.where(vowel, "an ", "a "), name])
    known = tf.gather([*(name + _OR_LARGE for name in _NOT_EXACT), ""], kind)
    return tf.where((known == "") & (name != ""), other, known)


def _note_deep(header, deep_pixels):
    """Logs, once, how the samples of a PNG of 16 bits are scaled."""
    # A call of Python an image would be felt where images are small.
    if deep_pixels is None or pillow_files.is_noted(deep_pixels):
        return
    if tf.executing_eagerly():
        if header.deep:
            pillow_files.note_deep(deep_pixels)
        return

    def note(_):
        pillow_files.note_deep(deep_pixels)
        return True

    tf.cond(
        header.deep,
        # Of a function without inputs the result may be computed beforehand.
        lambda: tf.numpy_function(note, [header.deep], "bool"),
        lambda: True,
    )
