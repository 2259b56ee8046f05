"""Random crops, flips and mixtures, drawn by the host, made on the device.

The host draws a few numbers an image and sends the pixels as they are stored,
uint8 and small; cropping, resizing, flipping and mixing are part of the
compiled step. Keras operations only, so that every backend can do it.
"""

from keras import ops

from efficientnet_tf.data import sharpening

# How many pixels on either side of a place its value is made of, as in
# `tf.image.resize`.
_REACH = {"bilinear": 1.0, "bicubic": 2.0, sharpening.NAME: 2.0}
KERNELS = tuple(_REACH)


def augment(inputs, size, interpolation):
    """Makes the images that the host has drawn.

    Args:
      inputs: a dict of
        "images": uint8 [N, H, W, 3];
        "boxes": float32 [N, 4], top, left, height and width of the crops in
          pixels of `images`;
        "flips": float32 [N], 1 where left and right are to be mirrored;
        and, if the batch is mixed with itself in reverse, `mixing.draw`'s
        "shares": float32 [N], of the image itself;
        "paste": float32 [4], top, left, bottom and right, in pixels of the
          result, of the box that is taken from the other image.
      size: pixels a side of the result.
      interpolation: one of `KERNELS`.

    Returns:
      float32 [N, size, size, 3] with values in [0, 255].
    """
    images = crop_and_resize(
        inputs["images"], inputs["boxes"], inputs["flips"], size, interpolation
    )
    if "shares" not in inputs:
        return images
    return _mix(images, inputs["shares"], inputs["paste"])


def crop_and_resize(images, boxes, flips, size, interpolation):
    """Crops [N, H, W, C], resizes and mirrors; see `augment`.

    Equals `tf.image.resize` of the crop where boxes are whole pixels.

    Raises:
      ValueError: another interpolation than `KERNELS`.
    """
    if interpolation not in KERNELS:
        raise ValueError(
            f"interpolation={interpolation!r} is not one of "
            f"{', '.join(KERNELS)}."
        )
    height, width = images.shape[1:3]
    top, left, tall, wide = ops.split(ops.cast(boxes, "float32"), 4, axis=1)
    rows = _weights(top, tall, height, size, interpolation)
    columns = _weights(left, wide, width, size, interpolation)
    flips = ops.cast(flips, "float32")
    mirrored = ops.reshape(flips, (-1, 1, 1)) > 0.5
    columns = ops.where(mirrored, ops.flip(columns, axis=1), columns)
    images = ops.cast(images, "float32")
    # Rows first: what is then left is smaller if the result is.
    images = ops.einsum("nyh,nhwc->nywc", rows, images)
    images = ops.einsum("nxw,nywc->nyxc", columns, images)
    # The cubic kernel overshoots.
    return ops.clip(images, 0.0, 255.0)


def _weights(start, extent, pixels, size, interpolation):
    """Returns [N, size, pixels]: of what each place of a side is made."""
    stop = start + extent
    start, extent, stop = (part[:, :, None] for part in (start, extent, stop))
    places = ops.reshape(ops.arange(size, dtype="float32"), (1, size, 1))
    centers = start + (places + 0.5) * extent / size
    cells = ops.reshape(ops.arange(pixels, dtype="float32"), (1, 1, pixels))
    distance = ops.abs(centers - (cells + 0.5))
    if interpolation == "bilinear":
        weights = 1.0 - distance
    else:  # Keys, 1981, with a = -0.5.
        near = (1.5 * distance - 2.5) * distance**2 + 1.0
        far = ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
        weights = ops.where(distance < 1.0, near, far)
    # No pixel outside of the crop takes part.
    inside = (cells + 1.0 > start) & (cells < stop)
    within = distance < _REACH[interpolation]
    weights = ops.where(inside & within, weights, 0.0)
    weights = weights / ops.sum(weights, axis=2, keepdims=True)
    if interpolation == sharpening.NAME:
        weights = ops.matmul(sharpening.make_mask(size), weights)
    return weights


def _mix(images, shares, paste):
    others = ops.flip(images, axis=0)
    shares = ops.reshape(shares, (-1, 1, 1, 1))
    blended = shares * images + (1.0 - shares) * others
    top, left, bottom, right = (paste[i] for i in range(4))
    places = ops.arange(images.shape[1], dtype=paste.dtype)
    rows = (places >= top) & (places < bottom)
    columns = (places >= left) & (places < right)
    pasted = rows[:, None, None] & columns[None, :, None]
    return ops.where(pasted, others, blended)
