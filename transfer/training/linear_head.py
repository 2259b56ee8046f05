"""The initial head: noise, zeros, or a logistic regression."""

import contextlib
import dataclasses
import pathlib
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from efficientnet_tf.data import examples as examples_lib
from efficientnet_tf.inference import classifier as classifier_lib
from efficientnet_tf.utils import files, intervals
from transfer.config import class_weights, recipes
from transfer.scores import calibration, image_names, predictions
from transfer.training import frozen_features, prototypes

# Describes a run's linear head: "C", the inverse L2 strength;
# "validation_top1", measured before it was fitted on these images too, with
# "images" and "folds" as in `Strength`; and "finished", when, by `time.time()`.
LINEAR_HEAD_FILE = "linear_head.json"

# With fewer validation images than this the strength is chosen by
# cross-validation: one of 30 images is three points of accuracy.
ENOUGH_TO_CHOOSE = 150
FOLDS = 5
# With more images than this `FOLDS` sweeps take minutes.
MOST_TO_CROSS_VALIDATE = 2_000
# Of the largest deviation of a feature; see `standardize`.
LEAST_DEVIATION = 0.1

Features = frozen_features.Features


@dataclasses.dataclass(frozen=True)
class Strength:
    """A chosen inverse L2 strength, and what it was chosen by.

    `folds` of a cross-validation on `images`; 1: these were held out.
    """

    C: float
    accuracy: float
    log_loss: float
    images: int
    folds: int

    def __str__(self) -> str:
        how = "validation images"
        if self.folds > 1:
            how = f"images in {self.folds}-fold cross-validation"
        return f"C={self.C:g}, top-1 {self.accuracy:.4f} on {self.images} {how}"


def initialize_head(
    classifier: classifier_lib.Classifier,
    examples: Mapping[str, examples_lib.Examples],
    config: recipes.FinetuneConfig,
    cache_key: str,
    workdir: pathlib.Path,
) -> None:
    """Initializes the head of a classifier as `config.head` says.

    Args:
      classifier: a classifier that has not been trained.
      examples: {split: examples}, "train" and "validation" among them.
      config: a recipe without a rule.
      cache_key: identifies the network's weights in the cache of features.
      workdir: where LINEAR_HEAD_FILE is written.
    """
    head = classifier.model.get_layer("predictions")
    if config.head == "zero":
        head.set_weights([0 * value for value in head.get_weights()])
    if config.head not in ("linear", "prototypes"):
        return
    pairs = frozen_features.extract_splits(
        classifier, examples, config.precision, cache_key
    )
    if prototypes.are_chosen(config.head, *pairs):
        parts = pairs if config.train_on == "train+validation" else pairs[:1]
        about = prototypes.initialize(classifier, parts, examples, workdir)
        files.write_json(
            workdir / LINEAR_HEAD_FILE, {**about, "finished": time.time()}
        )
        return
    weighing = config.weigh(classifier.class_names)
    chosen, divisions = _search(*pairs, config.l2_sweep, weighing)
    logging.info("Linear classifier: %s.", chosen)
    tf.summary.scalar("linear_head/validation_top1", chosen.accuracy)
    about = dataclasses.asdict(chosen)
    about["validation_top1"] = about.pop("accuracy")
    files.write_json(
        workdir / LINEAR_HEAD_FILE, {**about, "finished": time.time()}
    )
    classes = len(classifier.class_names)
    if not config.trains:  # What has been trained needs others.
        _keep_held_out(
            divisions,
            chosen.C,
            pairs,
            config,
            examples=examples,
            workdir=workdir,
        )
    fitted = pairs[0]
    if config.train_on == "train+validation":
        logging.info("Refitting on training and validation images.")
        fitted = frozen_features.concatenate(pairs)
    head.set_weights(
        fit_classifier(fitted, classes, chosen.C, weighing=weighing)
    )


def choose_strength(
    train: Features,
    validation: Features,
    sweep: Sequence[float],
    *,
    weighing: class_weights.Weighing = class_weights.ALIKE,
) -> Strength:
    """Returns the inverse L2 strength of the best accuracy.

    Of equal accuracies, those within one standard error of the best, the
    smallest log-loss wins: where all images are right, the strongest penalty is
    right with the least confidence.

    Args:
      train: (features [N, C], labels [N]).
      validation: the same, to choose on; if they are few, both are divided for
        a cross-validation.
      sweep: inverse L2 strengths, tried in rising order.
      weighing: how much the classes count.
    """
    return _search(train, validation, sweep, weighing)[0]


