"""Checkpoints of a training run: everything a resumed run needs, atomically."""

import json
import pathlib
import shutil
import zipfile

import keras
import numpy as np
from absl import logging

from efficientnet_tf.utils import files

STATE_FILE = "state.npz"
ABOUT_FILE = "about.json"
PREFIX = "step_"


def save(directory, variables, step, *, keep, score=None):
    """Writes a checkpoint that appears whole or not at all; removes old ones.

    Args:
      directory: of all of a run's checkpoints.
      variables: Keras variables, see `state_of`; their order is the format.
      step: optimizer steps so far.
      keep: how many of the newest stay; the best one stays as well.
      score: what "best" is measured in, higher is better; None: not measured.

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
    # A run that went back to an older checkpoint has left these behind.
    for later in directory.glob(f"{PREFIX}*"):
        if _step_of(later) > step:
            shutil.rmtree(later, ignore_errors=True)
    newest = list_newest(directory)
    for old in newest[keep:]:
        if old != find_best(directory):
            shutil.rmtree(old, ignore_errors=True)
    return path


def restore(directory, variables):
    """Loads the newest readable checkpoint.

    Returns:
      Its step; 0 where there is no checkpoint.

    Raises:
      OSError: there are checkpoints, and none of them can be read.
      ValueError: a checkpoint is of another network or optimizer.
    """
    folders = list_newest(directory)
    for folder in folders:
        try:
            arrays = _read(folder)
        except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
            logging.warning("%s is damaged (%s), trying older.", folder, error)
            continue
        _assign(folder, arrays, variables)
        step = _step_of(folder)
        logging.info("Resuming after step %d from %s.", step, folder)
        return step
    if folders:
        raise OSError(
            f"No checkpoint in {directory} can be read; delete that folder to "
            "start from the beginning."
        )
    return 0


def load(folder, variables):
    """Loads one checkpoint, e.g. the best."""
    _assign(folder, _read(folder), variables)


def list_newest(directory):
    """Returns the folders that `save` wrote, newest first."""
    return sorted(pathlib.Path(directory).glob(f"{PREFIX}*"), reverse=True)


def find_best(directory):
    """Returns the folder with the highest score; None where there is none."""
    scored = [
        (about["score"], _step_of(folder), folder)
        for folder in list_newest(directory)
        if (about := _about(folder)).get("score") is not None
    ]
    return max(scored)[2] if scored else None


def state_of(model):
    """Returns all variables of a compiled model: weights, seeds, optimizer."""
    model.optimizer.build(model.trainable_variables)
    return [*model.variables, *model.optimizer.variables]


def _read(folder):
    # NumPy leaves a file that it cannot read open, unless it is ours.
    with open(folder / STATE_FILE, "rb") as file, np.load(file) as archive:
        # Reads everything, and so checks every array's sum.
        return [archive[name] for name in sorted(archive.files)]


def _assign(folder, arrays, variables):
    shapes = [tuple(array.shape) for array in arrays]
    if shapes != [tuple(variable.shape) for variable in variables]:
        raise ValueError(
            f"{folder} holds another network or optimizer: {len(shapes)} "
            f"arrays for {len(variables)} variables, or other shapes."
        )
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def _about(folder):
    try:
        return json.loads((folder / ABOUT_FILE).read_text())
    except (OSError, ValueError):
        return {}


def _step_of(folder):
    return int(folder.name.removeprefix(PREFIX))
