"""Evaluation's preparation of images by Pillow and NumPy alone.

For exported files, whose runtimes start in a tenth of TensorFlow's time. Pixels
equal those of `preprocessing.prepare` to a thousandth of a level:
both take their constants from here.
"""

import functools
import os
from collections.abc import Sequence

import numpy as np

from efficientnet_tf.data import shapes
from efficientnet_tf.data.augment import policies
from efficientnet_tf.data.images import formats, pillow_files

# The unsharp mask, chosen on CIFAR-100 (docs/RESULTS.md): how much of what a
# blur removes is added, and the blur's standard deviation as a fraction of the
# side: half a pixel of a 32-pixel image.
SHARPENING_AMOUNT = 1.5
SHARPENING_RADIUS = 1 / 64

# Interpolations whose results stay in range, or are left as they are; the
# others overshoot and are clipped.
NOT_CLIPPED = (
    "bilinear",
    "nearest",
    "area",
    policies.LEGACY_BILINEAR,
    policies.LEGACY_BICUBIC,
)

# Of TensorFlow's kernels: where they look up a cubic's weights.
_CUBIC_STEPS = 1024


def can_prepare(interpolation: str) -> bool:
    """Whether `prepare` has an interpolation."""
    return interpolation in _TAPS


def decode_file(
    data: bytes, path: str | os.PathLike, deep_pixels: str = "used"
) -> np.ndarray:
    """Decodes the content of a file to upright uint8 [H, W, 3].

    Args:
      data: the whole file.
      path: what messages call it.
      deep_pixels: one of `policies.DEEP_PIXELS`.

    Raises:
      OSError: names the file, its format and why it cannot be read.
    """
    pillow_files.check_file(data, path)
    kind = formats.identify(data[: formats.MAGIC_BYTES])
    if kind == "PNG" and data[24:25] == b"\x10":
        # Of 16 bits Pillow keeps 8; whatever the price, no other pixels.
        from efficientnet_tf.data.images import decoding

        return decoding.decode_file(data, path, deep_pixels).numpy()
    try:
        return pillow_files.decode(data, deep_pixels)
    except ValueError as error:
        raise OSError(f"{path} {error}.") from None


def prepare(image: np.ndarray, preparation: shapes.Preparation) -> np.ndarray:
    """Does what `preprocessing.prepare` does to pixels [H, W, 3].

    Args:
      image: uint8.
      preparation: with an interpolation that `can_prepare` has.

    Returns:
      float32 [height, width, 3].
    """
    if preparation.resize == shapes.CROP:
        top, left, height, width = find_crop(image.shape, preparation)
        image = image[top : top + height, left : left + width]
    if preparation.resize == shapes.LETTERBOX:
        image = _letterbox(image, preparation)
    else:
        image = _resize(image, preparation.size, preparation.interpolation)
    if preparation.interpolation == policies.SHARPENED:
        rows, columns = map(make_mask, preparation.size)
        image = (rows @ image.reshape(len(rows), -1)).reshape(image.shape)
        image = columns @ image
    if preparation.interpolation not in NOT_CLIPPED:
        image = image.clip(0, 255)
    return np.ascontiguousarray(image, "float32")


def find_crop(
    shape: Sequence[int], preparation: shapes.Preparation
) -> tuple[int, ...]:
    """Does what `frames.find_crop` does, which computes in graphs."""
    border = preparation.crop_padding or 0
    padded = [side + border for side in preparation.size]
    height, width = shape[:2]
    axis = 0 if height * padded[1] <= width * padded[0] else 1
    whole = np.float32(shape[axis])
    box = [
        min(max(int(np.float32(side / padded[axis]) * whole), 1), limit)
        for side, limit in zip(preparation.size, shape, strict=False)
    ]
    return (height - box[0] + 1) // 2, (width - box[1] + 1) // 2, *box


def find_place(
    shape: Sequence[int], preparation: shapes.Preparation
) -> tuple[int, ...]:
    """Does what `frames.find_place` does, which computes in graphs."""
    rows, columns = preparation.size
    height, width = shape[:2]
    if height * columns <= width * rows:
        size = max((2 * height * columns + width) // (2 * width), 1), columns
    else:
        size = rows, max((2 * width * rows + height) // (2 * height), 1)
    return (rows - size[0]) // 2, (columns - size[1]) // 2, *size


def _letterbox(image, preparation):
    top, left, *size = find_place(image.shape, preparation)
    found = np.full((*preparation.size, 3), shapes.GREY, "float32")
    resized = _resize(image, size, preparation.interpolation)
    found[top : top + size[0], left : left + size[1]] = resized
    return found


def _resize(image, size, interpolation):
    taps = _TAPS[interpolation]
    image = _resize_rows(image, *taps(image.shape[0], size[0]))
    image = _resize_rows(image.swapaxes(0, 1), *taps(image.shape[1], size[1]))
    return image.swapaxes(0, 1)


def _resize_rows(image, places, weights):
    """Returns weighted sums of rows; both arguments are [rows, taps]."""
    return sum(
        image[places[:, tap]] * weights[:, tap, None, None]
        for tap in range(places.shape[1])
    )


def _locate(length, size, centres):
    """Returns where samples lie, before and after a pixel: [size] each.

    In float32, as the kernels compute.
    """
    scale = np.float32(length) / np.float32(size)
    half = np.float32(0.5 if centres else 0)
    place = (np.arange(size, dtype="float32") + half) * scale - half
    floor = np.floor(place)
    return floor.astype(int), place - floor


def _linear_taps(length, size, *, centres):
    """Returns the rows that each row is made of, and their weights."""
    low, share = _locate(length, size, centres)
    places = np.stack([low, low + 1], 1).clip(0, length - 1)
    return places, np.stack([1 - share, share], 1).astype("float32")


def _cubic_taps(length, size, *, centres, sharpness):
    low, share = _locate(length, size, centres)
    share = np.rint(share * _CUBIC_STEPS) / _CUBIC_STEPS
    near, far = (
        lambda x: ((sharpness + 2) * x - (sharpness + 3)) * x * x + 1,
        lambda x: sharpness * (((x - 5) * x + 8) * x - 4),
    )
    weights = np.stack(
        [far(share + 1), near(share), near(1 - share), far(2 - share)], 1
    )
    places = low[:, None] + np.arange(-1, 3)
    inside = (places >= 0) & (places < length)
    if centres:  # TensorFlow 1 repeated the pixels at the edge.
        weights *= inside
        weights /= weights.sum(1, keepdims=True)
    return places.clip(0, length - 1), weights.astype("float32")


_CUBIC = functools.partial(_cubic_taps, centres=True, sharpness=-0.5)
_TAPS = {
    "bilinear": functools.partial(_linear_taps, centres=True),
    "bicubic": _CUBIC,
    policies.SHARPENED: _CUBIC,
    policies.LEGACY_BILINEAR: functools.partial(_linear_taps, centres=False),
    policies.LEGACY_BICUBIC: functools.partial(
        _cubic_taps, centres=False, sharpness=-0.75
    ),
}


@functools.cache
def make_mask(size: int) -> np.ndarray:
    """Returns an unsharp mask as float32 [size, size]; each row sums to one.

    It is applied along rows and columns, so it is linear and separable, like
    resizing. Uniform areas do not change.
    """
    places = np.arange(size)
    distance = (places[:, None] - places) / (SHARPENING_RADIUS * size)
    blur = np.exp(-(distance**2) / 2)
    blur /= blur.sum(axis=1, keepdims=True)
    mask = (1 + SHARPENING_AMOUNT) * np.eye(size) - SHARPENING_AMOUNT * blur
    return mask.astype("float32")
