"""Predictions as rows of a file that is written while they are made."""

import contextlib
import csv
import json
import os
import pathlib
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

from efficientnet_tf.utils import files, tables, targets

if typing.TYPE_CHECKING:
    import numpy as np

SUFFIXES = (".csv", ".json", ".jsonl")


def make_row(
    path: str | os.PathLike,
    found: "np.ndarray | OSError",
    outputs: targets.Outputs,
    top: int,
    unknown: Mapping[str, Any] = files.NOTHING,
) -> dict[str, Any]:
    """Returns a prediction as JSON takes it.

    Args:
      path: the image.
      found: what the network gives, [classes], or why the image cannot be
        read.
      outputs: what that means.
      top: how many classes or labels to name.
      unknown: what `unknown.Detector.describe` says of the image, if the
        classifier has one.

    Returns:
      {"file", "class", "probability", "top": [{"class", "probability"}, ...]},
      the most probable class first, and what `unknown` has; {"file",
      "labels": [name, ...], "top": [{"label", "probability"}, ...]}; {"file",
      "numbers": {name: number}}; or {"file", "error"}.
    """
    if isinstance(found, OSError):
        error = files.explain_error(found)
        return {"file": os.fspath(path), "error": error}
    names = outputs.names
    if outputs.kind == targets.NUMBERS:
        numbers = dict(zip(names, map(float, found), strict=True))
        return {"file": os.fspath(path), "numbers": numbers}
    word = "class" if outputs.kind == targets.CLASS else "label"
    best = [
        {word: names[i], "probability": float(found[i])}
        for i in found.argsort()[::-1][:top]
    ]
    if outputs.kind == targets.LABELS:
        labels = outputs.pick(found.tolist())
        return {"file": os.fspath(path), "labels": labels, "top": best}
    return {"file": os.fspath(path), **best[0], **unknown, "top": best}


def check(path: str) -> None:
    """Raises ValueError unless `open_writer` can write such a file."""
    if not path.endswith(SUFFIXES):
        raise ValueError(f"{path} must end in {', '.join(SUFFIXES)}.")


@contextlib.contextmanager
def open_writer(
    path: str | os.PathLike,
    top: int,
    outputs: targets.Outputs | None = None,
    more: Sequence[str] = (),
) -> Iterator[Callable[[dict], object]]:
    """Yields a function that appends a row of `make_row` to a new file.

    A .csv has the columns file, class, probability, those of `more`, class_2,
    probability_2 and so on, error; of labels file, labels (divided by bars),
    label, probability and so on; of numbers a column of each. A .json is one
    array, a .jsonl an object a line. Each row is in the file as soon as it is
    written; an array is closed whatever happens.

    Args:
      path: the file; its suffix says the format.
      top: how many classes a row names at most.
      outputs: what the rows are of; None: classes.
      more: fields of `unknown`, if rows have them.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open(
        "w",
        encoding="utf-8",
        # Names of old archives may be in no encoding.
        errors="surrogateescape",
        newline="",
        buffering=1,
    ) as file:
        if path.suffix == ".csv":
            yield _csv_writer(file, top, outputs, more)
        elif path.suffix == ".jsonl":
            yield lambda row: print(_to_json(row), file=file)
        else:
            with _array_writer(file) as write:
                yield write


def _csv_writer(file, top, outputs, more):
    kind = targets.CLASS if outputs is None else outputs.kind
    if kind == targets.NUMBERS:
        columns = ["file", *map(_to_column, outputs.names)]
    else:
        word = "class" if kind == targets.CLASS else "label"
        columns = ["file"] if kind == targets.CLASS else ["file", "labels"]
        columns += [word, "probability", *more]
        for rank in range(2, top + 1):
            columns += [f"{word}_{rank}", f"probability_{rank}"]
    writer = csv.DictWriter(file, [*columns, "error"], restval="")
    writer.writeheader()

    def write(row):
        row = dict(row)
        for name, number in row.pop("numbers", {}).items():
            row[_to_column(name)] = number
        if "labels" in row:
            row["labels"] = targets.SEPARATOR.join(row["labels"])
            row |= row["top"][0]
        for rank, item in enumerate(row.pop("top", ())[1:top], start=2):
            row |= {f"{key}_{rank}": value for key, value in item.items()}
        writer.writerow(tables.guard_formulas(row))

    return write


def _to_column(name):
    # The file's own columns keep their names.
    return f"{name} (number)" if name in ("file", "error") else name


@contextlib.contextmanager
def _array_writer(file: IO[str]) -> Iterator[Callable[[dict], object]]:
    file.write("[")
    separators = iter(["\n"])
    try:
        yield lambda row: file.write(next(separators, ",\n") + _to_json(row))
    finally:
        file.write("\n]\n")
        file.flush()


def _to_json(row):
    return json.dumps(row, ensure_ascii=False)
