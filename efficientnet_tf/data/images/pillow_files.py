"""Image files that TensorFlow cannot decode, or not rightly, by Pillow."""

import contextlib
import importlib
import io
import os
import re
import threading
import warnings

import numpy as np
from absl import logging
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from efficientnet_tf.data.images import formats

# The bits that an image may use of 16, see `policies.DEEP_PIXELS`.
DEPTHS = (8, 10, 12, 14, 16)

# What is said of them, and what was said; of several threads one says it.
_NOTES = {
    "used": "by the bits that each one uses "
    f"({', '.join(map(str, DEPTHS))}); deep_pixels=full takes all 16",
    "full": "by all 16 bits, as deep_pixels=full says",
}
_noted: set[str] = set()
_lock = threading.Lock()

# A package with a Pillow plugin for HEIC; Pillow has none.
_HEIF = "pillow_heif"

_UNKNOWN = "is not an image in a known format"

# Formats of Pillow that others draw: Ghostscript runs PostScript, a programming
# language, and Windows its metafiles.
_PROGRAMS = ("EPS", "WMF")

# Pixels that are converted at a time: an image need not be there twice.
_STRIP_PIXELS = 2**22

# A progressive JPEG has about ten scans. Each takes as long as decoding the
# image, however few its bytes are. What looks like more may stand in data that
# follow the image, such as a film.
_MOST_SCANS, _SCAN_BYTES = 64, 2**13

# TIFF's tag for the bits of a sample.
_BITS_PER_SAMPLE = 258


class TooLargeError(ValueError):
    """An image of more pixels than are decoded."""


def decode(data: bytes, deep_pixels: str | None = None) -> np.ndarray:
    """Decodes the bytes of a file to upright uint8 [H, W, 3].

    Args:
      data: the whole file.
      deep_pixels: one of `policies.DEEP_PIXELS`, which is logged once if the
        file has such pixels; None: "used", and nothing is logged.

    Raises:
      ValueError: says what is wrong with it, to follow the file's name.
    """
    kind = formats.identify(data[: formats.MAGIC_BYTES])
    if kind == "HEIC":
        _register_heif()
    image, deep = _open(data, kind)
    with _explained(kind):
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
    return _to_rgb(image, kind or image.format, deep, deep_pixels)


def check_file(data: bytes, path: str | os.PathLike) -> None:
    """Raises OSError for a file that is empty, or takes far too long."""
    if not data:
        raise OSError(f"{path} is empty.")
    scans = data.count(b"\xff\xda") if data.startswith(b"\xff\xd8") else 0
    if scans > _MOST_SCANS + len(data) // _SCAN_BYTES and b"\xff\xc2" in data:
        raise OSError(f"{path} is a JPEG of {scans:,} scans, far too many.")


def read_size(data: bytes) -> tuple[int, int]:
    """Returns the width and height that a file's header says.

    Raises:
      TooLargeError: so many pixels are not decoded.
      ValueError: as from `decode`.
    """
    kind = formats.identify(data[: formats.MAGIC_BYTES])
    if kind == "HEIC":
        _register_heif()
    return _open(data, kind)[0].size


def read_orientation(data: bytes) -> np.int32:
    """Returns the EXIF orientation that Pillow turns an image by, 1 to 8.

    Raises:
      ValueError: as from `decode`.
    """
    kind = formats.identify(data[: formats.MAGIC_BYTES])
    opened, _ = _open(data, kind)
    with _explained(kind):
        opened.load()  # A text may stand behind the pixels.
        found = opened.getexif().get(ExifTags.Base.Orientation, 1)
    return np.int32(found if found in range(1, 9) else 1)


def note_deep(deep_pixels: str) -> None:
    """Logs, once a process, how samples of 16 bits become 8."""
    with _lock:
        if is_noted(deep_pixels):
            return
        _noted.add(deep_pixels)
    logging.info(
        "Images of 16 bits a sample are scaled to 8 %s.", _NOTES[deep_pixels]
    )


def is_noted(deep_pixels: str) -> bool:
    """Whether `note_deep` has logged it."""
    return deep_pixels in _noted


def count_bits(samples: np.ndarray) -> int:
    """Returns the smallest of `DEPTHS` that holds every sample."""
    largest = int(samples.max(initial=0))
    return next(depth for depth in DEPTHS if largest < 2**depth)