def _search(train, validation, sweep, weighing):
    """Returns (the best `Strength`, the divisions that it was chosen on)."""
    divisions = [
        _Division(*parts, weighing)
        for parts in _divide(Features(*train), Features(*validation))
    ]
    images = sum(len(division.labels) for division in divisions)
    tried: list[tuple[Strength, np.ndarray]] = []
    for C in sorted(sweep):
        found = [division.score(C) for division in divisions]
        hits, losses = (
            np.concatenate(part) for part in zip(*found, strict=True)
        )
        strength = Strength(
            C, float(hits.mean()), float(losses.mean()), images, len(divisions)
        )
        logging.debug("%s, log-loss %.4f", strength, strength.log_loss)
        tried.append((strength, hits))
        if _is_worse(hits, _best_hits(tried)):
            break  # Weaker penalties take longest, and only get worse.
    best_hits = _best_hits(tried)
    equal = [found for found, hits in tried if not _is_worse(hits, best_hits)]
    best = min(equal, key=lambda found: found.log_loss)
    _advise([found for found, _ in tried], best, sweep)
    return best, divisions


def fit_classifier(
    examples: Features,
    classes: int,
    strength: float,
    *,
    weighing: class_weights.Weighing = class_weights.ALIKE,
) -> tuple[np.ndarray, np.ndarray]:
    """Fits a logistic regression.

    Args:
      examples: (features [N, C], labels [N]).
      classes: how many classes the kernel covers.
      strength: the inverse L2 strength.
      weighing: how much the classes count.

    Returns:
      (kernel [C, classes], bias [classes]) of a softmax layer.
    """
    examples = _weigh(Features(*examples), weighing)
    scaler, examples = standardize(examples)
    solver = _make_solver().set_params(C=strength)
    return _as_dense(_fit(solver, examples), scaler, classes)


class _Division:
    """Images to fit on, and others to score on, for any strength.

    `size` is how many are fitted on; `places` are those of the others among
    training and validation images.
    """

    def __init__(self, fitted, scored, places, weighing):
        self.size, self.places = len(fitted.labels), places
        self._last = None
        scaler, self._fitted = standardize(_weigh(fitted, weighing))
        self._features = scaler.transform(scored.features)
        self.labels = scored.labels
        self._solver = _make_solver()

    def score(self, C):
        """Returns whether each scored image is right, and its log-loss."""
        shares = self.predict(C)
        own = shares[np.arange(len(shares)), self.labels]
        losses = -np.log(np.maximum(own, 1e-15))
        return shares.argmax(axis=1) == self.labels, losses

    def predict(self, C):
        """Returns probabilities [N, classes that were seen] of the others."""
        if self._last is None or self._last[0] != C:
            solver = _fit(self._solver.set_params(C=C), self._fitted)
            found = solver.predict_proba(self._features)
            # A class that has no image to fit on has probability 0.
            classes = 1 + max(solver.classes_.max(), self.labels.max())
            shares = np.zeros((len(found), classes))
            shares[:, solver.classes_] = found
            self._last = C, shares
        return self._last[1]


