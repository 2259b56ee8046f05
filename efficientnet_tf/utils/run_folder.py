"""The folders of runs and studies: names of their files, and how they start."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import filelock
from absl import logging

from efficientnet_tf.utils import (
    configs,
    data_names,
    documents,
    files,
    run_lock,
    untrusted,
)

# In a run's folder.
CONFIG_FILE = "config.json"
RESULTS_FILE = "results.jsonl"
METRICS_FILE = "metrics.jsonl"
MODEL_FILE = "model.keras"
CHECKPOINTS = "checkpoints"
# All logs stand in it itself: a folder with logs is a run to TensorBoard.
LOGS = "tensorboard"
SAVED_MODEL_FILE = "saved_model.pb"  # In place of it, of other origin.
SETTINGS_FILE = "classifier.json"  # Its classes and image preparation.
UNKNOWN_FILE = "unknown.npz"  # What tells images of none of its classes.
EXAMPLES = "examples"  # A few images that the run was scored on.

# What each of its rows has.
METRICS = {"epoch": float, "seconds": float}

# Of a run on a folder of images: which file was in which split, files that
# could not be read, and images that several splits have in common.
IMAGES_FILE = "images.csv"
UNREADABLE_FILE = "unreadable.csv"
NEAR_DUPLICATES_FILE = "near_duplicates.csv"

# In the folder of a cross-validation: that of each fold's run, from 0 on; and
# what each image got of the run that had not seen it.
FOLD = "fold"
MOST_FOLDS = 100
OUT_OF_FOLD_FILE = "out_of_fold.csv"

# In the folder of a study or a grid, which has many runs.
PLAN_FILE = "plan.json"


# The fields of a run's config that are read from the file, and their types; the
# others are only compared.
_CONFIG_KINDS = {
    "dataset": str,
    "folds": int | None,
    "group_by": str | None,
    "labels": list | None,
    "network": dict,
    "pipeline": int,
    "quantization": str,
    "splits": list,
    "targets": list | None,
    "task": str,
    "train_on": str,
}


def start_run(
    workdir: str | os.PathLike,
    run: dict,
    upgrade: Callable[[dict], dict] = dict,
    needs: Mapping[str, type] = files.NOTHING,
) -> dict | None:
    """Checks a run's folder; returns the result of a finished run, or None.

    Args:
      workdir: the folder; it need not exist.
      run: the run's config.
      upgrade: converts a config of an earlier version to the present one.
      needs: see `check_result`.

    Raises:
      OSError: `workdir` cannot be made or used as an output folder, or what is
        in it is damaged.
      ValueError: it holds another run.
    """
    workdir = pathlib.Path(workdir)
    files.check_folder(workdir)
    check_run(workdir / CONFIG_FILE, run, upgrade)
    result = last_result(workdir)
    if result is not None:
        check_result(workdir, result, needs)
        logging.info("%s is finished; delete it to train again.", workdir)
    return result


@contextlib.contextmanager
def working_on(
    workdir: str | os.PathLike,
    run: dict,
    upgrade: Callable[[dict], dict] = dict,
    needs: Mapping[str, type] = files.NOTHING,
) -> Iterator[dict | None]:
    """Yields the result of `start_run`; None: the run is this process's alone.

    Raises:
      OSError, ValueError: see `start_run`.
      run_lock.InUse: another process is at it.
    """
    finished = start_run(workdir, run, upgrade, needs)
    if finished is not None:
        yield finished
        return
    with run_lock.hold(workdir, CONFIG_FILE):
        # Another process may have begun or ended it meanwhile.
        yield start_run(workdir, run, upgrade, needs)


def has_begun(workdir: str | os.PathLike) -> bool:
    """Whether a folder holds a run that has written its config."""
    return (pathlib.Path(workdir) / CONFIG_FILE).exists()


def name_fold(number: int) -> str:
    """Returns what the folder of a fold's run is called."""
    return f"{FOLD}{number}"


def list_folds(workdir: str | os.PathLike) -> list[pathlib.Path]:
    """Returns the folders of a cross-validation's runs; []: it is none.

    Raises:
      untrusted.DamagedError: the config is damaged.
    """
    path = pathlib.Path(workdir) / CONFIG_FILE
    if not path.is_file():
        return []
    count = read_config(path).get("folds") or 0
    if not 0 <= count <= MOST_FOLDS:
        raise untrusted.DamagedError(
            f"{path}: folds={count} must be from 2 to {MOST_FOLDS}."
        )
    return [pathlib.Path(workdir) / name_fold(i) for i in range(count)]