def _open(data, kind):
    """Returns an image that is not loaded yet, and whether it has 16 bits.

    Raises:
      ValueError: also for one of too many pixels.
    """
    with _explained(kind):
        Image.init()
        known = [name for name in Image.ID if name not in _PROGRAMS]
        image = Image.open(io.BytesIO(data), formats=known)
        deep = _is_deep(image)
    wide = deep or image.mode.startswith("I")
    wide |= kind == "WebP" or (kind == "PNG" and data[24] == 16)
    limit = formats.MOST_WIDE_PIXELS if wide else formats.MOST_PIXELS
    if image.width * image.height > limit:
        raise TooLargeError(_say_large(kind, image.width * image.height, limit))
    return image, deep


@contextlib.contextmanager
def _explained(kind):
    """Turns what Pillow raises into a ValueError that says what is wrong."""
    # Of damaged EXIF data and of large images: this room has its own limit.
    with warnings.catch_warnings(action="ignore"):
        try:
            yield
        except UnidentifiedImageError:
            raise ValueError(_say_unknown(kind)) from None
        except Image.DecompressionBombError as error:
            count = re.search(r"\d+", str(error))
            pixels = int(count[0]) if count else formats.MOST_PIXELS + 1
            # Pillow's limit is twice what it warns at; a program may lower it.
            limit = 2 * (Image.MAX_IMAGE_PIXELS or formats.MOST_PIXELS)
            limit = min(limit, formats.MOST_PIXELS)
            raise TooLargeError(_say_large(kind, pixels, limit)) from None
        # Pillow's plugins raise what they like on damaged files.
        except Exception as error:
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            said = f"is a damaged or truncated {kind}" if kind else _UNKNOWN
            raise ValueError(f"{said} ({reason})") from None


def _to_rgb(image, kind, deep, deep_pixels):
    if image.mode == "F":
        raise ValueError(
            f"is a {kind} of floating-point samples, whose range is unknown"
        )
    if image.mode.startswith("I"):
        return _scale(np.asarray(image), kind, deep_pixels)
    pixels = _convert(image)
    if deep:
        # Pillow keeps the upper 8 of the 16 bits of each colour.
        if deep_pixels is not None:
            note_deep(deep_pixels)
        if pixels.max(initial=0) < 2**6:  # Whatever `deep_pixels` says.
            raise ValueError(
                f"is a {kind} of 16 bits a colour that uses 14 or fewer, of "
                "which Pillow keeps too few; convert it to 8 bits"
            )
    return pixels


def _convert(image):
    """Returns an image as uint8 [H, W, 3]."""
    image.info.pop("transparency", None)  # Else Pillow warns that it is lost.
    width, height = image.size
    pixels = np.empty((height, width, 3), "uint8")
    rows = max(1, _STRIP_PIXELS // max(width, 1))
    for top in range(0, height, rows):
        end = min(top + rows, height)
        strip = image
        if rows < height:
            strip = image.crop((0, top, width, end))
        pixels[top:end] = np.asarray(strip.convert("RGB"))
    return pixels


def _scale(samples, kind, deep_pixels):
    """Scales grey samples of up to 16 bits to uint8 [H, W, 3]."""
    if samples.min(initial=0) < 0 or samples.max(initial=0) >= 2**16:
        raise ValueError(f"is a {kind} of samples outside 0 to 65535")
    if deep_pixels is not None:
        note_deep(deep_pixels)
    depth = 16 if deep_pixels == "full" else count_bits(samples)
    grey = (samples >> (depth - 8)).astype("uint8")
    return np.repeat(grey[..., None], 3, axis=-1)


def _is_deep(image):
    """Whether an image that is not loaded yet has 16 bits a sample."""
    if image.format == "PPM":  # Of any other maximum, Pillow scales by that.
        return image.tile[0].args[-1] == 2**16 - 1
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (8,))
    return max(bits) > 8


def _say_large(kind, pixels, limit):
    return (
        f"is a {kind or 'file'} of {pixels:,} pixels, more than the "
        f"{limit:,} that are decoded"
    )


def _say_unknown(kind):
    if kind == "HEIC":
        return "is a HEIC, which `pip install pillow-heif` makes readable"
    if kind.upper() in Image.OPEN:
        return f"is a damaged or truncated {kind}"
    if kind:
        return f"is a {kind} that Pillow {Image.__version__} cannot read"
    return _UNKNOWN


def _register_heif():
    try:
        plugin = importlib.import_module(_HEIF)
    except ImportError:
        return  # Then Pillow does not know the format.
    plugin.register_heif_opener()
