"""How foreign an image is to a classifier: how unlike all of its classes.

The score is 1 less the largest cosine between the image's pooled features and
the mean features of a class: 0 for an image that is the mean of a class. Of the
methods that were measured (docs/RESULTS.md) none was better on all sets, and
most need far more than one vector a class. Probabilities say little of foreign
images: they only compare the classes with each other.
"""

import dataclasses
import os
import pathlib
import tempfile
import zipfile
from typing import Any

import numpy as np

from efficientnet_tf.utils import cache_folder, files, run_folder, untrusted

# In a run's folder, beside the network, and in a `.keras` file.
UNKNOWN_FILE = run_folder.UNKNOWN_FILE
# The answer for an image beyond the threshold.
NONE_OF_THESE = "none of these"
# Of a prediction: the class or `NONE_OF_THESE`, and how foreign the image is.
FIELDS = ("answer", "unknown_score")
MISSING = (
    "has nothing to tell unknown images by: fine-tuning runs have, and the "
    ".keras files that they are exported to"
)

_COLUMNS = {
    "means": cache_folder.Column("float16", ("classes", "features")),
    "threshold": cache_folder.Column("float64", (1,)),
}


@dataclasses.dataclass(frozen=True)
class Detector:
    """What tells the images of no class.

    `means` float16 [K, C] are the classes' mean features, each of length 1; K
    may be less than the classes, if some had no images. An image with a score
    above `threshold` is of none.
    """

    means: np.ndarray
    threshold: float

    def score(self, features: np.ndarray) -> np.ndarray:
        """Returns how foreign images are, [N]: from 0, not at all, to 2.

        Args:
          features: pooled features [N, C].
        """
        cosines = normalize(features) @ self.means.astype("float32").T
        return 1 - cosines.max(axis=1)

    def describe(self, features: np.ndarray, class_name: str) -> dict[str, Any]:
        """Returns the `FIELDS` of one image's row of predictions.

        Args:
          features: pooled features [C].
          class_name: of the most probable class.
        """
        score = float(self.score(features[None])[0])
        is_foreign = score > self.threshold
        answer = NONE_OF_THESE if is_foreign else class_name
        return dict(zip(FIELDS, (answer, score), strict=True))


class Recorder:
    """A network that keeps the scores of all images that it is called on.

    It stands in for `keras.Model` where that is scored.

    Args:
      network: a Keras network.
      detector: scores by it; None: there are none.
    """

    def __init__(self, network: Any, detector: Detector | None):
        self._detector = detector
        self._network: Any = network
        if detector is not None:
            from efficientnet_tf.inference import pooled  # Imports Keras.

            self._network = pooled.Pooled(network)
        self._parts: list[np.ndarray] = []

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        """Returns probabilities [N, classes] of images."""
        if self._detector is None:
            return self._network.predict_on_batch(images)
        found = self._network(images)
        self._parts.append(self._detector.score(found.features))
        return found.probabilities

    @property
    def scores(self) -> np.ndarray:
        """The scores [N] so far, in the order of the images."""
        return np.concatenate([np.zeros(0), *self._parts])


def normalize(features: np.ndarray) -> np.ndarray:
    """Returns features [N, C] divided by their lengths; zeros stay zeros."""
    features = np.asarray(features, "float32")
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(lengths, 1e-12)


def measure(known: np.ndarray, foreign: np.ndarray) -> dict[str, float]:
    """Returns how well scores tell foreign images from known ones.

    Args:
      known: scores of images of the classes, [N].
      foreign: of others, [M].

    Returns:
      "auroc", the share of all pairs in which the foreign image has the higher
      score, equal ones as half; "fpr95", the share of the foreign ones that are
      kept by the threshold that keeps 95 % of the known ones.
    """
    ordered = np.sort(known)
    below, up_to = (
        np.searchsorted(ordered, foreign, side) for side in ("left", "right")
    )
    threshold = np.quantile(known, 0.95, method="higher")
    return {
        "auroc": float((below + up_to).mean() / 2 / len(known)),
        "fpr95": float((foreign <= threshold).mean()),
    }


def write(path: str | os.PathLike, found: Detector) -> None:
    """Writes a detector as one file, atomically."""
    with files.atomic(path) as temporary:
        np.savez(
            temporary, means=found.means, threshold=np.array([found.threshold])
        )


def read(path: str | os.PathLike, features: int, classes: int) -> Detector:
    """Returns the detector in a file of `write`.

    Args:
      path: the file.
      features: how many the network has.
      classes: how many the network tells apart.

    Raises:
      FileNotFoundError: there is none.
      untrusted.DamagedError: it holds something else.
    """
    untrusted.check_file(path)
    with untrusted.reading(path):
        return _parse(path, features, classes)


def append_to(archive: zipfile.ZipFile, found: Detector) -> None:
    """Adds a detector to an archive, such as a `.keras` file."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / UNKNOWN_FILE
        write(path, found)
        archive.write(path, UNKNOWN_FILE)


def read_member(
    archive: zipfile.ZipFile, features: int, classes: int
) -> Detector:
    """Returns the detector in an archive; raises anything if it is damaged."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / UNKNOWN_FILE
        path.write_bytes(archive.read(UNKNOWN_FILE))
        try:
            return _parse(path, features, classes)
        except untrusted.DamagedError:  # It names the temporary file.
            raise ValueError(f"its {UNKNOWN_FILE} is no archive") from None


def _parse(path, features, classes):
    arrays: dict[str, Any] = cache_folder.read_arrays(path, _COLUMNS)
    found = Detector(arrays["means"], float(arrays["threshold"][0]))
    _check(found, features, classes)
    return found


def _check(found, features, classes):
    count, size = found.means.shape
    if size != features:
        raise ValueError(
            f"it has {size} features, the network beside it {features}"
        )
    if not 1 <= count <= classes:
        raise ValueError(f"it has the means of {count} of {classes} classes")
    lengths = np.linalg.norm(found.means.astype("float32"), axis=1)
    if not (abs(lengths - 1) < 0.01).all():  # NaN is not, either.
        raise ValueError("a mean is not of length 1")
    if not 0 <= found.threshold <= 2:
        raise ValueError(f"its threshold is {found.threshold}")