def check_one_network(workdir: str | os.PathLike | None) -> None:
    """Raises IsADirectoryError for a cross-validation, which has several."""
    folds = list_folds(workdir or "")
    if folds:
        raise IsADirectoryError(
            f"{workdir} holds {len(folds)} folds with a network each, and this "
            f"takes one: name a fold, such as {folds[0]}, or a run on all "
            "images; `predict` and `evaluate` average the folds."
        )


def read_config(path: str | os.PathLike) -> dict[str, Any]:
    """Returns a run's or a study's configuration.

    Raises:
      untrusted.DamagedError: it is not JSON, or a field is mistyped.
    """
    config = documents.read_object(path, _CONFIG_KINDS)
    splits = config.get("splits", [])
    if not all(isinstance(split, str) for split in splits):
        raise untrusted.DamagedError(f"{path}: splits must be names.")
    return config


def read_group_by(
    workdir: str | os.PathLike | None, dataset: str
) -> str | None:
    """Returns --group_by of a run on a folder, which divides it the same way.

    None for another data set, or without such a run: another division would
    put images to train on among those to test on.
    """
    path = pathlib.Path(workdir or "") / CONFIG_FILE
    if workdir is None or not path.exists():
        return None
    config = read_config(path)
    own = config.get("task") or config.get("dataset") or ""
    return config.get("group_by") if data_names.is_same(own, dataset) else None


def start_study(plan: Any, workdir: str | os.PathLike) -> None:
    """Creates the folder of a study, or checks that it belongs to this plan.

    Args:
      plan: a frozen dataclass.
      workdir: the folder.

    Raises:
      OSError: `workdir` cannot be made or used as an output folder.
      ValueError: it belongs to another plan.
    """
    workdir = pathlib.Path(workdir)
    files.check_folder(workdir)
    path = workdir / PLAN_FILE
    # The plan of an earlier version lacks later fields, which did not matter.
    defaults = configs.list_defaults(plan)
    workdir.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(workdir / "plan.lock"):  # Two may begin at once.
        check_run(
            path, dataclasses.asdict(plan), lambda there: defaults | there
        )
        if not path.exists():
            files.write_json(path, dataclasses.asdict(plan))


def check_run(
    path: str | os.PathLike,
    run: dict,
    upgrade: Callable[[dict], dict] = dict,
) -> None:
    """Raises ValueError if the config file `path` is that of another run."""
    path = pathlib.Path(path)
    if not path.exists():
        return
    read = read_config(path)
    try:
        stored = files.to_json_types(upgrade(read))
    except ValueError as error:
        raise untrusted.DamagedError(
            f"{path}: {untrusted.shorten(error)}"
        ) from None
    different = find_difference(stored, files.to_json_types(run))
    if different is not None:
        raise ValueError(
            f"{path.parent} holds another run: {different}. Choose another "
            "workdir, or delete that one."
        )


def find_difference(stored: Mapping, run: Mapping) -> str | None:
    """Returns "FIELD=X there, Y here" of two configs that differ, or None.

    Args:
      stored: a config in JSON's types, from elsewhere.
      run: the config at hand, in JSON's types.
    """
    for field, value in run.items():
        there = stored.get(field)
        if isinstance(value, dict) and isinstance(there, dict):
            # Only the inner field that differs.
            differs = [key for key in value if there.get(key) != value[key]]
            if not differs:
                continue
            field = f"{field}'s {differs[0]}"
            there, value = there.get(differs[0]), value[differs[0]]
        if there != value:
            return (
                f"{field}={untrusted.shorten(repr(there))} there, {value!r} "
                "here"
            )
    return None


def check_result(
    workdir: str | os.PathLike, row: dict, needs: Mapping[str, type]
) -> None:
    """Raises OSError for a result that no run of its kind has written.

    Args:
      workdir: the run's folder.
      row: of `last_result`.
      needs: {field: type}; float: any number.
    """
    wrong = [n for n, kind in needs.items() if not files.is_a(row.get(n), kind)]
    if wrong:
        raise OSError(
            f"{pathlib.Path(workdir) / RESULTS_FILE} is damaged: its last row "
            f"has no {wrong[0]} that a run of this kind writes; delete the row "
            "to end the run again."
        )


def last_result(folder: str | os.PathLike) -> dict | None:
    """Returns the latest result in a run's folder, or None."""
    path = pathlib.Path(folder) / RESULTS_FILE
    rows = files.read_json_lines(path) if path.exists() else []
    return rows[-1] if rows else None


def read_metrics(path: str | os.PathLike) -> list[dict[str, float]]:
    """Returns the rows of a run's `METRICS_FILE`; [] if it has none yet."""
    if not os.path.exists(path):
        return []
    rows = files.read_json_lines(path, METRICS)
    # All else that a row of `progress.JsonLines` has is a number, too.
    return [
        {k: v for k, v in row.items() if isinstance(v, int | float)}
        for row in rows
    ]
