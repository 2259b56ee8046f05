import dataclasses
import re
import zipfile

import keras
import numpy as np
import pytest
from sklearn import metrics

import samples
from efficientnet_tf.deploy import keras_file
from efficientnet_tf.inference import classifier as classifier_lib, unknown
from efficientnet_tf.utils import untrusted

MEANS = np.eye(3, 8, dtype="float16")
DETECTOR = unknown.Detector(MEANS, 0.25)


@pytest.fixture(scope="module")
def classifier():
    images = samples.make_images(6)
    made = samples.make_classifier(images)
    random = np.random.default_rng(0).normal(size=(4, 64))
    means = unknown.normalize(random).astype("float16")
    return dataclasses.replace(made, unknown=unknown.Detector(means, 0.5))


# (features, score): an image that is a class, one between two, one opposite.
SCORES = [
    ([2, 0, 0, 0, 0, 0, 0, 0], 0),
    ([1, 1, 0, 0, 0, 0, 0, 0], 1 - 0.5**0.5),
    ([0, 0, 0, 5, 0, 0, 0, 0], 1),
    ([-1, -1, -1, 0, 0, 0, 0, 0], 1 + (1 / 3) ** 0.5),
    ([0, 0, 0, 0, 0, 0, 0, 0], 1),  # Features that say nothing.
]


@pytest.mark.parametrize("features,expected", SCORES)
def test_the_score_is_one_less_the_cosine_of_the_nearest_class(
    features, expected
):
    features = np.array(features, "float32")
    found = DETECTOR.describe(features, "cat")
    assert found["unknown_score"] == pytest.approx(expected, abs=1e-6)
    answer = "none of these" if expected > 0.25 else "cat"
    assert found["answer"] == answer


def test_auroc_is_that_of_scikit_learn_and_counts_equal_scores_as_half():
    random = np.random.default_rng(0)
    known, foreign = random.integers(0, 9, 50), random.integers(3, 12, 30)
    found = unknown.measure(known, foreign)
    labels = np.repeat([0, 1], [50, 30])
    scores = np.concatenate([known, foreign])
    assert found["auroc"] == pytest.approx(
        metrics.roc_auc_score(labels, scores)
    )
    kept = np.sort(known)[47]  # Of 50, 48 are 96 %.
    assert found["fpr95"] == (foreign <= kept).mean()


def test_files_are_scored_by_the_features_that_the_network_pools(
    classifier, tmp_path
):
    path = tmp_path / "a.png"
    pixels = samples.make_images(1)[0].astype("uint8")
    keras.utils.save_img(path, pixels, scale=False)
    (score,) = classifier.score_unknown([path])
    network = classifier.model
    pooled = keras.Model(network.inputs, network.get_layer("avg_pool").output)
    batch = classifier.preprocess(pixels).numpy()[None]
    features = pooled.predict_on_batch(batch)[0]
    cosines = classifier.unknown.means.astype("float32") @ features
    expected = 1 - cosines.max() / np.linalg.norm(features)
    assert score == pytest.approx(expected, abs=1e-5)
    ((_, found),) = classifier.embed_each([path])
    np.testing.assert_allclose(found.features, features, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        found.probabilities, classifier.predict([path])[0], atol=1e-6
    )
    without = dataclasses.replace(classifier, unknown=None)
    with pytest.raises(ValueError, match="nothing to tell unknown images by"):
        without.score_unknown([path])


def test_a_run_and_a_keras_file_keep_it_and_a_run_without_it_removes_it(
    classifier, tmp_path
):
    classifier.save(tmp_path)
    keras_file.export_keras(classifier, tmp_path / "exported.keras")
    for found in (
        classifier_lib.from_run(tmp_path),
        keras_file.load(tmp_path / "exported.keras"),
    ):
        assert found.unknown.threshold == 0.5
        np.testing.assert_array_equal(
            found.unknown.means, classifier.unknown.means
        )
    with zipfile.ZipFile(tmp_path / "exported.keras", "a") as archive:
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr(unknown.UNKNOWN_FILE, b"PK")
    with pytest.raises(untrusted.DamagedError, match=r"exported\.keras is dam"):
        keras_file.load(tmp_path / "exported.keras")
    dataclasses.replace(classifier, unknown=None).save(tmp_path)
    assert not (tmp_path / unknown.UNKNOWN_FILE).exists()


def test_features_of_what_keras_does_not_run_are_refused(classifier):
    exported = dataclasses.replace(classifier, model=object())
    with pytest.raises(ValueError, match="of a network of Keras, in a run"):
        list(exported.embed_each([]))


def _write(path, **arrays):
    fields = {"means": MEANS, "threshold": np.array([0.25])}
    np.savez(path, **(fields | arrays))


# name: (what is written, a part of the message)
DAMAGED = {
    "no archive": (lambda path: path.write_bytes(b"PK"), "is damaged"),
    "cut": (
        lambda path: (_write(path), path.write_bytes(path.read_bytes()[:200])),
        "is damaged",
    ),
    "other features": (
        lambda path: _write(path, means=np.eye(3, 9, dtype="float16")),
        "it has 9 features, the network beside it 8",
    ),
    "more classes": (
        lambda path: _write(path, means=np.eye(5, 8, dtype="float16")),
        "the means of 5 of 4 classes",
    ),
    "not of length 1": (
        lambda path: _write(path, means=2 * MEANS),
        "a mean is not of length 1",
    ),
    "not a number": (
        lambda path: _write(path, means=np.nan * MEANS),
        "a mean is not of length 1",
    ),
    "no threshold": (
        lambda path: _write(path, threshold=np.array([np.nan])),
        "its threshold is nan",
    ),
    "other numbers": (
        lambda path: _write(path, means=MEANS.astype("float64")),
        "means is float64",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_one_line_that_names_it(tmp_path, name):
    write, message = DAMAGED[name]
    path = tmp_path / unknown.UNKNOWN_FILE
    write(path)
    with pytest.raises(untrusted.DamagedError, match=re.escape(message)) as got:
        unknown.read(path, 8, 4)
    assert str(path) in str(got.value) and "\n" not in str(got.value)
