"""Two runs on the same images: what one has right that the other has wrong."""

import collections
import dataclasses
from typing import Any

import numpy as np

from efficientnet_tf.utils import data_names, intervals, targets
from transfer.report import run_files
from transfer.scores import predictions as predictions_lib


@dataclasses.dataclass(frozen=True)
class Compared:
    """Two runs, image by image; places are those of each run's predictions.

    `classes` are the names of the true classes, `labels` [M] their places of
    each image. `left_out` says what was not compared, and why.
    """

    runs: tuple[run_files.Run, run_files.Run]
    places: tuple[np.ndarray, np.ndarray]
    classes: list[str]
    labels: np.ndarray
    how: str
    left_out: list[str]

    @property
    def images(self) -> int:
        """How many are compared."""
        return len(self.labels)

    @property
    def hits(self) -> tuple[np.ndarray, np.ndarray]:
        """Whether each run has each image right, bool [M]."""
        first, second = (
            _found(run).hits[places]
            for run, places in zip(self.runs, self.places, strict=True)
        )
        return first, second

    @property
    def lost(self) -> np.ndarray:
        """Numbers of the images that only the first run has right."""
        first, second = self.hits
        return self._rank(np.flatnonzero(first & ~second), 1)

    @property
    def gained(self) -> np.ndarray:
        """Numbers of the images that only the second run has right."""
        first, second = self.hits
        return self._rank(np.flatnonzero(~first & second), 0)

    def _rank(self, numbers, wrong):
        """Returns numbers in the order of how sure the wrong run was."""
        places = self.places[wrong][numbers]
        sure = _found(self.runs[wrong]).probabilities[places, 0]
        return numbers[np.argsort(-sure, kind="stable")]

    def describe(self, number: int) -> dict[str, Any]:
        """Returns an image's "name", "true" class, and what both runs say.

        "first" and "second" are (predicted class, its probability).
        """
        said = [
            (
                run.class_names[_found(run).predicted[places[number]]],
                float(_found(run).probabilities[places[number], 0]),
            )
            for run, places in zip(self.runs, self.places, strict=True)
        ]
        names = _found(self.runs[0]).images.names
        return {
            "name": names[self.places[0][number]],
            "true": self.classes[self.labels[number]],
            "first": said[0],
            "second": said[1],
        }


def compare(first: run_files.Run, second: run_files.Run) -> Compared:
    """Compares two runs on the images that both were scored on.

    Images are matched by the hash of their files, else because both sets are
    the same ones in the same order, else by name within one data set.

    Args:
      first, second: with their predictions.

    Raises:
      ValueError: they have no image in common, or nothing tells which.
    """
    for run in (first, second):
        targets.check_class(
            run.row.get("target", targets.CLASS),
            "The comparison",
            f"the run {run.folder}",
        )
    ours, theirs, how = _match(first, second)
    left_out = []
    for run, places in ((first, ours), (second, theirs)):
        rest = _found(run).size - len(places)
        if rest:
            left_out.append(
                f"{rest:,} of {_found(run).size:,} images of {run.folder}, on "
                "which the other run was not scored"
            )
    true, other = (
        np.array(run.class_names, object)[_found(run).labels[places]]
        for run, places in ((first, ours), (second, theirs))
    )
    same = true == other
    if not same.all():
        left_out.append(
            f"{np.count_nonzero(~same):,} images that have another label in "
            f"{second.folder}"
        )
        ours, theirs, true = ours[same], theirs[same], true[same]
    if not len(ours):
        raise ValueError(
            f"All images have other labels in {first.folder} than in "
            f"{second.folder}; the runs cannot be compared."
        )
    classes = sorted(set(true))
    places = {name: i for i, name in enumerate(classes)}
    labels = np.array([places[name] for name in true])
    return Compared(
        (first, second), (ours, theirs), classes, labels, how, left_out
    )


def count_classes(found: Compared) -> dict[str, np.ndarray]:
    """Returns, for each class, "images", "lost", "gained", "first", "second".

    The last two are how many images each run has right.
    """
    columns = {
        "images": np.arange(found.images),
        "lost": found.lost,
        "gained": found.gained,
        "first": np.flatnonzero(found.hits[0]),
        "second": np.flatnonzero(found.hits[1]),
    }
    return {
        name: np.bincount(found.labels[rows], minlength=len(found.classes))
        for name, rows in columns.items()
    }


def measure(found: Compared) -> dict[str, float | int]:
    """Returns the numbers of a comparison; differences are second less first.

    The interval is the bootstrap's over images, of the mean per class over
    those of each class. Where no image has changed, it would have no width:
    there it is `intervals.paired_loss`.
    """
    counts = count_classes(found)
    lost, gained = len(found.lost), len(found.gained)
    first, second = (float(hits.mean()) for hits in found.hits)
    images = np.maximum(counts["images"], 1)
    means = [float((counts[k] / images).mean()) for k in ("first", "second")]
    if lost + gained:
        low, high = intervals.bootstrap_difference(
            np.array([lost]), np.array([gained]), np.array([found.images])
        )
    else:
        low, high = intervals.paired_loss(0, 0, found.images)
    class_low, class_high = intervals.bootstrap_difference(
        counts["lost"], counts["gained"], counts["images"]
    )
    return {
        "images": found.images,
        "first_top1": first,
        "second_top1": second,
        "difference": second - first,
        "low": low,
        "high": high,
        "lost": lost,
        "gained": gained,
        "p_value": intervals.mcnemar(lost, gained),
        "first_mean_per_class": means[0],
        "second_mean_per_class": means[1],
        "mean_per_class_difference": means[1] - means[0],
        "mean_per_class_low": class_low,
        "mean_per_class_high": class_high,
    }


def _found(run) -> predictions_lib.Predictions:
    if run.found is None:
        raise ValueError(f"{run.folder} has no predictions of its images.")
    return run.found


def _match(first, second):
    """Returns (places of the first, of the second, how they were matched)."""
    ours, theirs = _found(first).images, _found(second).images
    if len(ours.sha256) and len(theirs.sha256):
        keys = [
            [row.tobytes() for row in each.sha256] for each in (ours, theirs)
        ]
        return *_pair(first, second, *keys), "the hashes of their files"
    if ours.fingerprint and ours.fingerprint == theirs.fingerprint:
        places = np.arange(len(ours.names))
        return places, places, "their order in the same set"
    # A name such as "image 5" says nothing in another set.
    if not data_names.is_same(first.row["task"], second.row["task"]):
        raise ValueError(
            f"{first.folder} is a run on {first.row['task']}, "
            f"{second.folder} on {second.row['task']}, and without hashes of "
            "files nothing tells which images are the same."
        )
    return *_pair(first, second, ours.names, theirs.names), "their names"


def _pair(first, second, keys, other_keys):
    """Returns the places of equal keys; equal ones are paired in order."""
    waiting = collections.defaultdict(collections.deque)
    for place, key in enumerate(other_keys):
        waiting[key].append(place)
    pairs = [
        (place, waiting[key].popleft())
        for place, key in enumerate(keys)
        if waiting.get(key)
    ]
    if not pairs:
        raise ValueError(
            f"{first.folder} and {second.folder} were scored on no image that "
            "both have: they cannot be compared."
        )
    ours, theirs = np.array(pairs).T
    return ours, theirs
