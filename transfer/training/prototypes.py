"""A head of prototypes: the nearest class mean by cosine, without a search.

Snell et al., 2017, https://arxiv.org/abs/1703.05175, with the features centred
and scaled to length 1 as Wang et al., 2019, https://arxiv.org/abs/1911.04623,
found best (CL2N).
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from efficientnet_tf.data import examples as examples_lib
from efficientnet_tf.inference import classifier as classifier_lib
from transfer.scores import image_names, predictions
from transfer.training import frozen_features

Features = frozen_features.Features

# Ours: of a cosine, where no class has two images to fit it on
# (docs/RESULTS.md, "Few images").
SCALE = 14.0
_RANGE = (0.5, 100.0)
# How far from `SCALE` its logarithm is, before any image was seen.
_PRIOR_SD = np.log(2)


# Ours: with fewer images a class, on average, there is nothing to choose the
# strength of a logistic regression on; the class means are as accurate then,
# and from five images on worse (docs/RESULTS.md).
FEWEST_FOR_LINEAR = 2.0


class Means(NamedTuple):
    """Directions of classes, float64 [classes, C], of length 1 or, without
    images, 0; the centre [C], and the mean length of images around it.
    """

    directions: np.ndarray
    centre: np.ndarray
    length: float


def are_chosen(head: str, train: Features, validation: Features) -> bool:
    """Whether a config's `head` means prototypes for these images."""
    if head != "linear":
        return head == "prototypes"
    return are_all(np.concatenate([train.labels, validation.labels]))


def are_all(labels: np.ndarray) -> bool:
    """Whether images are too few for anything but prototypes.

    Args:
      labels: of all images to fit on.
    """
    if labels.ndim > 1:  # Not classes.
        return False
    return len(labels) < FEWEST_FOR_LINEAR * len(np.unique(labels))


def initialize(
    classifier: classifier_lib.Classifier,
    pairs: Sequence[Features],
    examples: Mapping[str, examples_lib.Examples],
    workdir: pathlib.Path,
) -> dict[str, Any]:
    """Sets the head of a classifier; returns what is kept about it.

    Args:
      classifier: one that has not been trained.
      pairs: features of the splits that it is fitted on.
      examples: the images of these, {split: images}.
      workdir: where is written what each image got from the others.
    """
    from scipy import special

    classes = len(classifier.class_names)
    both = pairs[0] if len(pairs) == 1 else frozen_features.concatenate(pairs)
    head = classifier.model.get_layer("predictions")
    head.set_weights(fit_head(both, classes))
    about = {"head": "prototypes", "images": len(both.labels)}
    counts = np.bincount(both.labels, minlength=classes)
    own = np.flatnonzero(counts[both.labels] > 1)
    logging.info("Prototypes of %d images.", len(both.labels))
    if not len(own):
        return about
    scale = fit_scale(both, average(both, classes))
    logits = scale * predict_others(both, classes)
    logits[:, counts == 0] = -30.0
    shares = special.softmax(logits[own], axis=1).astype("float32")
    hits = shares.argmax(axis=1) == both.labels[own]
    parts = [examples[name] for name in ("train", "validation")[: len(pairs)]]
    whole = parts[0] if len(parts) == 1 else parts[0].concatenate(parts[1])
    found = predictions.from_matrix(
        shares, both.labels[own], image_names.describe(whole).pick(own)
    )
    predictions.write(workdir / predictions.HELD_OUT_FILE, found)
    return {**about, "left_out_top1": float(hits.mean())}


def fit_head(examples: Features, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (kernel [C, classes], bias [classes]) of a softmax layer.

    A logit is a scale times the cosine between image and class mean, but for
    the length of the image's features, for which their mean stands: a dense
    layer cannot divide by it, and the nearest class is the same without.

    Args:
      examples: (features [N, C], labels [N]).
      classes: how many there are; one without images is never chosen.
    """
    means = average(examples, classes)
    scale = fit_scale(examples, means)
    kernel = scale * means.directions.T / means.length
    bias = -means.centre @ kernel
    empty = ~means.directions.any(axis=1)
    # As those of `linear_head`.
    bias[empty] = -30.0 + bias[~empty].min()
    return kernel.astype("float32"), bias.astype("float32")


def average(examples: Features, classes: int) -> Means:
    """Returns the mean direction of each class's images."""
    features = examples.features.astype("float64")
    weights = _get_weights(examples)
    centre = np.average(features, axis=0, weights=weights)
    units, lengths = _normalize(features - centre)
    sums = np.zeros((classes, features.shape[1]))
    np.add.at(sums, examples.labels, units * weights[:, None])
    return Means(_normalize(sums)[0], centre, float(lengths.mean()))


def predict_others(examples: Features, classes: int) -> np.ndarray:
    """Returns the cosines [N, classes] of images, each by means without it.

    That of an image that is the only one of its class is 0 with that class.
    """
    means = average(examples, classes)
    units, lengths = _normalize(examples.features - means.centre)
    weights = _get_weights(examples)[:, None]
    sums = np.zeros_like(means.directions)
    np.add.at(sums, examples.labels, units * weights)
    cosines = units @ means.directions.T
    rest, left = _normalize(sums[examples.labels] - units * weights)
    rest[left < 1e-9] = 0  # Of rounding, where nothing is left.
    rows = np.arange(len(units))
    cosines[rows, examples.labels] = (units * rest).sum(axis=1)
    # As the head has them.
    return cosines * (lengths / means.length)[:, None]


def fit_scale(examples: Features, means: Means) -> float:
    """Returns the scale of the largest likelihood of images left out.

    With a weak preference for `SCALE`, which stands where no class has two
    images.
    """
    from scipy import optimize, special

    counts = np.bincount(examples.labels)
    own = counts[examples.labels] > 1
    if not own.any():
        return SCALE
    cosines = predict_others(examples, len(means.directions))[own]
    cosines = cosines[:, np.unique(examples.labels)]
    places = np.searchsorted(np.unique(examples.labels), examples.labels[own])

    def loss(log_scale):
        logits = special.log_softmax(np.exp(log_scale) * cosines, axis=1)
        prior = ((log_scale - np.log(SCALE)) / _PRIOR_SD) ** 2 / 2
        return prior - logits[np.arange(len(places)), places].sum()

    found = optimize.minimize_scalar(
        loss, bounds=np.log(_RANGE), method="bounded"
    )
    return float(np.exp(found.x))


def _get_weights(examples):
    if examples.weights is None:
        return np.ones(len(examples.labels))
    return examples.weights.astype("float64")


def _normalize(rows):
    """Returns rows of length 1, and the lengths that they had."""
    lengths = np.linalg.norm(rows, axis=1)
    return rows / np.maximum(lengths, 1e-12)[:, None], lengths
