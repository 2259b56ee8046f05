"""What a trained classifier says of all images of a split."""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import tqdm
from absl import logging

from efficientnet_tf.data import examples as examples_lib
from efficientnet_tf.inference import (
    classifier as classifier_lib,
    evaluate,
    evaluate_targets,
)
from efficientnet_tf.utils import phases, target_scores
from transfer.training import inputs


def score(
    classifier: classifier_lib.Classifier,
    examples: examples_lib.Examples,
    keep: Callable[[np.ndarray, np.ndarray], object] | None = None,
) -> evaluate.Scores:
    """Scores a classifier on all images of a split.

    Args:
      classifier: a trained one.
      examples: the split.
      keep: see `evaluate.evaluate`.
    """
    dataset = inputs.make_eval_dataset(examples, classifier)
    with _showing(examples.size) as update:
        return evaluate.evaluate(
            classifier.model, dataset, progress=update, keep=keep
        )


def predict(
    classifier: classifier_lib.Classifier, examples: examples_lib.Examples
) -> target_scores.Answers:
    """Returns what a classifier says of the labels or numbers of a split."""
    dataset = inputs.make_eval_dataset(examples, classifier)
    with _showing(examples.size) as update:
        return evaluate_targets.predict(classifier.model, dataset, update)


@contextlib.contextmanager
def _showing(images) -> Iterator[Callable]:
    logging.info("Evaluating on %d images.", images)
    bar = tqdm.tqdm(desc="Evaluating", total=images, unit="image", disable=None)
    with phases.during(phases.EVALUATION), bar:
        yield bar.update
