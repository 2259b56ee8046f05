"""What a cross-validation shows: each image by a run that had not seen it."""

import dataclasses
import pathlib
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from efficientnet_tf.data.sets import split_list
from efficientnet_tf.utils import (
    run_folder,
    tables,
    target_scores,
    targets,
    untrusted,
)
from transfer.scores import (
    calibration,
    gallery,
    predictions,
    target_answers,
)

# What rows of all folds have alike.
_ALIKE = (
    *("task", "model", "weights", "recipe", "changed", "seed", "metric"),
    *("target", "class_names", "parameters", "epochs", "steps"),
    *("resolution", "width", "resize"),
)
SPLIT = "out-of-fold"


def gather(workdir: pathlib.Path, rows: Sequence[dict]) -> dict[str, Any]:
    """Writes the answers of all folds as one, and returns the row of all.

    Args:
      workdir: of the cross-validation.
      rows: of its runs, in the order of the folds.

    Returns:
      The fields of a run's row. "score" is over all images at once, each by the
      run that had not seen it; "fold_scores" has the folds' own, "fold_mean"
      and "fold_sd" their mean and standard deviation.

    Raises:
      untrusted.DamagedError: a file of a run is damaged or missing.
    """
    first = rows[0]
    if first.get("target") in targets.METRICS:
        found = _gather_answers(workdir, rows)
    else:
        found = _gather_predictions(workdir, rows)
    scores = [row["score"] for row in rows]
    row = {name: first[name] for name in _ALIKE if name in first}
    for name in ("epochs", "steps", "resolution"):
        if any(each.get(name) != first.get(name) for each in rows):
            row.pop(name)  # `auto` has chosen another for some fold.
    return {
        **row,
        "folds": len(rows),
        "fold_scores": scores,
        "fold_images": [each["test_images"] for each in rows],
        "fold_kept": [each.get("kept", "") for each in rows],
        "fold_mean": statistics.fmean(scores),
        "fold_sd": statistics.stdev(scores),
        "evaluated_on": SPLIT,
        "train_images": round(
            statistics.fmean(each["train_images"] for each in rows)
        ),
        "test_images": sum(each["test_images"] for each in rows),
        "seconds": round(sum(each["seconds"] for each in rows), 1),
        **found,
        **_count_twins(workdir),
    }


def _gather_predictions(workdir, rows):
    """Writes predictions of classes; returns fields of the row."""
    classes = len(rows[0]["class_names"])
    parts, names = [], []
    for own in _list_runs(workdir, rows):
        path = own / predictions.PREDICTIONS_FILE
        part = predictions.read(path, classes)
        names.append(_list_names(own, None if part is None else part.size))
        parts.append(part)
    most = min(part.classes.shape[1] for part in parts)
    found = predictions.concatenate([part.keep_top(most) for part in parts])
    paths = tuple(name for own in names for name in own)
    images = predictions.Images(paths, found.images.sha256)
    found = dataclasses.replace(found, images=images)
    predictions.write(workdir / predictions.PREDICTIONS_FILE, found)
    class_names = rows[0]["class_names"]
    _write_table(
        workdir,
        names,
        {
            "label": [class_names[i] for i in found.labels],
            "predicted": [class_names[i] for i in found.predicted],
            "probability": found.probabilities[:, 0].tolist(),
            "of_label": found.own.tolist(),
        },
    )
    gallery.gather(
        _list_runs(workdir, rows),
        [part.size for part in parts],
        np.union1d(
            gallery.find_most_wrong(found), gallery.find_least_sure(found)
        ),
        workdir,
    )
    scores = _score_classes(found, classes)
    return {**scores, "score": scores[rows[0]["metric"]]}


