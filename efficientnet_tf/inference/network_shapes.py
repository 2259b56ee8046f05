"""Whether a file's network takes and gives what its settings say."""

import pathlib
import typing
from typing import Any

from efficientnet_tf.utils import run_folder, untrusted

if typing.TYPE_CHECKING:
    import keras


def check(
    path: pathlib.Path, network: "keras.Model", settings: dict[str, Any]
) -> None:
    """Raises DamagedError unless a file's network goes with its settings."""
    height, classes = settings["resolution"], len(settings["class_names"])
    size = height, settings["width"] or height
    shapes = []
    for tensors in (network.inputs, network.outputs):
        shapes.append([tuple(tensor.shape) for tensor in tensors])
    inputs, outputs = shapes
    fits = len(inputs) == 1 and len(inputs[0]) == 4
    if not fits or inputs[0] not in (
        (None, *sides, 3) for sides in (size, (None, None))
    ):
        raise untrusted.DamagedError(
            f"{path} takes {_list_shapes(inputs)}, but "
            f"{run_folder.SETTINGS_FILE} says images [N, {size[0]}, "
            f"{size[1]}, 3]."
        )
    if outputs != [(None, classes)]:
        raise untrusted.DamagedError(
            f"{path} gives {_list_shapes(outputs)}, but "
            f"{run_folder.SETTINGS_FILE} names {classes} classes."
        )


def _list_shapes(shapes):
    return untrusted.shorten(", ".join(map(str, shapes)) or "nothing")
