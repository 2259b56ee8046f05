"""Where an image lies in a network's input, and which part it shows."""

from collections.abc import Sequence

import tensorflow as tf

from efficientnet_tf.data import shapes


def find_crop(
    shape: Sequence[int] | tf.Tensor, preparation: shapes.Preparation
) -> tuple[tf.Tensor, ...]:
    """Returns the centre part that "crop" keeps of an image.

    Args:
      shape: of the image, [H, W] or [H, W, 3].
      preparation: with resize="crop".

    Returns:
      (top, left, height, width) in pixels of the image.
    """
    shape = tf.convert_to_tensor(shape)
    height, width = shape[0], shape[1]
    rows, columns = preparation.size
    border = preparation.crop_padding or 0
    padded_rows, padded_columns = rows + border, columns + border
    # The side that the image has less of decides, in float32 as the official
    # code has it.
    high = tf.cast(height, "int64") * padded_columns
    flat = high <= tf.cast(width, "int64") * padded_rows
    sides = (
        tf.where(
            flat,
            _scale(height, rows / padded_rows),
            _scale(width, rows / padded_columns),
        ),
        tf.where(
            flat,
            _scale(height, columns / padded_rows),
            _scale(width, columns / padded_columns),
        ),
    )
    box_height = tf.clip_by_value(sides[0], 1, height)
    box_width = tf.clip_by_value(sides[1], 1, width)
    top = (height - box_height + 1) // 2
    left = (width - box_width + 1) // 2
    return top, left, box_height, box_width


def _scale(side, share):
    return tf.cast(share * tf.cast(side, "float32"), "int32")


def find_place(
    shape: Sequence[int] | tf.Tensor, preparation: shapes.Preparation
) -> tuple[tf.Tensor, ...]:
    """Returns where "letterbox" puts an image in the network's input.

    Args:
      shape: of the image, [H, W] or [H, W, 3].
      preparation: of any kind.

    Returns:
      (top, left, height, width) in pixels of the input.
    """
    shape = tf.cast(shape, "int64")  # Products exceed int32.
    height, width = shape[0], shape[1]
    rows, columns = (tf.constant(n, "int64") for n in preparation.size)
    flat = height * columns <= width * rows
    place_height = tf.where(flat, _share(height, columns, width), rows)
    place_width = tf.where(flat, columns, _share(width, rows, height))
    top, left = (rows - place_height) // 2, (columns - place_width) // 2
    found = (top, left, place_height, place_width)
    return tuple(tf.cast(side, "int32") for side in found)


def _share(side, times, by):
    """Returns side * times / by, rounded, at least 1."""
    return tf.maximum((2 * side * times + by) // (2 * by), 1)


def find_seen(
    shape: Sequence[int], preparation: shapes.Preparation
) -> tuple[float, float, float, float]:
    """Returns which part of an image the network's input shows.

    Args:
      shape: of the image, [H, W] or [H, W, 3].
      preparation: of any kind.

    Returns:
      (top, left, height, width) in pixels of the image; the bars of a letterbox
      lie outside it.
    """
    height, width = shape[0], shape[1]
    if preparation.resize == shapes.CROP:
        found = map(float, find_crop(shape, preparation))
        top, left, rows, columns = found
        return top, left, rows, columns
    if preparation.resize == shapes.SQUASH:
        return 0.0, 0.0, float(height), float(width)
    place = map(int, find_place(shape, preparation))
    top, left, place_height, place_width = place
    down, across = height / place_height, width / place_width
    return (
        -top * down,
        -left * across,
        preparation.height * down,
        preparation.width * across,
    )
