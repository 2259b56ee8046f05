"""From what a request holds to the network's input, refused before it costs.

Everything here runs in threads: TensorFlow's and Pillow's decoders leave
Python's lock to others.
"""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import PIL.Image

from efficientnet_tf.data.images import pillow_files
from efficientnet_tf.deploy.server import limits as limits_lib
from efficientnet_tf.inference import classifier as classifier_lib

# An encoded file, or an image as the network takes it.
Image = bytes | np.ndarray


def make_reader(
    classifier: classifier_lib.Classifier, max_pixels: int
) -> Callable[[Image, str], np.ndarray]:
    """Returns a function from an `Image` and its name to [H, W, 3].

    That is float32. It raises `limits.Refused`: 413 for more pixels than
    `max_pixels`, which its header says, and 400 for what cannot be decoded.
    """
    decode = classifier.make_decoder()

    def read(image: Image, name: str) -> np.ndarray:
        if isinstance(image, np.ndarray):
            return image
        name = name or "The image"
        try:
            pillow_files.check_file(image, name)
            _check_pixels(image, name, max_pixels)
            return decode(image, name)
        except OSError as error:
            raise limits_lib.Refused(400, str(error)) from None

    return read


def _check_pixels(data, name, max_pixels):
    try:
        width, height = pillow_files.read_size(data)
    except pillow_files.TooLargeError as error:
        raise limits_lib.Refused(413, f"{name} {error}.") from None
    except ValueError as error:
        raise OSError(f"{name} {error}.") from None
    if width * height > max_pixels:
        raise limits_lib.Refused(
            413,
            f"{name} has {width:,} x {height:,} pixels, more than the "
            f"{max_pixels:,} that this server decodes.",
        )


def make_example() -> bytes:
    """Returns a small image file."""
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (8, 8)).save(buffer, "PNG")
    return buffer.getvalue()


def check_tensor(values: Any, size: tuple[int, int]) -> list[np.ndarray]:
    """Returns the rows of a tensor [N, height, width, 3] as float32.

    Args:
      values: an array, or nested lists of numbers.
      size: (height, width) in pixels.

    Raises:
      limits.Refused: it has another shape, or is not of finite numbers.
    """
    try:
        array = np.asarray(values)
    except ValueError:
        raise limits_lib.Refused(
            400, "The images are lists of different lengths."
        ) from None
    if array.dtype.kind not in "iuf":
        raise limits_lib.Refused(400, "The images must be numbers.")
    check_shape(array.shape, size)
    with np.errstate(over="ignore"):
        array = array.astype("float32")
    if not np.isfinite(array).all():
        raise limits_lib.Refused(400, "The images must be finite numbers.")
    return list(array)


def check_shape(shape: Sequence[int], size: tuple[int, int]) -> None:
    """Raises `limits.Refused` unless a shape is [N, height, width, 3]."""
    if len(shape) != 4 or tuple(shape[1:]) != (*size, 3):
        shown = ", ".join(map(str, shape[:6]))
        raise limits_lib.Refused(
            400,
            f"The images have the shape [{shown}]; it must be [N, {size[0]}, "
            f"{size[1]}, 3], with values from 0 to 255.",
        )


def check_count(images: Sequence[Any]) -> None:
    """Raises `limits.Refused` if a request holds no images."""
    if not len(images):
        raise limits_lib.Refused(400, "The request holds no images.")
