"""Exact accuracy over a data set: every image counts once."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np

from efficientnet_tf.data import resumable


@dataclasses.dataclass(frozen=True)
class Scores:
    """The result of one pass over labelled images; rates are in [0, 1].

    Classes are the model's outputs. `top1_among` is the top-1 accuracy if only
    the outputs of the data's classes compete; it equals `top1` where the data
    have all of the model's classes.
    """

    top1: float
    top5: float
    top1_among: float
    per_class: np.ndarray  # Top-1 of each class; NaN for one without images.
    confusion: np.ndarray  # [true class, predicted class] counts.
    predicted: np.ndarray  # The predicted class of each image, in order.
    images: int

    @property
    def mean_per_class(self) -> float:
        """The mean of `per_class` over classes with images."""
        return float(np.nanmean(self.per_class))


def evaluate(
    model: keras.Model,
    dataset: Iterable[tuple[Any, Any]],
    *,
    outputs: Sequence[int] | None = None,
    progress: Callable[[int], object] | None = None,
    keep: Callable[[np.ndarray, np.ndarray], object] | None = None,
) -> Scores:
    """Scores `model` on batches of (images, integer labels).

    Args:
      model: maps images to class scores [N, classes].
      dataset: an iterable of (images, labels).
      outputs: the model's output of each label, as `class_names.match` finds
        it; None: label i is output i.
      progress: called with the number of images of each batch, or None.
      keep: called with the class scores [N, classes] of each batch and the
        outputs of its labels [N], or None.

    Returns:
      `Scores`.

    Raises:
      ValueError: the data set is empty or has a label out of range.
      FloatingPointError: the model's outputs are not finite.
      RuntimeError: an image of `datasets.make_eval_dataset` cannot be read.
    """
    counts = None
    with resumable.explained():
        for images, labels in dataset:
            scores = np.asarray(model.predict_on_batch(np.asarray(images)))
            if counts is None:
                counts = _Counts(scores.shape[-1], outputs)
            labels = counts.add(scores, np.asarray(labels))
            if keep is not None:
                keep(scores, labels)
            if progress is not None:
                progress(len(labels))
    if counts is None:
        raise ValueError("The data set to evaluate on is empty.")
    return counts.to_scores()


class _Counts:
    """What is counted over batches."""

    def __init__(self, classes, outputs):
        places = range(classes) if outputs is None else outputs
        self.of_label = np.asarray(places)
        self.confusion = np.zeros((classes, classes), np.int64)
        self.predicted = []
        self.top5 = self.among = 0

    def add(self, scores, labels):
        """Counts a batch; returns the outputs of its labels."""
        _check_labels(labels, len(self.of_label))
        labels = self.of_label[labels]
        if not np.isfinite(scores).all():
            # Comparisons with NaN are false, which would count as a hit.
            raise FloatingPointError("The model's outputs are not finite.")
        self.predicted.append(scores.argmax(-1))
        np.add.at(self.confusion, (labels, self.predicted[-1]), 1)
        self.top5 += _count_in_top(scores, labels, 5)
        best = self.of_label[scores[:, self.of_label].argmax(-1)]
        self.among += int((best == labels).sum())
        return labels

    def to_scores(self):
        counts = self.confusion.sum(axis=1)
        images = int(counts.sum())
        hits = np.diagonal(self.confusion)
        rates = np.where(counts > 0, hits / np.maximum(counts, 1), np.nan)
        return Scores(
            top1=float(hits.sum() / images),
            top5=self.top5 / images,
            top1_among=self.among / images,
            per_class=rates,
            confusion=self.confusion,
            predicted=np.concatenate(self.predicted),
            images=images,
        )


def _check_labels(labels, classes):
    bad = labels[(labels < 0) | (labels >= classes)]
    if bad.size:
        raise ValueError(
            f"Label {int(bad[0])} is out of range for {classes} classes."
        )


def _count_in_top(scores, labels, k):
    # Strictly greater, so that ties do not depend on the order of classes.
    own = scores[np.arange(len(labels)), labels][:, None]
    return int(((scores > own).sum(axis=-1) < k).sum())
