r"""Compares scores that tell unknown images, on a run and a second set.

python benchmarks/unknown.py --workdir=runs/flowers --other=cars196 \
    --other_split=test --data_dir=DIR

Each score is fitted on the images that the run was trained on, and compared on
those that it was scored on and the others: AUROC, and the share of the others
that are kept by the threshold that keeps 95 % of the run's own.
"""

import pathlib
import sys

# Else this file's folder would come first, and hide the packages.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import keras
import numpy as np
from absl import app, flags
from scipy import special
from sklearn import covariance

from efficientnet_tf.commands import held_out
from efficientnet_tf.data.sets import sources
from efficientnet_tf.inference import classifier as classifier_lib, unknown
from efficientnet_tf.utils import tables
from transfer import finished
from transfer.training import inputs, unknown_images

WORKDIR = flags.DEFINE_string("workdir", None, "A fine-tuning run.")
OTHER = flags.DEFINE_string("other", None, "A data set of other classes.")
OTHER_SPLIT = flags.DEFINE_string("other_split", "test", "Of --other.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "Where TFDS keeps its sets.")
flags.mark_flags_as_required(["workdir", "other"])


def main(_: list[str]) -> None:
    classifier = classifier_lib.from_run(WORKDIR.value)
    config, loaded = held_out.load_run(WORKDIR.value, DATA_DIR.value)
    trained = finished.embed_trained(WORKDIR.value, config, loaded, classifier)
    other = sources.load(OTHER.value, OTHER_SPLIT.value, DATA_DIR.value)
    head = classifier.model.get_layer("predictions")
    network = keras.Model(classifier.model.inputs, head.input)
    known, foreign = (
        np.concatenate(
            [
                network.predict_on_batch(images.numpy())
                for images, *_ in inputs.make_eval_dataset(part, classifier)
            ]
        ).astype("float64")
        for part in (loaded[config.get("evaluate_on", "test")], other)
    )
    scores = make_scores(trained.features, trained.labels, *head.get_weights())
    rows = []
    for name, score in scores.items():
        found = unknown.measure(score(known), score(foreign))
        rows.append((name, f"{found['auroc']:.4f}", f"{found['fpr95']:.3f}"))
    print(tables.to_markdown(("score", "AUROC", "kept of others"), rows))


def make_scores(features, labels, kernel, bias):
    """Returns {name: maps features [N, C] to scores, foreign ones higher}."""
    features = features.astype("float64")
    classes, places = np.unique(labels, return_inverse=True)
    means = np.stack([features[labels == c].mean(0) for c in classes])
    centre = features.mean(0)
    within, shrinkage = covariance.ledoit_wolf(
        features - means[places], assume_centered=True
    )
    # As strongly shrunk, or the difference of two distances means nothing.
    around = covariance.shrunk_covariance(
        np.cov(features.T, bias=True), shrinkage
    )
    distance = _mahalanobis(within, means)
    background = _mahalanobis(around, centre[None])
    detector = unknown.Detector(unknown_images.average(features, labels), 0.0)
    directions = unknown.normalize(features)

    def nearest(images):
        cosines = unknown.normalize(images) @ directions.T
        return 1 - np.sort(cosines, axis=1)[:, -5:].mean(axis=1)

    def logits(images):
        return images @ kernel + bias

    return {
        "highest probability": lambda images: (
            -special.softmax(logits(images), axis=1).max(axis=1)
        ),
        "energy": lambda images: -special.logsumexp(logits(images), axis=1),
        "Mahalanobis": distance,
        "relative Mahalanobis": lambda images: (
            distance(images) - background(images)
        ),
        "5 nearest images, cosine": nearest,
        "class means, cosine": detector.score,
    }


def _mahalanobis(matrix, means):
    """Returns what maps images to squared distances from the nearest mean."""
    root = np.linalg.cholesky(np.linalg.inv(matrix))
    centres = means @ root

    def score(images):
        moved = images @ root
        products = 2 * moved @ centres.T
        squares = np.square(moved).sum(1)[:, None] + np.square(centres).sum(1)
        return (squares - products).min(axis=1)

    return score


if __name__ == "__main__":
    app.run(main)
