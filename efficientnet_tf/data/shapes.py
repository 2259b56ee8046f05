"""What is done to an image of any shape before a network gets it; no framework.

"crop" cuts off what sticks out, "squash" changes the proportions, "letterbox"
keeps all of the image in its proportions, between grey bars.
"""

import dataclasses
from typing import Any

CROP, SQUASH, LETTERBOX = "crop", "squash", "letterbox"
RESIZES = (CROP, SQUASH, LETTERBOX)

# The border, in pixels of the resized image, that evaluation crops away, from
# preprocessing.py of the official code; the usual fraction of 0.875 equals this
# only at 224 pixels.
CROP_PADDING = 32
# Name -> `crop_padding` of a `Preparation`.
CROPS = {"center": 0, "padded": CROP_PADDING, "whole": None}
# Of the bars of a letterbox: YOLO's, near the mean of photographs.
GREY = 114


@dataclasses.dataclass(frozen=True)
class Preparation:
    """All that is done to an image before a network gets it.

    Attributes:
      height: of the network's input, in pixels.
      width: of the network's input, in pixels.
      interpolation: a method of `tf.image.resize`, or one of `policies`.
      resize: one of `RESIZES`.
      crop_padding: of "crop", the largest centre part with the input's
        proportions: so many pixels of the resized image are cut off around it.
        None with the others; earlier versions wrote "squash" as None alone.
      deep_pixels: one of `policies.DEEP_PIXELS`, for encoded images.
    """

    height: int
    width: int
    interpolation: str = "bicubic"
    resize: str = CROP
    crop_padding: int | None = CROP_PADDING
    deep_pixels: str = "used"

    def __post_init__(self):
        resize, padding = settle(self.resize, self.crop_padding)
        object.__setattr__(self, "resize", resize)
        object.__setattr__(self, "crop_padding", padding)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the network's input."""
        return self.height, self.width


def make(size: int | tuple[int, int], **options: Any) -> Preparation:
    """Returns a `Preparation`; one number is height and width."""
    height, width = (size, size) if isinstance(size, int) else size
    return Preparation(height, width, **options)


def settle(resize: str, crop_padding: int | None) -> tuple[str, int | None]:
    """Returns `resize` and `crop_padding` as `Preparation` has them."""
    if resize == CROP and crop_padding is None:
        return SQUASH, None
    return resize, crop_padding if resize == CROP else None
