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
)
from efficientnet_tf.utils import files, target_scores, targets
from transfer.config import recipes
from transfer.scores import calibration
from transfer.training import frozen_features, linear_head, number_scale

Features = frozen_features.Features
# Below the sweep, strengths that are tried while they are better.
LOWER, MOST_LOWER = 4.0, 6


@dataclasses.dataclass(frozen=True)
class Search:
    """A chosen inverse L2 strength, and what it said of held-out images.

    `losses` [N] are the images' own, `answers` in the targets' own units,
    `size` is how many images each head was fitted on.
    """

    C: float
    losses: np.ndarray
    answers: target_scores.Answers
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
    # Few images with many features need more than any sweep for classes has.
    C, floor = first / LOWER, first / LOWER**MOST_LOWER
    while others and best.C == LOWER * C and C >= floor * 0.99:
        found = _try(parts, C, kind)
        if found.losses.mean() < best.losses.mean():
            best = found
        C /= LOWER
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


def answer(
    fitted: Features, scored: Features, strength: float, kind: str
) -> target_scores.Answers:
    """Returns what a head that is fitted on some images says of others."""
    kernel, bias = fit(fitted, strength, kind)
    values = scored.features @ kernel + bias
    if kind == targets.LABELS:
        values = 1 / (1 + np.exp(-np.clip(values, -60, 60)))
    else:
        scale = number_scale.of_numbers(fitted.labels)
        values = values * scale.deviation + scale.mean
    return target_scores.Answers(scored.labels, values.astype("float32"))


def _divide(train, validation):
    """Returns [(to fit on, to score on)]."""
    images = len(train.labels) + len(validation.labels)
    few = len(validation.labels) < linear_head.ENOUGH_TO_CHOOSE
    if not few or images > linear_head.MOST_TO_CROSS_VALIDATE:
        return [(train, validation)]
    from sklearn import model_selection

    both = frozen_features.concatenate([train, validation])
    divider = model_selection.KFold(
        min(linear_head.FOLDS, images), shuffle=True, random_state=0
    )
    return [
        (both.select(fitted), both.select(scored))
        for fitted, scored in divider.split(both.features)
    ]


def _try(parts, C, kind):
    said = [answer(fitted, scored, C, kind) for fitted, scored in parts]
    answers = target_scores.Answers(
        np.concatenate([part.truth for part in said]),
        np.concatenate([part.found for part in said]),
    )
    return Search(
        C,
        target_scores.lose(answers, kind),
        answers,
        len(parts),
        len(parts[0][0].labels),
    )


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
    # Of one number, scikit-learn leaves an axis out.
    names = examples.labels.shape[1]
    return solver.coef_.reshape(names, -1), solver.intercept_.reshape(names)


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