def _score_classes(found, classes):
    cells = np.zeros((classes, classes), int)
    np.add.at(cells, (found.labels, found.predicted), 1)
    images = cells.sum(axis=1)
    rates = cells.diagonal()[images > 0] / images[images > 0]
    top5 = (found.classes[:, :5] == found.labels[:, None]).any(axis=1)
    return {
        "top1": float(found.hits.mean()),
        "top5": float(top5.mean()),
        "mean_per_class": float(rates.mean()),
        "confusion": [
            [int(i), int(j), int(cells[i, j])] for i, j in np.argwhere(cells)
        ],
        "train_counts": images.tolist(),
        "test_counts": images.tolist(),
        "temperature": None,
        "calibration": "each fold's network has its own",
        "ece": calibration.bin_confidence(
            found.probabilities[:, 0], found.hits
        ).error,
    }


def _gather_answers(workdir, rows):
    """Writes answers of labels or numbers; returns fields of the row."""
    kind, outputs = rows[0]["target"], rows[0]["class_names"]
    parts, names = [], []
    for own in _list_runs(workdir, rows):
        read = target_answers.read(
            own / target_answers.ANSWERS_FILE, len(outputs)
        )
        names.append(_list_names(own, None if read is None else read[0].size))
        parts.append(read[0])
    found = target_scores.Answers(
        np.concatenate([part.truth for part in parts]),
        np.concatenate([part.found for part in parts]),
    )
    target_answers.write(
        workdir / target_answers.ANSWERS_FILE,
        found,
        [name for own in names for name in own],
    )
    columns = {}
    for i, name in enumerate(outputs):
        columns[f"true {name}"] = found.truth[:, i].tolist()
        columns[f"predicted {name}"] = found.found[:, i].tolist()
    _write_table(workdir, names, columns)
    worst = gallery.pick_worst(target_scores.lose(found, kind))
    gallery.gather(
        _list_runs(workdir, rows),
        [part.size for part in parts],
        np.sort(worst),
        workdir,
    )
    thresholds = ()
    facts: dict[str, Any] = {}
    if kind == targets.LABELS:
        each = [row["thresholds"] for row in rows]
        thresholds = np.mean(each, axis=0).tolist()
        counts = found.truth.sum(axis=0).astype(int).tolist()
        facts = {
            "thresholds": thresholds,
            "thresholds_by": "the means of the folds' own",
            "train_counts": counts,
            "test_counts": counts,
        }
    scores = target_scores.score(found, kind, thresholds)
    return {**scores, "score": scores[targets.METRICS[kind]], **facts}


def _list_runs(workdir, rows):
    return [workdir / run_folder.name_fold(i) for i in range(len(rows))]


def _list_names(own: pathlib.Path, size: int | None) -> list[str]:
    """Returns the paths of a fold's test images, in the order of its answers.

    Below the folder of all images: a run's own files name them from the folder
    on that its test images have in common, which differs from fold to fold.
    """
    rows = split_list.read(own) or []
    tested = [row for row in rows if row.split == "test"]
    # The order of `divisions.make`.
    tested.sort(key=lambda row: (row.label, pathlib.PurePath(row.path)))
    if len(tested) != size:
        raise untrusted.DamagedError(
            f"{own} has a list of {len(tested)} test images, and answers to "
            f"{size or 0}; delete the fold's folder to train it again."
        )
    return [row.path for row in tested]


def _write_table(workdir, names, columns):
    folds = [number for number, own in enumerate(names) for _ in own]
    paths = [name for own in names for name in own]
    columns = {"path": paths, "fold": folds, **columns}
    tables.write_csv(
        workdir / run_folder.OUT_OF_FOLD_FILE,
        list(columns),
        (
            dict(zip(columns, cells, strict=True))
            for cells in zip(*columns.values(), strict=True)
        ),
    )


def _count_twins(workdir):
    """Returns how many images have an equal or like one in another fold."""
    path = workdir / run_folder.NEAR_DUPLICATES_FILE
    if not path.exists():
        return {}
    equal, like = set(), set()
    for row in tables.read_csv(path):
        if row["split"] != row["other_split"]:
            both = {row["path"], row["other_path"]}
            (equal if row["exact"] == "True" else like).update(both)
    return {
        "exact_duplicates": len(equal),
        "near_duplicates": len(like - equal),
    }
