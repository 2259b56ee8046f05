"""The linear head of labels (a logistic regression each) or numbers (ridge)."""

import dataclasses
import pathlib
import time
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from efficientnet_tf.data import examples as examples_lib
from efficientnet_tf.inference import (
    classifier as classifier_lib,
    target_scores,
)
from efficientnet_tf.utils import files, targets
from transfer import (
    calibration,
    frozen_features,
    linear_head,
    number_scale,
    recipes,
)

Features = frozen_features.Features
# Of probabilities in a log-loss.
_LEAST = 1e-7


@dataclasses.dataclass(frozen=True)
class Search:
    """A chosen inverse L2 strength, and what it said of held-out images.

    `losses` [N] are the images' own, `answers` in the targets' own units,
    `places` those among training and validation images; `size` is how many
    images each classifier was fitted on.
    """

    C: float
    losses: np.ndarray
    answers: target_scores.Answers
    places: np.ndarray
    folds: int
    size: int


def initialize_head(
    classifier: classifier_lib.Classifier,
    examples: Mapping[str, examples_lib.Examples],
    config: recipes.FinetuneConfig,
    cache_key: str,
    workdir: pathlib.Path,
) -> target_scores.Answers | None:
    """Initializes a head as `config.head` says; see `linear_head`.

    Returns:
      What was said of images that were held out to choose the strength on;
      None: nothing, or by classifiers of far fewer images than the head's.
    """
    head = classifier.model.get_layer("predictions")
    if config.head == "zero":
        head.set_weights([0 * value for value in head.get_weights()])
    if config.head != "linear":
        return None
    kind = classifier.target
    pairs = frozen_features.extract_splits(
        classifier, examples, config.precision, cache_key
    )
    found = search(*pairs, config.l2_sweep, kind)
    metric = targets.METRICS[kind]
    value = target_scores.score(found.answers, kind)[metric]
    logging.info(
        "Linear head: C=%g, %s %.4f on %d held-out images.",
        found.C,
        targets.METRIC_NAMES[metric],
        value,
        len(found.losses),
    )
    tf.summary.scalar(f"linear_head/validation_{metric}", value)
    files.write_json(
        workdir / linear_head.LINEAR_HEAD_FILE,
        {
            "C": found.C,
            f"validation_{metric}": value,
            "log_loss": float(found.losses.mean()),
            "images": len(found.losses),
            "folds": found.folds,
            "finished": time.time(),
        },
    )
    fitted = pairs[0]
    if config.train_on == "train+validation":
        fitted = frozen_features.concatenate(pairs)
    head.set_weights(fit(fitted, found.C, kind))
    if found.size < calibration.LEAST_SHARE * len(fitted.labels):
        return None
    return found.answers


def search(
    train: Features, validation: Features, sweep: Sequence[float], kind: str
) -> Search:
    """Returns the inverse L2 strength of the least loss on held-out images.

    Args:
      train: (features [N, C], targets [N, names]).
      validation: the same, to choose on; if they are few, both are divided for
        a cross-validation.
      sweep: inverse L2 strengths, tried in rising order.
      kind: `targets.LABELS` or `targets.NUMBERS`.
    """
    parts = _divide(train, validation)
    first, *others = sorted(sweep)
    best, rises = _try(parts, first, kind), 0
    for C in others:
        found = _try(parts, C, kind)
        if found.losses.mean() < best.losses.mean():
            best, rises = found, 0
            continue
        rises += 1
        if rises == 2:
            break  # Weaker penalties take longest, and only get worse.
    if others and best.C in (min(sweep), max(sweep)):
        logging.info(
            "C=%g is at the end of l2_sweep; a wider sweep may find a better "
            "one.",
            best.C,
        )
    return best


