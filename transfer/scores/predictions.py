"""What a network said of each image, as a file of a run."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from efficientnet_tf.utils import cache_folder, files, untrusted

# In a run's folder: of the images that it was scored on, and of images that
# were held out while its recipe chose; the latter before any calibration.
PREDICTIONS_FILE = "predictions.npz"
HELD_OUT_FILE = "held_out.npz"

# All probabilities are kept of so many images times classes, 32 MB; of more,
# those of the `TOP` most probable classes.
MOST_NUMBERS = 4_000_000
TOP = 10

_COLUMNS = {
    "labels": cache_folder.Column("int32", ("n",)),
    "classes": cache_folder.Column("int32", ("n", "k")),
    "probabilities": cache_folder.Column("float32", ("n", "k")),
    "own": cache_folder.Column("float32", ("n",)),
    "before": cache_folder.Column("float32", ("n",)),
    "names": cache_folder.Column("uint8", ("bytes",)),
    "sha256": cache_folder.Column("uint8", ("hashed", 32)),
    "fingerprint": cache_folder.Column("uint8", ("letters",)),
}
# The columns that have a row for each image, in the order of `Predictions`.
_OF_IMAGES = ("labels", "classes", "probabilities", "own", "before")


@dataclasses.dataclass(frozen=True)
class Images:
    """What images are called; `sha256` is uint8 [N, 32] or, unknown, [0, 32].

    `fingerprint` is equal if these are the same images in the same order.
    """

    names: tuple[str, ...]
    sha256: np.ndarray
    fingerprint: str = ""

    def pick(self, places: np.ndarray) -> "Images":
        """Returns some of them, which have no fingerprint."""
        hashes = self.sha256[places] if len(self.sha256) else self.sha256
        return Images(tuple(self.names[i] for i in places), hashes)


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Labels [N] and probabilities of N images.

    `classes` and `probabilities` are [N, K], the most probable class first; K
    is the number of classes or, see `MOST_NUMBERS`, smaller. `own` is the
    probability of the label, `before` the highest one before calibration.
    """

    labels: np.ndarray
    classes: np.ndarray
    probabilities: np.ndarray
    own: np.ndarray
    before: np.ndarray
    images: Images

    @property
    def size(self) -> int:
        """The number of images."""
        return len(self.labels)

    @property
    def predicted(self) -> np.ndarray:
        """The most probable class of each image."""
        return self.classes[:, 0]

    @property
    def hits(self) -> np.ndarray:
        """Whether each image is right."""
        return self.predicted == self.labels

    def keep_top(self, count: int) -> "Predictions":
        """Returns these with the most probable classes alone."""
        return dataclasses.replace(
            self,
            classes=self.classes[:, :count],
            probabilities=self.probabilities[:, :count],
        )

    def to_matrix(self, classes: int) -> np.ndarray | None:
        """Returns probabilities [N, classes] in order; None if not all kept."""
        if self.classes.shape[1] != classes:
            return None
        matrix = np.zeros((self.size, classes), "float32")
        np.put_along_axis(matrix, self.classes, self.probabilities, axis=1)
        return matrix


class Collector:
    """Keeps the predictions of batches; `keep` goes to `evaluate.evaluate`.

    Args:
      images: how many there will be.
      temperature: by which the network was calibrated, see `calibration`.
    """

    def __init__(self, images: int, temperature: float = 1.0):
        self._images, self._temperature = images, temperature
        self._parts: list[tuple[np.ndarray, ...]] = []

    def keep(self, scores: np.ndarray, labels: np.ndarray) -> None:
        """Adds probabilities [N, classes] and labels [N]."""
        scores = np.asarray(scores, "float32")
        count = scores.shape[1]
        if self._images * count > MOST_NUMBERS:
            count = min(TOP, count)
        order = _rank(scores, count)
        self._parts.append(
            (
                labels.astype("int32"),
                order.astype("int32"),
                np.take_along_axis(scores, order, axis=1),
                np.take_along_axis(scores, labels[:, None], axis=1)[:, 0],
                self._undo(scores),
            )
        )

    def collect(self, images: Images) -> Predictions:
        """Returns all predictions.

        Args:
          images: what they are called, in the same order.
        """
        columns = zip(_OF_IMAGES, zip(*self._parts, strict=True), strict=True)
        joined = {name: np.concatenate(parts) for name, parts in columns}
        return Predictions(**joined, images=images)

    def _undo(self, scores):
        """Returns the highest probabilities before calibration."""
        if self._temperature == 1:
            return scores.max(axis=1)
        ratios = scores / scores.max(axis=1, keepdims=True)
        return 1 / (ratios**self._temperature).sum(axis=1)


