"""What an exported file loses and gains, measured beside the Keras network."""

import dataclasses
import os
import pathlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from efficientnet_tf.data import datasets, examples as examples_lib, resumable
from efficientnet_tf.inference import (
    class_names,
    classifier as classifier_lib,
)
from efficientnet_tf.utils import intervals, tables, target_scores, targets

# The row that the others are compared with.
REFERENCE = "Keras network"
LARGE_BATCH = 16
# Of latencies: rounds over all files, each with some calls.
ROUNDS, CALLS = 5, 10
LARGE_CALLS = 3
# Images that are scored at a time.
_SCORED_BATCH = 32

# {field of a row: what the table calls it, and equal answers}
_METRICS = {
    "top1": ("top-1", "equal predictions"),
    "map": ("mAP", "equal label sets"),
    "r2": ("mean R²", "largest difference, in deviations"),
}
HEADER = (
    "file",
    "top-1",
    "loss in points (95 %)",
    "equal predictions",
    "largest difference",
    "MB",
    "ms, p50 / p95",
    f"images/s at {LARGE_BATCH}",
)


@dataclasses.dataclass(frozen=True)
class Held:
    """Labelled images that a network was not trained on.

    Attributes:
      batches: (images [N, size, size, 3], labels [N]) of one pass.
      outputs: the classifier's output of each label; None: in order.
    """

    batches: Iterable[tuple[Any, Any]]
    outputs: Sequence[int] | None


def hold(
    classifier: classifier_lib.Classifier, examples: examples_lib.Examples
) -> Held:
    """Returns labelled images as a classifier takes them.

    Raises:
      ValueError: their classes are not the classifier's.
    """
    if classifier.target == targets.CLASS:
        names = class_names.match(classifier.class_names, examples.class_names)
        places: Sequence[int] | None = names.outputs
    else:
        places = target_scores.place(
            classifier.class_names, examples.class_names, classifier.target
        )
    batches = datasets.make_eval_dataset(
        examples, classifier.preprocess, batch_size=_SCORED_BATCH
    )
    return Held(batches, places)


class _Answers:
    """One network's labels or numbers beside those of the reference."""

    def __init__(self, classifier):
        self._outputs = classifier.outputs
        self._truth, self._found, self._expected = [], [], []

    def add(self, found, expected, labels):
        for kept, part in (
            (self._truth, labels),
            (self._found, found),
            (self._expected, expected),
        ):
            kept.append(np.asarray(part, "float32"))

    @property
    def images(self) -> int:
        return sum(map(len, self._truth))

    def to_row(self):
        truth, found, expected = map(
            np.concatenate, (self._truth, self._found, self._expected)
        )
        kind, limits = self._outputs.kind, self._outputs.thresholds
        metric = targets.METRICS[kind]
        loss, low, high = target_scores.compare(truth, expected, found, kind)
        # So that NaN is the largest.
        off = np.nan_to_num(np.abs(found - expected), nan=np.inf)
        row = {
            "images": len(truth),
            metric: target_scores.find_metric(truth, found, kind),
            "loss": loss,
            "loss_low": low,
            "loss_high": high,
        }
        if kind == targets.LABELS:
            limits = np.array(limits or [targets.THRESHOLD] * truth.shape[1])
            equal = ((found >= limits) == (expected >= limits)).all(axis=1)
            row["equal_predictions"] = float(equal.mean())
        else:
            spread = np.maximum(truth.std(axis=0), 1e-12)
            row["largest_in_deviations"] = float((off / spread).max())
        return {**row, "max_difference": float(off.max())}


class _Counts:
    """One network's predictions beside those of the reference."""

    def __init__(self):
        self.images = self.hits = self.lost = self.gained = self.equal = 0
        self.difference = 0.0

    def add(self, found, expected, labels):
        right = found.argmax(-1) == labels
        wanted = expected.argmax(-1) == labels
        self.images += len(labels)
        self.hits += int(right.sum())
        self.lost += int((wanted & ~right).sum())
        self.gained += int((right & ~wanted).sum())
        self.equal += int((found.argmax(-1) == expected.argmax(-1)).sum())
        # So that NaN is the largest.
        largest = np.nan_to_num(np.abs(found - expected), nan=np.inf).max()
        self.difference = max(self.difference, float(largest))

    def to_row(self):
        low, high = intervals.paired_loss(self.lost, self.gained, self.images)
        return {
            "images": self.images,
            "top1": self.hits / self.images,
            "loss": (self.lost - self.gained) / self.images,
            "loss_low": low,
            "loss_high": high,
            "equal_predictions": self.equal / self.images,
            "max_difference": self.difference,
        }