def fit(
    examples: Features, strength: float, kind: str
) -> tuple[np.ndarray, np.ndarray]:
    """Fits a head to all targets at once.

    Args:
      examples: (features [N, C], targets [N, names]).
      strength: the inverse L2 strength.
      kind: `targets.LABELS` or `targets.NUMBERS`.

    Returns:
      (kernel [C, names], bias [names]): of logits, or of numbers that are
      scaled as `number_scale` does.
    """
    scaler, scaled = linear_head.standardize(examples)
    if kind == targets.NUMBERS:
        coefficients, intercept = _fit_ridge(scaled, strength)
    else:
        rows = [
            _fit_logistic(scaled, scaled.labels[:, i], strength)
            for i in range(scaled.labels.shape[1])
        ]
        coefficients, intercept = map(np.array, zip(*rows, strict=True))
    coefficients = coefficients / scaler.scale_
    intercept = intercept - coefficients @ scaler.mean_
    return coefficients.T.astype("float32"), intercept.astype("float32")


def lose(answers: target_scores.Answers, kind: str) -> np.ndarray:
    """Returns the loss of each image [N]: the log-loss, or squared errors.

    The errors are in deviations of the true numbers.
    """
    truth, found = answers.truth, answers.found.astype("float64")
    if kind == targets.NUMBERS:
        spread = np.maximum(truth.std(axis=0), 1e-12)
        return (((found - truth) / spread) ** 2).mean(axis=1)
    found = np.clip(found, _LEAST, 1 - _LEAST)
    terms = truth * np.log(found) + (1 - truth) * np.log(1 - found)
    return -terms.mean(axis=1)


def _divide(train, validation):
    """Returns [(to fit on, to score on, places of these)]."""
    images = len(train.labels) + len(validation.labels)
    few = len(validation.labels) < linear_head.ENOUGH_TO_CHOOSE
    if not few or images > linear_head.MOST_TO_CROSS_VALIDATE:
        return [(train, validation, np.arange(len(train.labels), images))]
    from sklearn import model_selection

    both = frozen_features.concatenate([train, validation])
    divider = model_selection.KFold(
        min(linear_head.FOLDS, images), shuffle=True, random_state=0
    )
    return [
        (both.select(fitted), both.select(scored), scored)
        for fitted, scored in divider.split(both.features)
    ]


def _try(parts, C, kind):
    truth, found = [], []
    for fitted, scored, _ in parts:
        scale = _find_scale(fitted, kind)
        kernel, bias = fit(fitted, C, kind)
        values = scored.features @ kernel + bias
        if scale is None:
            values = 1 / (1 + np.exp(-np.clip(values, -60, 60)))
        else:
            values = values * scale.deviation + scale.mean
        truth.append(scored.labels)
        found.append(values.astype("float32"))
    answers = target_scores.Answers(
        np.concatenate(truth), np.concatenate(found)
    )
    return Search(
        C,
        lose(answers, kind),
        answers,
        np.concatenate([places for *_, places in parts]),
        len(parts),
        len(parts[0][0].labels),
    )


def _find_scale(examples, kind):
    if kind != targets.NUMBERS:
        return None
    return number_scale.of_numbers(examples.labels)


def _fit_ridge(examples, strength):
    from sklearn import linear_model

    scale = number_scale.of_numbers(examples.labels)
    solver = linear_model.Ridge(alpha=1 / strength)
    with linear_head.one_thread():
        solver.fit(
            examples.features,
            scale.apply(examples.labels),
            sample_weight=examples.weights,
        )
    return solver.coef_, solver.intercept_


def _fit_logistic(examples, labels, strength):
    """Returns (coefficients [C], intercept) of one label."""
    from sklearn import exceptions, linear_model

    if len(np.unique(labels)) < 2:  # Of a fold; nothing tells images apart.
        share = (labels.sum() + 0.5) / (len(labels) + 1)
        flat = np.zeros(examples.features.shape[1])
        return flat, np.log(share / (1 - share))
    solver = linear_model.LogisticRegression(C=strength, max_iter=300)
    with linear_head.one_thread(), warnings.catch_warnings():
        # Stopped early it is a little more regular, and scored as it is.
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        solver.fit(examples.features, labels, sample_weight=examples.weights)
    return solver.coef_[0], solver.intercept_[0]
