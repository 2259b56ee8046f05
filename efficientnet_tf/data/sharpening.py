"""An unsharp mask against the blur of enlarging, as a matrix.

Networks of photographs know edges that enlarged small images lack. The mask is
applied along rows and along columns, so that it is linear and separable, as
resizing is.
"""

import functools

import numpy as np

# The interpolation of this name is bicubic, and then the mask.
NAME = "sharpened"

# Chosen on CIFAR-100 (docs/RESULTS.md): how much of what a blur takes away is
# put back on top, and the blur's standard deviation, as a share of the side;
# half a pixel of an image of 32.
AMOUNT = 1.5
RADIUS = 1 / 64


@functools.cache
def make_mask(size):
    """Returns float32 [size, size]: of what each place of a side is made.

    Each row sums to one, so that plain areas stay as they are.

    Args:
      size: pixels a side of the image that is sharpened.
    """
    places = np.arange(size)
    distance = (places[:, None] - places) / (RADIUS * size)
    blur = np.exp(-(distance**2) / 2)
    blur /= blur.sum(axis=1, keepdims=True)
    mask = (1 + AMOUNT) * np.eye(size) - AMOUNT * blur
    return mask.astype("float32")
