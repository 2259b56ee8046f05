"""The operations of the random policies, by name, and how one is applied."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

from efficientnet_tf.data.augment import image_ops, policies


@dataclasses.dataclass(frozen=True)
class Operation:
    """A function of `image_ops`, and how a level maps to its argument.

    `argument` maps level / MAX_LEVEL and the limits to the function's argument;
    it is None for functions of the image alone. `matrix` is set for geometric
    operations, whose argument is negated for half of the images. `placed`
    operations take a random centre.
    """

    function: Callable
    argument: Callable | None = None
    matrix: Callable | None = None
    placed: bool = False


def _enhance(share, _):
    return share * 1.8 + 0.1


def _shear(share, _):
    return share * 0.3


def _translate(share, limits):
    return share * limits.translate


# Above level 10, and Solarize at 10, the official code's arguments leave the
# range of the bytes that TensorFlow makes of them, and wrap around. Published
# weights were trained like this, so it is not mended here.


def _threshold(share, _):
    return int(share * 256) % 256


def _bits(share, _):
    bits = int(share * 4)
    # The shift of 8 - bits wraps to more than 7, which TensorFlow takes as 7.
    return bits if bits <= 8 else 1


OPERATIONS = {
    "AutoContrast": Operation(image_ops.autocontrast),
    "Equalize": Operation(image_ops.equalize),
    "Invert": Operation(image_ops.invert),
    "Rotate": Operation(
        image_ops.rotate,
        lambda share, _: share * 30,
        image_ops.rotation_matrix,
    ),
    "Posterize": Operation(image_ops.posterize, _bits),
    "Solarize": Operation(image_ops.solarize, _threshold),
    "Color": Operation(image_ops.color, _enhance),
    "Contrast": Operation(image_ops.contrast, _enhance),
    "Brightness": Operation(image_ops.brightness, _enhance),
    "Sharpness": Operation(image_ops.sharpness, _enhance),
    "ShearX": Operation(image_ops.shear_x, _shear, image_ops.shear_x_matrix),
    "ShearY": Operation(image_ops.shear_y, _shear, image_ops.shear_y_matrix),
    "TranslateX": Operation(
        image_ops.translate_x, _translate, image_ops.translate_x_matrix
    ),
    "TranslateY": Operation(
        image_ops.translate_y, _translate, image_ops.translate_y_matrix
    ),
    "Cutout": Operation(
        image_ops.cutout,
        lambda share, limits: int(share * limits.cutout),
        placed=True,
    ),
    "SolarizeAdd": Operation(
        image_ops.solarize_add, lambda share, _: int(share * 110)
    ),
}


def level_argument(name: str, level: float, limits: policies.Limits) -> float:
    """Returns the argument of an operation at a level."""
    argument = OPERATIONS[name].argument
    return (
        0.0
        if argument is None
        else argument(level / policies.MAX_LEVEL, limits)
    )


def apply_all(
    image: tf.Tensor,
    names: Sequence[str],
    indices: tf.Tensor,
    arguments: tf.Tensor,
    draws: tf.Tensor,
) -> tf.Tensor:
    """Applies operations names[index] in turn, none where it is len(names).

    Args:
      image: uint8 [H, W, 3].
      names: of `OPERATIONS`.
      indices: int32 [N].
      arguments: float32 [N], before their signs.
      draws: [N, 3], in [0, 1): for the signs and the centres.

    Returns:
      uint8 [H, W, 3].
    """
    # A loop: branches that are not taken cost time too, and like this their
    # nodes exist once rather than once per row.
    return tf.foldl(
        lambda image, row: _apply(image, names, *row),
        (indices, arguments, draws),
        initializer=tf.convert_to_tensor(image),
    )


def _apply(image, names, index, argument, draws):
    """Applies operation names[index], or none where index is len(names).

    Args:
      argument: a scalar, before its sign.
      draws: three numbers in [0, 1): for the sign and the centre.
    """
    moves = [name for name in names if OPERATIONS[name].matrix]
    others = [name for name in names if name not in moves]
    branches = [
        functools.partial(_run, OPERATIONS[name], image, argument, draws)
        for name in others
    ]
    # All geometric operations share the last branch: only one branch runs, but
    # the nodes of the others cost some time too.
    branches += [
        lambda: tf.identity(image),
        lambda: _move(image, names, index, argument, draws),
    ]
    last = len(branches) - 1
    table = [
        last if name in moves else others.index(name) for name in names
    ] + [last - 1]
    return tf.switch_case(tf.gather(table, index), branches)


def _move(image, names, index, argument, draws):
    argument = tf.where(draws[0] < 0.5, -argument, argument)
    matrices = [
        OPERATIONS[name].matrix(image, argument)
        if OPERATIONS[name].matrix
        else tf.zeros([6])
        for name in names
    ]
    return image_ops.transform(image, tf.stack(matrices)[index])


def _run(operation, image, argument, draws):
    if operation.argument is None:
        return operation.function(image)
    if operation.placed:
        return operation.function(image, argument, draws[1:])
    return operation.function(image, argument)
