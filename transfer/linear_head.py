"""The initial head: noise, zeros, or a logistic regression.

The regression is fitted on frozen features, which are cached on disk.
"""

import contextlib
import hashlib
import os
import pathlib
import time
from collections.abc import Iterable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
import tqdm
from absl import logging

from efficientnet_tf.data import examples as examples_lib
from efficientnet_tf.inference import classifier as classifier_lib
from efficientnet_tf.utils import cache_folder as cache_folder_lib, files
from transfer import inputs, recipes

# Describes a run's linear head: "C", the inverse L2 strength;
# "validation_top1", measured before it was fitted on these images too; and
# "finished", when, by `time.time()`.
LINEAR_HEAD_FILE = "linear_head.json"

# Bytes that all cached features may take.
DISK_LIMIT = 4 * 2**30
# A sweep ends when validation accuracy falls this far below its best.
OVERFITTING = 0.005

# Features [N, C] and labels [N].
Features = tuple[np.ndarray, np.ndarray]


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
    if config.head != "linear":
        return
    classes = len(classifier.class_names)
    settings = (
        classifier.resolution,
        classifier.interpolation,
        classifier.crop_padding,
    )
    cache_key = f"{cache_key}:{settings}:{config.precision}"
    pairs = {
        split: _extract_split(classifier, split, examples[split], cache_key)
        for split in ("train", "validation")
    }
    kernel, bias, strength, accuracy = fit_classifier(
        pairs["train"], pairs["validation"], classes, config.l2_sweep
    )
    logging.info(
        "Linear head: C=%g, validation top-1 %.4f.", strength, accuracy
    )
    tf.summary.scalar("linear_head/validation_top1", accuracy)
    files.write_json(
        workdir / LINEAR_HEAD_FILE,
        {
            "C": strength,
            "validation_top1": float(accuracy),
            "finished": time.time(),
        },
    )
    if config.train_on == "train+validation":
        logging.info("Refitting on training and validation images.")
        kernel, bias = refit_classifier(
            concatenate(pairs.values()), classes, strength
        )
    head.set_weights([kernel, bias])


def extract_features(
    model: keras.Model, dataset: Iterable, cache_key: str
) -> Features:
    """Returns pooled features [N, C] and labels [N] of an ordered data set.

    A second call with the same key, weights and layers reads them from the
    cache.

    Args:
      model: has a layer "avg_pool".
      dataset: batches of (images, labels).
      cache_key: identifies the data set and its preprocessing.
    """
    # Not "avg_pool", which a vision transformer lacks.
    pooled = model.get_layer("predictions").input
    network = keras.Model(model.inputs, pooled)
    digest = hashlib.sha256(cache_key.encode())
    for layer in network.layers:
        # Equal weights give other features after another normalization.
        if not layer.weights:
            digest.update(repr(layer.get_config()).encode())
    for value in network.get_weights():
        digest.update(value.tobytes())
    path = cache_folder() / f"{digest.hexdigest()[:32]}.npz"
    # Another process may remove it at any time.
    with contextlib.suppress(FileNotFoundError), np.load(path) as cached:
        logging.info("Features from %s.", path)
        os.utime(path)  # `files.prune` removes the longest unused.
        return cached["features"], cached["labels"]
    pairs = []
    for images, labels in tqdm.tqdm(
        dataset, "Features", unit="batch", disable=None
    ):
        values = network.predict_on_batch(np.asarray(images))
        pairs.append((np.asarray(values), np.asarray(labels)))
    features, labels = concatenate(pairs)
    features = features.astype("float32")
    with files.atomic(path) as temporary:
        np.savez(temporary, features=features, labels=labels)
    files.prune(path.parent, DISK_LIMIT)
    return features, labels


def cache_folder() -> pathlib.Path:
    """Returns the folder of cached features, beside the cached weights."""
    return pathlib.Path(cache_folder_lib.cache_dir()) / "features"


def fit_classifier(
    train: Features,
    validation: Features,
    classes: int,
    sweep: Sequence[float],
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Fits logistic regressions and keeps the best on validation.

    Args:
      train: (features [N, C], labels [N]).
      validation: the same, to choose the L2 strength on.
      classes: how many classes the kernel covers.
      sweep: inverse L2 strengths, tried in rising order.

    Returns:
      (kernel [C, classes], bias [classes], best inverse strength, its
      validation accuracy).
    """
    from sklearn import linear_model

    best: tuple = ()
    solver = linear_model.LogisticRegression(warm_start=True, max_iter=300)
    scaler, train = _standardize(train)
    validation = (scaler.transform(validation[0]), validation[1])
    for strength in sorted(sweep):
        solver.set_params(C=strength).fit(*train)
        accuracy = solver.score(*validation)
        logging.info("C=%g: validation top-1 %.4f", strength, accuracy)
        if not best or accuracy > best[-1]:
            dense = _as_dense(solver, scaler, classes)
            best = (*dense, strength, accuracy)
        elif accuracy < best[-1] - OVERFITTING:
            break  # Weaker penalties take longest, and only get worse.
    if len(sweep) > 1 and best[-2] in (min(sweep), max(sweep)):
        logging.info(
            "C=%g is at the end of l2_sweep; a wider sweep may find a better "
            "one: --set=l2_sweep=%s",
            best[-2],
            ",".join(f"{C:g}" for C in _widen(sweep)),
        )
    return best


def refit_classifier(
    examples: Features, classes: int, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Fits one inverse L2 strength; returns (kernel, bias)."""
    from sklearn import linear_model

    solver = linear_model.LogisticRegression(C=strength, max_iter=300)
    scaler, examples = _standardize(examples)
    return _as_dense(solver.fit(*examples), scaler, classes)


def concatenate(pairs: Iterable[Features]) -> Features:
    """Joins several (features, labels) into one."""
    features, labels = zip(*pairs, strict=True)
    return np.concatenate(features), np.concatenate(labels)


def _extract_split(classifier, split, part, cache_key):
    """Returns the features of a split, under the classifier's preprocessing."""
    logging.info("Features of %d %s images.", part.size, split)
    dataset = inputs.make_eval_dataset(part, classifier)
    key = f"{cache_key}:{part.fingerprint}"
    return extract_features(classifier.model, dataset, key)


def _widen(sweep):
    """Returns the sweep with two more values at either end."""
    low, high = min(sweep), max(sweep)
    return [low / 10, low / 3, *sorted(sweep), high * 3, high * 10]


def _standardize(examples):
    """Returns a scaler to mean 0 and deviation 1, and the scaled examples.

    The penalty then acts on all features alike, so one sweep suits all networks
    and data sets.
    """
    from sklearn import preprocessing

    features, labels = examples
    scaler = preprocessing.StandardScaler().fit(features)
    return scaler, (scaler.transform(features), labels)


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
