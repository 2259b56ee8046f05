"""What a run's folder has for its report."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from efficientnet_tf.utils import (
    documents,
    files,
    run_folder,
    tables,
    target_scores,
    targets,
    untrusted,
)
from transfer.report import results
from transfer.scores import (
    environment as environment_lib,
    predictions,
    target_answers,
)


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished fine-tuning run.

    `found` are predictions of the scored images, `held_out` those of images
    that were held out while it was made; None: no such file. `notes` say what
    is missing.
    """

    folder: pathlib.Path
    row: dict[str, Any]
    config: dict[str, Any]
    environment: dict[str, Any]
    found: predictions.Predictions | None
    held_out: predictions.Predictions | None
    notes: list[str]
    # Of labels or numbers, in place of predictions, with the images' names.
    answers: target_scores.Answers | None = None
    image_names: Sequence[str] = ()

    @property
    def class_names(self) -> list[str]:
        return self.row.get("class_names") or []

    @property
    def cells(self) -> np.ndarray | None:
        """Rows [true class, predicted class, images]; None: not recorded.

        Of many classes the whole matrix would fill the memory.
        """
        cells = self.row.get("confusion")
        return np.array(cells) if cells else None

    @property
    def title(self) -> str:
        """What its data set is called: a folder by its name."""
        task = self.row["task"]
        kind, separator, path = task.partition(":")
        if not separator:
            return task
        return os.path.basename(os.path.abspath(path)) or task


def is_run(folder: str | os.PathLike) -> bool:
    """Whether a folder is of one fine-tuning run on a set of its own."""
    path = pathlib.Path(folder)
    if not (path / run_folder.CONFIG_FILE).is_file():
        return False
    row = run_folder.last_result(path)
    return row is not None and "recipe" in row and not row.get("published")


def read(folder: str | os.PathLike) -> Run:
    """Reads a finished fine-tuning run.

    Raises:
      OSError: there is none.
      untrusted.DamagedError: its row of results is damaged.
    """
    folder = pathlib.Path(folder)
    files.check_exists(folder)
    if (folder / run_folder.PLAN_FILE).exists():
        raise FileNotFoundError(
            f"{folder} holds many runs: name one of them, or report all by "
            f"--results={folder}."
        )
    if not (folder / run_folder.RESULTS_FILE).exists():
        raise FileNotFoundError(
            f"{folder} holds no finished fine-tuning run: "
            f"{run_folder.RESULTS_FILE} is missing."
        )
    row = results.read_results([folder])[-1]
    config = {}
    if (folder / run_folder.CONFIG_FILE).exists():
        config = run_folder.read_config(folder / run_folder.CONFIG_FILE)
    notes: list[str] = []
    classes = len(row.get("class_names") or ())
    answers, names = _read_answers(folder, row, notes)
    found, held_out = (
        _read_predictions(folder / name, classes, notes)
        for name in (predictions.PREDICTIONS_FILE, predictions.HELD_OUT_FILE)
    )
    if found is not None and found.size != row.get("test_images", found.size):
        notes.append(
            f"{predictions.PREDICTIONS_FILE} has {found.size:,} images, but "
            f"the run was scored on {row['test_images']:,}: it is left out."
        )
        found = None
    elif (
        found is None
        and not _has_targets(row)
        and not (folder / predictions.PREDICTIONS_FILE).exists()
    ):
        notes.append(
            f"There is no {predictions.PREDICTIONS_FILE}, which earlier "
            "versions did not write: calibration, accuracy over confidence, "
            "the most wrong images and likely wrong labels are left out."
        )
    return Run(
        folder,
        row,
        config,
        _read_environment(folder, notes),
        found,
        held_out,
        notes,
        answers,
        names,
    )


def count_train_images(run: Run) -> np.ndarray | None:
    """Returns how many images of each class were trained on; None: unknown."""
    counts = run.row.get("train_counts")
    if counts and len(counts) == len(run.class_names):
        if all(files.is_a(count, int) for count in counts):
            return np.array(counts)
    # Of an earlier version; the list of a folder's images is known.
    path = run.folder / run_folder.IMAGES_FILE
    if not path.exists():
        return None
    parts = str(run.config.get("train_on", "train")).split("+")
    places = {name: i for i, name in enumerate(run.class_names)}
    counts = np.zeros(len(places), int)
    for line in tables.read_csv(path):
        if line.get("split") in parts and line.get("label") in places:
            counts[places[line["label"]]] += 1
    return counts


def _has_targets(row):
    return row.get("target") in targets.METRICS


def _read_answers(folder, row, notes):
    """Returns what was said of labels or numbers, and names; or None, ()."""
    if not _has_targets(row):
        return None, ()
    outputs = len(row.get("class_names") or ())
    try:
        read = target_answers.read(
            folder / target_answers.ANSWERS_FILE, outputs
        )
    except (OSError, untrusted.DamagedError) as error:
        notes.append(f"Left out: {untrusted.shorten(error)}")
        return None, ()
    if read is None:
        notes.append(
            f"There is no {target_answers.ANSWERS_FILE}: the most wrong images "
            "are left out."
        )
        return None, ()
    return read


def _read_predictions(path, classes, notes):
    try:
        return predictions.read(path, classes)
    except (OSError, untrusted.DamagedError) as error:
        notes.append(f"Left out: {untrusted.shorten(error)}")
        return None


def _read_environment(folder, notes):
    path = folder / environment_lib.ENVIRONMENT_FILE
    if not path.exists():
        notes.append(
            f"There is no {path.name}, which earlier versions did not write: "
            "date, machine and versions are not known."
        )
        return {}
    try:
        return documents.read_object(path, environment_lib.KINDS)
    except untrusted.DamagedError as error:
        notes.append(f"Left out: {untrusted.shorten(error)}")
        return {}