def _rank(scores, count):
    """Returns the `count` best classes of each row, the best first.

    Of equals the first one, as elsewhere. Thousands of classes are not sorted
    to know ten.
    """
    rows, classes = scores.shape
    if count < classes:
        least = np.partition(scores, classes - count, axis=1)[:, -count]
        places, found = np.nonzero(scores >= least[:, None])
        starts = np.searchsorted(places, np.arange(rows + 1))
        if (np.diff(starts) >= count).all():  # Else there are NaNs.
            order = np.lexsort((found, -scores[places, found], places))
            return found[order][starts[:-1, None] + np.arange(count)]
    return np.argsort(-scores, axis=1, kind="stable")[:, :count]


def from_matrix(
    probabilities: np.ndarray, labels: np.ndarray, images: Images
) -> Predictions:
    """Returns `Predictions` of probabilities [N, classes]."""
    collector = Collector(len(labels))
    collector.keep(probabilities, labels)
    return collector.collect(images)


def concatenate(parts: Sequence[Predictions]) -> Predictions:
    """Joins predictions of different images over the same classes."""
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in _OF_IMAGES
    }
    names = tuple(name for part in parts for name in part.images.names)
    hashes = np.concatenate([part.images.sha256 for part in parts])
    if len(hashes) != len(names):
        hashes = hashes[:0]
    return Predictions(**columns, images=Images(names, hashes))


def write(path: str | os.PathLike, found: Predictions) -> None:
    """Writes predictions as one file, atomically."""
    names = "\0".join(found.images.names)
    texts = {
        # Names of old archives may be in no encoding.
        "names": np.frombuffer(os.fsencode(names), "uint8"),
        "fingerprint": np.frombuffer(
            found.images.fingerprint.encode(), "uint8"
        ),
        "sha256": found.images.sha256,
    }
    arrays = {name: getattr(found, name) for name in _OF_IMAGES}
    with files.atomic(path) as temporary:
        np.savez(temporary, allow_pickle=False, **arrays, **texts)


def read(path: str | os.PathLike, classes: int) -> Predictions | None:
    """Returns the predictions in a file; None if there is none.

    Args:
      path: a file of `write`.
      classes: how many the run has.

    Raises:
      untrusted.DamagedError: it holds something else.
    """
    path = pathlib.Path(path)
    if not path.exists():
        return None
    with untrusted.reading(path):
        arrays = cache_folder.read_arrays(path, _COLUMNS)
        names = os.fsdecode(arrays.pop("names").tobytes()).split("\0")
        fingerprint = arrays.pop("fingerprint").tobytes().decode()
        images = Images(tuple(names), arrays.pop("sha256"), fingerprint)
        found = Predictions(**arrays, images=images)
        _check(found, classes)
    return found


def _check(found, classes):
    count, kept = found.classes.shape
    if not count or len(found.images.names) != count:
        raise ValueError(
            f"it names {len(found.images.names)} of {count} images"
        )
    if len(found.images.sha256) not in (0, count):
        raise ValueError(f"it has hashes of {len(found.images.sha256)} images")
    if not 1 <= kept <= classes:
        raise ValueError(f"it has {kept} classes of {classes}")
    for places in (found.labels, found.classes):
        if places.min() < 0 or places.max() >= classes:
            raise ValueError(f"a class is none of the {classes}")
    for shares in (found.probabilities, found.own, found.before):
        if not ((shares >= 0) & (shares <= 1.001)).all():  # NaN is not, either.
            raise ValueError("a probability is not between 0 and 1")
    if kept == classes and (np.sort(found.classes) != np.arange(classes)).any():
        raise ValueError("a class of an image is there twice")
