"""Checkpoints: all state that a resumed run needs, written atomically."""

import math
import os
import pathlib
import re
import shutil
from collections.abc import Sequence

import keras
import numpy as np
from absl import logging

from efficientnet_tf.utils import documents, files, untrusted, zip_files

STATE_FILE = "state.npz"
ABOUT_FILE = "about.json"
PREFIX = "step_"
_ABOUT = {"step": int, "score": int | float | None}


def save(
    directory: str | os.PathLike,
    variables: Sequence[keras.Variable],
    step: int,
    *,
    keep: int,
    score: float | None = None,
) -> pathlib.Path:
    """Writes a checkpoint atomically, and removes old ones.

    Args:
      directory: holds all checkpoints of the run.
      variables: Keras variables, see `state_of`; their order is the format.
      step: optimizer steps so far.
      keep: how many of the newest to keep, besides the best one.
      score: the accuracy that defines "best", higher is better; None: not
        measured.

    Returns:
      The checkpoint's folder.
    """
    directory = pathlib.Path(directory)
    path = directory / f"{PREFIX}{step:09d}"
    with files.atomic(path) as folder:
        folder.mkdir(parents=True)
        arrays = {
            f"{i:05d}": keras.ops.convert_to_numpy(variable.value)
            for i, variable in enumerate(variables)
        }
        np.savez(folder / STATE_FILE, **arrays)
        files.write_json(folder / ABOUT_FILE, {"step": step, "score": score})
    # Left behind by a run that resumed from an older checkpoint.
    for later in list_newest(directory):
        if _step_of(later) > step:
            shutil.rmtree(later, ignore_errors=True)
    newest = list_newest(directory)
    for old in newest[keep:]:
        if old != find_best(directory):
            shutil.rmtree(old, ignore_errors=True)
    return path


def restore(
    directory: str | os.PathLike, variables: Sequence[keras.Variable]
) -> int:
    """Loads the newest readable checkpoint.

    Returns:
      Its step; 0 if there is no checkpoint.

    Raises:
      OSError: there are checkpoints, but none of them can be read.
      ValueError: a checkpoint is of another network or optimizer.
    """
    folders = list_newest(directory)
    for folder in folders:
        try:
            arrays = _read(folder, variables)
        except (OSError, untrusted.DamagedError) as error:
            logging.warning(
                "%s is damaged (%s); trying the one before.", folder, error
            )
            continue
        _assign(arrays, variables)
        step = _step_of(folder)
        logging.info("Resuming after step %d from %s.", step, folder)
        return step
    if folders:
        raise OSError(
            f"No checkpoint in {directory} can be read; delete that folder to "
            "start from the beginning."
        )
    return 0


def load(folder: pathlib.Path, variables: Sequence[keras.Variable]) -> None:
    """Loads one checkpoint, e.g. the best."""
    _assign(_read(folder, variables), variables)


def list_newest(directory: str | os.PathLike) -> list[pathlib.Path]:
    """Returns the folders that `save` wrote, newest first."""
    found = pathlib.Path(directory).glob(f"{PREFIX}*")
    return sorted(filter(_is_checkpoint, found), reverse=True)


def find_best(directory: str | os.PathLike) -> pathlib.Path | None:
    """Returns the folder with the highest score; None if none has one."""
    scored = [
        (about["score"], _step_of(folder), folder)
        for folder in list_newest(directory)
        if (about := _about(folder)).get("score") is not None
    ]
    return max(scored)[2] if scored else None


def state_of(model: keras.Model) -> list[keras.Variable]:
    """Returns all variables of a compiled model: weights, seeds, optimizer."""
    model.optimizer.build(model.trainable_variables)
    return [*model.variables, *model.optimizer.variables]


def _read(folder, variables):
    """Returns the arrays of a checkpoint, whose shapes are the variables'.

    The shapes are compared before any array is read: memory for what a header
    claims would be allocated first.
    """
    path = folder / STATE_FILE
    with zip_files.open_zip(path) as archive:
        names = sorted(archive.namelist())
        with untrusted.reading(path):
            shapes = [_read_shape(archive, name) for name in names]
        if shapes != [tuple(variable.shape) for variable in variables]:
            raise ValueError(
                f"{folder} holds another network or optimizer: {len(shapes)} "
                f"arrays for {len(variables)} variables, or other shapes."
            )
        with untrusted.reading(path):
            # Reading an array to its end also verifies its checksum.
            return [_read_array(archive, name) for name in names]


def _read_shape(archive, name):
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read(file)
        size = archive.getinfo(name).file_size - file.tell()
    if dtype.kind not in "fiub" or size != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name} is not the array that it says")
    return shape


def _read_array(archive, name):
    with archive.open(name) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _assign(arrays, variables):
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def _about(folder):
    try:
        return documents.read_object(folder / ABOUT_FILE, _ABOUT)
    except (OSError, untrusted.DamagedError):
        return {}


def _is_checkpoint(folder):
    return re.fullmatch(rf"{PREFIX}[0-9]{{1,18}}", folder.name)


def _step_of(folder):
    return int(folder.name.removeprefix(PREFIX))