def score(
    classifiers: Mapping[str, classifier_lib.Classifier],
    held: Held,
    progress: Callable[[int], object] | None = None,
) -> dict[str, dict]:
    """Scores classifiers on the same images, in one pass over them.

    Args:
      classifiers: {name: classifier}; the first is what the others are compared
        with.
      held: the images.
      progress: called with the number of images of each batch, or None.

    Returns:
      {name: "images", "top1", "loss" and its interval, "equal_predictions" and
      "max_difference"}; rates are in [0, 1]. Of labels "map" stands for "top1",
      of numbers "r2", and "largest_in_deviations" for "equal_predictions".

    Raises:
      ValueError: there are no images.
    """
    counts: dict[str, Any] = {
        name: _Counts()
        if classifier.target == targets.CLASS
        else _Answers(classifier)
        for name, classifier in classifiers.items()
    }
    with resumable.explained():
        for images, labels in held.batches:
            labels = _place(labels, held.outputs, classifiers)
            expected = None
            for name, classifier in classifiers.items():
                found = np.asarray(
                    classifier.model.predict_on_batch(np.asarray(images))
                )
                expected = found if expected is None else expected
                counts[name].add(found, expected, labels)
            if progress is not None:
                progress(len(labels))
    if not next(iter(counts.values())).images:
        raise ValueError("There are no images to score on.")
    return {name: count.to_row() for name, count in counts.items()}


def _place(labels, places, classifiers):
    classifier = next(iter(classifiers.values()))
    if classifier.target == targets.CLASS:
        return np.asarray(places)[np.asarray(labels)]
    outputs = len(classifier.class_names)
    return target_scores.spread(np.asarray(labels), places, outputs)


def time_all(
    classifiers: Mapping[str, classifier_lib.Classifier],
) -> dict[str, dict]:
    """Times prediction on this machine, the classifiers in turn.

    Returns:
      {name: "p50_ms" and "p95_ms" of one image, "images_per_second" of batches
      of `LARGE_BATCH`}; images in and probabilities out are NumPy arrays.
    """
    times: dict[str, list] = {name: [] for name in classifiers}
    rates: dict[str, list] = {name: [] for name in classifiers}
    for turn in range(ROUNDS + 1):  # The first one warms up.
        for name, classifier in classifiers.items():
            shape = (LARGE_BATCH, *classifier.size, 3)
            images = np.full(shape, 127, np.float32)
            singles = [
                _time(classifier.model, images[:1]) for _ in range(CALLS)
            ]
            batches = [
                _time(classifier.model, images) for _ in range(LARGE_CALLS)
            ]
            if turn:
                times[name] += singles
                rates[name] += batches
    return {
        name: {
            "p50_ms": 1e3 * float(np.percentile(times[name], 50)),
            "p95_ms": 1e3 * float(np.percentile(times[name], 95)),
            "images_per_second": LARGE_BATCH / float(np.median(rates[name])),
        }
        for name in classifiers
    }


def _time(model, images):
    begin = time.perf_counter()
    model.predict_on_batch(images)
    return time.perf_counter() - begin


def count_megabytes(
    path: str | os.PathLike, companions: Iterable[str] = ()
) -> float:
    """Returns the size of a file, or of all in a folder, in 10^6 bytes.

    Args:
      companions: the suffixes of files beside it that are counted, too.
    """
    path = pathlib.Path(path)
    inside = [*path.rglob("*")] if path.is_dir() else [path]
    inside += [path.with_suffix(suffix) for suffix in companions]
    return sum(file.stat().st_size for file in inside if file.is_file()) / 1e6


def make_header(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Returns the header of the table, by what the rows were scored with."""
    metric, equal = _METRICS[_find_metric(next(iter(rows)))]
    return (HEADER[0], metric, HEADER[2], equal, *HEADER[4:])


def _find_metric(row):
    return next((name for name in _METRICS if name in row), "top1")


def to_lines(rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Returns the cells of a table with `HEADER`."""
    return [_to_line(row) for row in rows]


def to_markdown(rows: Iterable[Mapping[str, Any]]) -> str:
    """Returns the table."""
    rows = list(rows)
    return tables.to_markdown(make_header(rows), to_lines(rows))


def _to_line(row):
    scores = ("–",) * 4
    metric = _find_metric(row)
    if metric in row:
        loss = (
            "–"
            if row["file"] == REFERENCE
            else f"{100 * row['loss']:.2f} ({100 * row['loss_low']:.2f} to "
            f"{100 * row['loss_high']:.2f})"
        )
        scores = (
            f"{row[metric]:.4f}",
            loss,
            f"{row['largest_in_deviations']:.1e}"
            if metric == "r2"
            else f"{row['equal_predictions']:.4f}",
            f"{row['max_difference']:.1e}",
        )
    size = row.get("megabytes")
    return (
        row["file"],
        *scores,
        "–" if size is None else f"{size:.2f}",
        f"{row['p50_ms']:.1f} / {row['p95_ms']:.1f}",
        f"{row['images_per_second']:.0f}",
    )
