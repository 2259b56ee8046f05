"""Fits what tells unknown images to a trained network; see `unknown`.

The threshold is the score that a share `KEPT` of images of the classes does not
pass, of images that were held out. Where none were, each training image is
scored by means without it; a network that was trained on it still finds it more
like its class than a new one.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from absl import logging

from efficientnet_tf.data import examples as examples_lib
from efficientnet_tf.inference import (
    classifier as classifier_lib,
    unknown,
)
from efficientnet_tf.utils import untrusted, words
from transfer.config import finetune_config
from transfer.training import fitting, frozen_features

KEPT = 0.95
# Of a larger set, images from all over it: the means hardly change.
MOST_IMAGES = 10_000
# The 95th percentile of fewer held-out images says too little.
ENOUGH = 20

Features = frozen_features.Features


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A detector and what its threshold is by, or None and why."""

    detector: unknown.Detector | None
    note: str

    def __str__(self) -> str:
        if self.detector is None:
            return f"none, {self.note}"
        return f"{self.detector.threshold:.3f}, by {self.note}"

    def describe(self) -> dict:
        """Returns fields of a run's row."""
        threshold = self.detector and self.detector.threshold
        return {"unknown_threshold": threshold, "unknown_by": self.note}


def add_detector(
    setup: fitting.Setup,
    classifier: classifier_lib.Classifier,
    folds: Sequence[pathlib.Path] = (),
) -> tuple[classifier_lib.Classifier, dict]:
    """Adds what tells unknown images to a trained classifier.

    Args:
      setup: of the training, whose config has no rule.
      classifier: that was trained.
      folds: see `fit`.

    Returns:
      The classifier, and fields of the run's row.
    """
    found = fit(
        classifier,
        setup.examples,
        setup.config,
        fitting.cache_key(setup),
        folds,
    )
    logging.info("The threshold of unknown images: %s.", found)
    classifier = dataclasses.replace(classifier, unknown=found.detector)
    return classifier, found.describe()


def fit(
    classifier: classifier_lib.Classifier,
    examples: Mapping[str, examples_lib.Examples],
    config: finetune_config.FinetuneConfig,
    cache_key: str,
    folds: Sequence[pathlib.Path] = (),
) -> Fitted:
    """Fits a detector to a trained network, by the images it was trained on.

    Args:
      classifier: that was trained.
      examples: {split: examples}.
      config: of its training, without a rule.
      cache_key: see `frozen_features.extract_splits`.
      folds: files of detectors of trainings like it on parts of the images,
        with thresholds by the other parts.
    """
    trained_on = config.train_on.split("+")
    parts = {
        split: _extract(classifier, examples[split], config, cache_key, split)
        for split in ("train", "validation")
        if split in trained_on or config.evaluate_on == "test"
    }
    seen = frozen_features.concatenate(parts[split] for split in trained_on)
    detector = unknown.Detector(average(*seen[:2]), 0.0)
    held_out = [parts[split] for split in parts if split not in trained_on]
    if held_out and len(held_out[0][0]) >= ENOUGH:
        scores = detector.score(held_out[0][0])
        return _choose(detector, scores, "held-out image", "")
    known = [_read_threshold(path, detector) for path in folds]
    known = [threshold for threshold in known if threshold is not None]
    if known:
        note = f"held-out images of {words.count(len(known), 'training')} like"
        found = dataclasses.replace(detector, threshold=float(np.mean(known)))
        return Fitted(found, f"{note} it")
    scores = leave_one_out(*seen[:2])
    if not _trains(config):
        return _choose(detector, scores, "image", ", each by means without it")
    return _choose(
        detector,
        scores,
        "image",
        " that it was trained on, so more than 5 % of new ones will be beyond "
        "it; --set=train_on=train keeps validation images for it",
    )


def describe_kept(
    scores: np.ndarray, detector: unknown.Detector | None
) -> dict:
    """Returns "unknown_kept", the share of scored images below the threshold.

    Args:
      scores: of all images that a run was scored on, [N].
      detector: the run's; None: it has none.
    """
    if detector is None:
        return {}
    return {"unknown_kept": float((scores <= detector.threshold).mean())}


def average(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the mean features of each class that has images, of length 1.

    Args:
      features: [N, C].
      labels: [N].

    Returns:
      float16 [classes with images, C].
    """
    sums = _add_up(features, labels)
    return unknown.normalize(sums[np.unique(labels)]).astype("float16")


def leave_one_out(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the scores of images, each by means without it.

    Without images that are the only one of their class.

    Args:
      features: [N, C].
      labels: [N].
    """
    sums = _add_up(features, labels)
    counts = np.bincount(labels)
    own = np.flatnonzero(counts[labels] > 1)
    images = unknown.normalize(features[own])
    cosines = images @ unknown.normalize(sums).T
    rest = unknown.normalize(sums[labels[own]] - features[own])
    cosines[np.arange(len(own)), labels[own]] = (images * rest).sum(axis=1)
    return 1 - cosines.max(axis=1)


def _add_up(features, labels):
    """Returns the sums of the features of each class, [classes, C]."""
    sums = np.zeros((labels.max() + 1, features.shape[1]))
    np.add.at(sums, labels, features)
    return sums


def _choose(detector, scores, what, how):
    """Returns the detector with the threshold by some images' scores."""
    if not len(scores):
        return Fitted(None, "no class has two images")
    # A score that an image has, so that no fewer are kept.
    threshold = float(np.quantile(scores, KEPT, method="higher"))
    found = dataclasses.replace(detector, threshold=threshold)
    return Fitted(found, f"{words.count(len(scores), what)}{how}")


def _read_threshold(path, detector):
    """Returns the threshold in a file; None: it is missing or damaged."""
    try:
        size = detector.means.shape[1]
        return unknown.read(path, size, len(detector.means)).threshold
    except FileNotFoundError:
        return None
    except (OSError, untrusted.DamagedError) as error:
        logging.warning("Left out: %s", error)
        return None


def _trains(config):
    # What a rule decided is not kept with every run.
    return config.trains or config.rule != "none"


def _extract(classifier, examples, config, cache_key, split):
    """Returns the features and labels of a split, or of some of its images."""
    # Those of a frozen network are in the cache, all of them.
    if _trains(config) and examples.size > MOST_IMAGES:
        _, examples = examples.hold_out(MOST_IMAGES)
    return frozen_features.extract_split(
        classifier, examples, config.precision, cache_key, split
    )
