import dataclasses
import types

import numpy as np
import pytest

from efficientnet_tf.inference import unknown
from transfer.config import recipes
from transfer.training import frozen_features, unknown_images

LINEAR = recipes.RECIPES["linear"]
FULL = dataclasses.replace(recipes.RECIPES["full"], train_on="train+validation")
TRAIN = dataclasses.replace(FULL, train_on="train")


def _clusters(count, classes=3, seed=0):
    """Features around three directions, and their labels."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    centres = 3 * np.eye(classes, 8)
    features = centres[labels] + random.normal(0, 0.4, (count, 8))
    return features.astype("float32"), labels


@pytest.fixture
def fit(monkeypatch):
    """Fits on features in place of images."""

    def run(config, train, validation=None, folds=()):
        parts = {"train": train, "validation": validation or _clusters(60)}
        monkeypatch.setattr(
            frozen_features,
            "extract_split",
            lambda classifier, examples, *_: frozen_features.Features(
                *parts[examples.name]
            ),
        )
        examples = {
            name: types.SimpleNamespace(name=name, size=len(part[1]))
            for name, part in parts.items()
        }
        return unknown_images.fit(None, examples, config, "", folds)

    return run


def test_each_image_is_scored_by_means_without_it():
    features, labels = _clusters(30)
    labels[0] = 3  # Alone in its class: nothing is left to score it by.
    found = unknown_images.leave_one_out(features, labels)
    assert len(found) == 29
    for place in (1, 7, 29):
        rest = np.arange(30) != place
        means = unknown_images.average(features[rest], labels[rest])
        (expected,) = unknown.Detector(means, 0).score(features[[place]])
        assert found[place - 1] == pytest.approx(expected, abs=1e-3)


def test_means_are_those_of_classes_that_have_images():
    features, labels = _clusters(30)
    labels[labels == 1] = 4
    means = unknown_images.average(features, labels)
    assert means.shape == (3, 8) and means.dtype == np.float16
    expected = features[labels == 4].mean(0)
    expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(means[2], expected, atol=1e-3)


# name: (config, images to train on, a part of the note)
THRESHOLDS = {
    "frozen": (LINEAR, 300, "360 images, each by means without it"),
    "trained on all": (FULL, 300, "360 images that it was trained on, so more"),
    "held out": (TRAIN, 300, "60 held-out images"),
    "scored on validation": (
        dataclasses.replace(TRAIN, evaluate_on="validation"),
        300,
        "300 images that it was trained on",
    ),
}


@pytest.mark.parametrize("name", THRESHOLDS)
def test_the_threshold_keeps_95_percent_and_says_of_which_images(fit, name):
    config, count, note = THRESHOLDS[name]
    found = fit(config, _clusters(count))
    assert note in found.note
    new, _ = _clusters(2_000, seed=1)
    kept = (found.detector.score(new) <= found.detector.threshold).mean()
    assert 0.9 < kept < 0.99
    fields = found.describe()
    assert fields["unknown_threshold"] == found.detector.threshold
    shares = unknown_images.describe_kept(
        found.detector.score(new), found.detector
    )
    assert shares == {"unknown_kept": kept}


def test_without_held_out_images_trainings_like_it_say_the_threshold(
    fit, tmp_path
):
    means = unknown_images.average(*_clusters(30))
    folds = [tmp_path / f"{i}.npz" for i in range(4)]
    for path, threshold in zip(folds[:2], (0.2, 0.4), strict=True):
        unknown.write(path, unknown.Detector(means, threshold))
    folds[2].write_bytes(b"PK")  # Damaged; the last is missing.
    found = fit(FULL, _clusters(300), folds=folds)
    assert found.detector.threshold == pytest.approx(0.3)
    assert found.note == "held-out images of 2 trainings like it"


def test_one_image_a_class_has_no_threshold(fit):
    found = fit(TRAIN, _clusters(3), _clusters(3))
    assert found.detector is None
    assert found.describe() == {
        "unknown_threshold": None,
        "unknown_by": "no class has two images",
    }
    assert unknown_images.describe_kept(np.zeros(0), None) == {}
