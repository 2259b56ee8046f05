"""What a network says of images with labels or numbers, each image once."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np

from efficientnet_tf.data import resumable
from efficientnet_tf.utils import target_scores


def predict(
    model: keras.Model,
    dataset: Iterable[tuple[Any, Any]],
    progress: Callable[[int], object] | None = None,
    places: Sequence[int] | None = None,
) -> target_scores.Answers:
    """Returns a network's answers for (images, vectors of labels) in batches.

    Args:
      model: maps images to [N, names].
      dataset: an iterable of (images, vectors).
      progress: called with the number of images of each batch, or None.
      places: see `target_scores.place`; None: the same order.

    Raises:
      ValueError: the data set is empty, or has other outputs than the network.
      FloatingPointError: the outputs are not finite.
      RuntimeError: an image cannot be read.
    """
    truth, found = [], []
    with resumable.explained():
        for images, labels in dataset:
            scores = np.asarray(model.predict_on_batch(np.asarray(images)))
            labels = target_scores.spread(
                np.asarray(labels), places, scores.shape[1]
            )
            if not np.isfinite(scores).all():
                raise FloatingPointError("The model's outputs are not finite.")
            if scores.shape[1:] != labels.shape[1:]:
                raise ValueError(
                    f"The model has {scores.shape[1]} outputs, but the images "
                    f"have {labels.shape[1]} labels or numbers."
                )
            truth.append(np.asarray(labels, "float32"))
            found.append(np.asarray(scores, "float32"))
            if progress is not None:
                progress(len(truth[-1]))
    if not truth:
        raise ValueError("The data set to evaluate on is empty.")
    return target_scores.Answers(np.concatenate(truth), np.concatenate(found))