def _keep_held_out(divisions, C, pairs, config, *, examples, workdir):
    """Writes what classifiers said of images that they were not fitted on."""
    classes = len(examples["train"].class_names)
    final = len(pairs[0].labels)
    if config.train_on == "train+validation":
        final += len(pairs[1].labels)
    if divisions[0].size < calibration.LEAST_SHARE * final:
        weighing = config.weigh(examples["train"].class_names)
        parts = _cross_validate(frozen_features.concatenate(pairs))
        divisions = [_Division(*part, weighing) for part in parts]
    if not divisions or divisions[0].size < calibration.LEAST_SHARE * final:
        return  # Some class has too few images.
    places = np.concatenate([division.places for division in divisions])
    labels = np.concatenate([division.labels for division in divisions])
    matrix = np.zeros((len(places), classes), "float32")
    begin = 0
    for division in divisions:
        shares = division.predict(C)
        rows = slice(begin, begin + len(shares))
        matrix[rows, : shares.shape[1]] = shares
        begin = rows.stop
    # All classes of fewer images, rather than some classes of all.
    most = max(1, predictions.MOST_NUMBERS // classes)
    if len(places) > most:
        some = np.arange(most) * len(places) // most
        places, labels, matrix = places[some], labels[some], matrix[some]
    both = examples["train"].concatenate(examples["validation"])
    found = predictions.from_matrix(
        matrix, labels, image_names.describe(both).pick(places)
    )
    predictions.write(workdir / predictions.HELD_OUT_FILE, found)


def _divide(train, validation):
    """Returns parts: images to fit on, others to score on, their places."""
    images = len(train.labels) + len(validation.labels)
    enough = len(validation.labels) >= ENOUGH_TO_CHOOSE
    if not enough and images <= MOST_TO_CROSS_VALIDATE:
        parts = _cross_validate(
            frozen_features.concatenate([train, validation])
        )
        if parts:
            return parts
    return [(train, validation, np.arange(len(train.labels), images))]


def _cross_validate(examples):
    """Returns the parts of `_divide` by folds; []: no class has two images.

    All folds are fitted on the only image of a class.
    """
    from sklearn import model_selection

    counts = np.bincount(examples.labels)
    several = counts[examples.labels] > 1
    if not several.any():
        return []
    alone, places = np.flatnonzero(~several), np.flatnonzero(several)
    divider = model_selection.StratifiedKFold(
        min(FOLDS, counts[counts > 1].min()), shuffle=True, random_state=0
    )
    parts = []
    for fitted, scored in divider.split(places, examples.labels[places]):
        own = np.sort(np.concatenate([places[fitted], alone]))
        parts.append(
            (
                examples.select(own),
                examples.select(places[scored]),
                places[scored],
            )
        )
    return parts


def _best_hits(tried):
    """Returns the hits of the most accurate strength."""
    return max((hits for _, hits in tried), key=np.count_nonzero)


def _is_worse(hits, best):
    """Whether fewer images are hit than by the best, by more than chance."""
    wins = np.count_nonzero(best & ~hits)
    losses = np.count_nonzero(hits & ~best)
    return intervals.is_better(wins, losses)


def _weigh(examples, weighing):
    """Returns examples with what each counts, by its class too."""
    weights = weighing.weigh(examples.labels, examples.weights)
    return examples._replace(weights=weights)


def _make_solver():
    from sklearn import linear_model

    return linear_model.LogisticRegression(warm_start=True, max_iter=300)


def _fit(solver, examples):
    from sklearn import exceptions

    with one_thread(), warnings.catch_warnings():
        # Stopped early it is a little more regular, and scored as it is.
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        return solver.fit(*examples)


def _advise(tried, best, sweep):
    """Says if a wider sweep may be more accurate."""
    ends = {min(sweep): tried[1:2], max(sweep): tried[-2:-1]}
    # Where the neighbour is as accurate, a wider sweep would not help.
    for neighbour in ends.get(best.C, ()):
        if best.accuracy > neighbour.accuracy:
            logging.info(
                "C=%g is at the end of l2_sweep; a wider sweep may find a "
                "better one: --set=l2_sweep=%s",
                best.C,
                ",".join(f"{C:g}" for C in _widen(sweep)),
            )


def _widen(sweep):
    """Returns the sweep with two more values at either end."""
    low, high = min(sweep), max(sweep)
    return [low / 10, low / 3, *sorted(sweep), high * 3, high * 10]


def one_thread() -> contextlib.AbstractContextManager:
    """Returns what lets scikit-learn compute on one thread.

    Beside other jobs, threads that wait for each other took 22 s of processor
    time where one takes 0.7.
    """
    import threadpoolctl

    return threadpoolctl.threadpool_limits(1)


def standardize(examples: Features) -> tuple[Any, Features]:
    """Returns a scaler to mean 0 and deviation 1, and the scaled examples.

    The penalty then acts on all features alike, so one sweep suits all networks
    and data sets. But features that hardly any image has are not scaled up to
    the others: they would get weights so large that one such feature outvotes
    all others in the next image, or in the first steps of training.
    """
    from sklearn import preprocessing

    scaler = preprocessing.StandardScaler().fit(examples.features)
    least = LEAST_DEVIATION * np.sqrt(scaler.var_.max())
    scaler.scale_ = np.maximum(scaler.scale_, least)
    scaled = scaler.transform(examples.features)
    return scaler, examples._replace(features=scaled)


def _as_dense(solver, scaler, classes):
    """Turns scikit-learn's coefficients into those of a softmax layer."""
    coefficients = solver.coef_ / scaler.scale_
    intercept = solver.intercept_ - coefficients @ scaler.mean_
    if len(coefficients) == 1:  # Two classes share one logit.
        coefficients = np.concatenate([0 * coefficients, coefficients])
        intercept = np.concatenate([0 * intercept, intercept])
    kernel = np.zeros((coefficients.shape[1], classes), "float32")
    # A class without images is never chosen.
    bias = np.full((classes,), -30.0 if len(solver.classes_) < classes else 0.0)
    kernel[:, solver.classes_] = coefficients.T
    bias[solver.classes_] = intercept
    return kernel, bias.astype("float32")
