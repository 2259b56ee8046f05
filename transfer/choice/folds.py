"""Trainings and linear heads that `auto` compares on held-out images."""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping

import keras
import tensorflow as tf
from absl import logging

from efficientnet_tf.data import examples as examples_lib
from efficientnet_tf.inference import classifier as classifier_lib
from transfer.config import recipes, training_plan
from transfer.training import fitting, frozen_features

# So many held-out images are enough to compare on. Where a set has fewer
# validation images, a third of all is held out, up to three times.
ENOUGH_TO_COMPARE = 150
FOLDS = 3


def divide(
    examples: Mapping[str, examples_lib.Examples],
) -> list[tuple[examples_lib.Examples, examples_lib.Examples]]:
    """Returns [(images to train on, held-out images)]."""
    train, validation = examples["train"], examples["validation"]
    if validation.size >= ENOUGH_TO_COMPARE:
        return [(train, validation)]
    rest = train.concatenate(validation)
    size = rest.size // FOLDS
    if not size:
        return [(train, validation)]
    held = []
    for _ in range(FOLDS - 1):
        rest, part = rest.hold_out(size)
        held.append(part)
    held.append(rest)
    pairs, compared = [], 0
    for number, part in enumerate(held):
        if compared >= ENOUGH_TO_COMPARE:
            break
        first, second = held[:number] + held[number + 1 :]
        pairs.append((first.concatenate(second), part))
        compared += part.size
    return pairs


def extract_features(
    setup: fitting.Setup,
    classifier: classifier_lib.Classifier,
    examples: Mapping[str, examples_lib.Examples],
) -> tuple[frozen_features.Features, frozen_features.Features]:
    """Returns the features of train and validation under a setup's network."""
    return frozen_features.extract_splits(
        classifier,
        examples,
        setup.config.precision,
        fitting.cache_key(setup),
    )


def begin_fold(
    setup: fitting.Setup,
    plan: recipes.FinetuneConfig,
    examples: Mapping[str, examples_lib.Examples],
    folder: pathlib.Path,
) -> fitting.Setup:
    """Returns the setup of a training that is compared, and says so.

    Args:
      setup: of the run.
      plan: of the training.
      examples: what is trained on, and as "validation" compared on.
      folder: of the training.
    """
    logging.info(
        "Training on %d images, to compare on %d others: %s.",
        examples["train"].size,
        examples["validation"].size,
        training_plan.describe(plan),
    )
    config = dataclasses.replace(
        plan, train_on="train", evaluate_on="validation"
    )
    return dataclasses.replace(
        setup, config=config, examples=examples, workdir=folder
    )


def train(
    setup: fitting.Setup,
    classifier: classifier_lib.Classifier,
    watchers: Iterable[keras.callbacks.Callback] = (),
) -> None:
    """Trains the classifier of `begin_fold`'s setup.

    TensorBoard shows the run that is kept, as one; the curves of this training
    are in its folder's metrics alone.
    """
    with tf.summary.record_if(False):
        fitting.train(setup, classifier, watchers)
