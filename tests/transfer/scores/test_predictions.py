import zipfile

import numpy as np
import pytest

import reported
from efficientnet_tf.utils import untrusted
from transfer.scores import predictions

LABELS = np.array([0, 1, 2, 2])
MATRIX = np.array(
    [[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.1, 0.3, 0.6], [0.4, 0.4, 0.2]],
    "float32",
)
NAMES = ("a b.jpg", "猫.png", "b/\udcff.jpg", "new\nline.jpg")


def _write(path, **fields):
    images = predictions.Images(NAMES, reported.name_images(4).sha256, "ü")
    found = predictions.from_matrix(MATRIX, LABELS, images)
    for name, value in fields.items():
        object.__setattr__(found, name, value)
    predictions.write(path, found)
    return found


def test_predictions_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "predictions.npz"
    found = _write(path)
    again = predictions.read(path, 3)
    for name in ("labels", "classes", "probabilities", "own", "before"):
        np.testing.assert_array_equal(
            getattr(again, name), getattr(found, name)
        )
    assert (again.images.names, again.images.fingerprint) == (NAMES, "ü")
    np.testing.assert_array_equal(again.images.sha256, found.images.sha256)
    np.testing.assert_array_equal(again.to_matrix(3), MATRIX)
    # Of equal probabilities the first class is the prediction.
    assert again.predicted.tolist() == [0, 0, 2, 0]
    assert again.own.tolist() == pytest.approx([0.7, 0.4, 0.6, 0.2])


def test_of_too_many_only_the_most_probable_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, "MOST_NUMBERS", 11)
    monkeypatch.setattr(predictions, "TOP", 2)
    _write(tmp_path / "predictions.npz")
    found = predictions.read(tmp_path / "predictions.npz", 3)
    assert found.classes.tolist() == [[0, 1], [0, 1], [2, 1], [0, 1]]
    assert found.own.tolist() == pytest.approx([0.7, 0.4, 0.6, 0.2])
    assert found.to_matrix(3) is None


@pytest.mark.parametrize("kind", ["all different", "ties", "equal", "NaN"])
def test_the_best_of_many_classes_are_those_of_a_stable_sort(kind, monkeypatch):
    monkeypatch.setattr(predictions, "MOST_NUMBERS", 0)
    random = np.random.default_rng(0)
    for classes in (5, 11, 200):
        scores = random.random((7, classes)).astype("float32")
        if kind == "ties":
            scores = np.round(scores * 3) / 3
        elif kind == "equal":
            scores[:] = 0.5
        elif kind == "NaN":
            scores[random.random(scores.shape) < 0.5] = np.nan
        collector = predictions.Collector(7)
        collector.keep(scores, np.zeros(7, int))
        images = predictions.Images(("x",) * 7, np.zeros((0, 32), "uint8"))
        found = collector.collect(images)
        expected = np.argsort(-scores, axis=1, kind="stable")
        expected = expected[:, : predictions.TOP]
        np.testing.assert_array_equal(found.classes, expected)


def test_what_was_said_before_calibration_is_known():
    logits = np.log(MATRIX)
    scaled = np.exp(logits / 2.5)
    scaled /= scaled.sum(axis=1, keepdims=True)
    collector = predictions.Collector(4, temperature=2.5)
    for rows in (slice(0, 3), slice(3, 4)):
        collector.keep(scaled[rows], LABELS[rows])
    found = collector.collect(reported.name_images(4))
    np.testing.assert_allclose(found.before, MATRIX.max(axis=1), rtol=1e-5)


def test_joined_predictions_keep_their_names_and_have_no_fingerprint():
    one = predictions.from_matrix(MATRIX, LABELS, reported.name_images(4))
    two = predictions.from_matrix(
        MATRIX[:1], LABELS[:1], reported.name_images(1, hashed=False)
    )
    both = predictions.concatenate([one, two])
    assert both.images.names[-2:] == ("3.jpg", "0.jpg")
    assert len(both.images.sha256) == 0 and both.images.fingerprint == ""
    assert both.labels.tolist() == [0, 1, 2, 2, 0]


BAD = {
    "class": ({"labels": np.array([0, 1, 2, 3], "int32")}, "none of the 3"),
    "shares": ({"own": np.array([0, 1, 2, np.nan], "float32")}, "between 0 an"),
    "twice": ({"classes": np.zeros((4, 3), "int32")}, "there twice"),
    "type": ({"labels": np.zeros(4, "float64")}, "labels is float64"),
    "rows": ({"before": np.zeros(3, "float32")}, r"before is float32 \(3,\)"),
    "names": (
        {"images": predictions.Images(("a",), np.zeros((0, 32), "uint8"))},
        "it names 1 of 4 images",
    ),
}


@pytest.mark.parametrize("fields,message", BAD.values(), ids=BAD)
def test_a_file_of_something_else_is_refused_in_one_line(
    tmp_path, fields, message
):
    path = tmp_path / "predictions.npz"
    _write(path, **fields)
    with pytest.raises(untrusted.DamagedError, match=f"damaged: .*{message}"):
        predictions.read(path, 3)


def test_a_damaged_file_is_refused_and_a_missing_one_is_none(tmp_path):
    path = tmp_path / "predictions.npz"
    assert predictions.read(path, 3) is None
    for data in (b"", b"PK\x03\x04 not really"):
        path.write_bytes(data)
        with pytest.raises(untrusted.DamagedError):
            predictions.read(path, 3)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("labels.npy", b"")
    with pytest.raises(untrusted.DamagedError):
        predictions.read(path, 3)
    _write(path)
    with pytest.raises(untrusted.DamagedError, match="3 classes of 2"):
        predictions.read(path, 2)
