import dataclasses
import types

import keras
import numpy as np
import pytest

import reported
from efficientnet_tf.data.sets import sources
from efficientnet_tf.inference import classifier as classifier_lib
from transfer.choice import temperature
from transfer.config import class_weights, recipes
from transfer.scores import predictions
from transfer.training import frozen_features, linear_head

FULL = recipes.RECIPES["full"]
LINEAR = recipes.RECIPES["linear"]
BOTH = {"train_on": "train+validation"}
TRAIN = {"train_on": "train", "evaluate_on": "validation"}


def _setup(workdir, config, images=(60, 30)):
    return types.SimpleNamespace(
        workdir=workdir,
        config=config,
        class_names=("a", "b"),
        examples={
            name: types.SimpleNamespace(size=size)
            for name, size in zip(("train", "validation"), images, strict=True)
        },
    )


def _hold_out(path, count, right=0.7):
    """Writes predictions of a network that is surer than it is right."""
    labels = np.arange(count) % 2
    shares = reported.predict(labels, 2, right=right)
    found = predictions.from_matrix(
        shares**3 / (shares**3).sum(axis=1, keepdims=True),
        labels,
        reported.name_images(count),
    )
    path.mkdir(parents=True, exist_ok=True)
    predictions.write(path / predictions.HELD_OUT_FILE, found)


def _make_classifier():
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    shares = keras.layers.Dense(2, "softmax", name="predictions")(pooled)
    network = keras.Model(image, shares)
    return classifier_lib.Classifier(network, ("a", "b"), 8, "bilinear")


def test_probabilities_are_those_of_divided_logits(tmp_path):
    _hold_out(tmp_path, 90)
    before = _make_classifier()
    images = np.random.default_rng(0).normal(0, 3, (9, 8, 8, 3))
    logits = np.log(before.model.predict_on_batch(images))
    setup = _setup(tmp_path, dataclasses.replace(LINEAR, **BOTH))
    after, facts = temperature.calibrate(setup, before)
    assert facts["calibrated_on"] == 90
    assert after.temperature == facts["temperature"] > 2
    expected = np.exp(logits / after.temperature)
    expected /= expected.sum(axis=1, keepdims=True)
    found = after.model.predict_on_batch(images)
    np.testing.assert_allclose(found, expected, atol=1e-5)


# name: (config, images of each fold that was held out, a part of the reason)
WITHOUT = {
    "int8": (recipes.RECIPES["qat"], (), "ranges of a network for int8"),
    "scored on validation": (
        dataclasses.replace(FULL, **TRAIN),
        (),
        "validation images are those that it is scored on",
    ),
    "trained on all": (dataclasses.replace(FULL, **BOTH), (), "train_on=train"),
    "trained on too few": (
        dataclasses.replace(FULL, **BOTH),
        (45,),
        "trained on 45 of the 90 images, too few",
    ),
    "too small a class": (
        dataclasses.replace(LINEAR, **BOTH),
        (),
        "too few images of some classes",
    ),
}


@pytest.mark.parametrize("name", WITHOUT)
def test_without_images_that_tell_of_it_a_head_stays_and_a_text_says_why(
    tmp_path, name
):
    config, folds, reason = WITHOUT[name]
    for number, count in enumerate(folds):
        _hold_out(tmp_path / "choice" / f"fold{number}", count)
    before = _make_classifier()
    weights = before.model.get_weights()
    after, facts = temperature.calibrate(_setup(tmp_path, config), before)
    assert after is before and reason in facts["calibration"]
    assert (facts["temperature"], facts["calibrated_on"]) == (None, 0)
    for one, two in zip(weights, after.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_folds_of_a_comparison_are_taken_together(tmp_path):
    for number in range(3):
        _hold_out(tmp_path / "choice" / f"fold{number}", 30)
    setup = _setup(tmp_path, dataclasses.replace(FULL, **BOTH))
    after, facts = temperature.calibrate(setup, _make_classifier())
    assert facts["calibrated_on"] == 90 and after.temperature > 2
    # For the report.
    kept = predictions.read(tmp_path / predictions.HELD_OUT_FILE, 2)
    assert kept.size == 90


def test_a_damaged_file_of_held_out_images_costs_only_the_temperature(
    tmp_path, caplog
):
    (tmp_path / predictions.HELD_OUT_FILE).write_bytes(b"PK")
    setup = _setup(tmp_path, dataclasses.replace(LINEAR, **BOTH))
    _, facts = temperature.calibrate(setup, _make_classifier())
    assert facts["temperature"] is None
    assert "Not calibrated on it" in caplog.text


@pytest.mark.parametrize(
    "sizes,train_on,held_out",
    [
        # As the final classifier, on the training images alone.
        ((160, 160), "train", range(160, 320)),
        # The final one has twice as many: five folds are more like it.
        ((160, 160), "train+validation", range(320)),
        ((640, 160), "train+validation", range(640, 800)),
    ],
)
def test_held_out_images_are_of_heads_like_the_final_one(
    tmp_path, sizes, train_on, held_out
):
    random = np.random.default_rng(0)
    labels = [np.arange(size) % 2 for size in sizes]
    pairs = [
        ((own[:, None] + random.normal(0, 0.7, (len(own), 3))), own)
        for own in labels
    ]
    examples = {
        name: sources.from_arrays(
            np.zeros((len(own), 1, 1, 3), "uint8"), own, ("a", "b")
        )
        for name, own in zip(("train", "validation"), labels, strict=True)
    }
    config = dataclasses.replace(LINEAR, train_on=train_on)
    pairs = [frozen_features.Features(*pair) for pair in pairs]
    best, divisions = linear_head._search(*pairs, (0.1,), class_weights.ALIKE)
    linear_head._keep_held_out(
        divisions, best.C, pairs, config, examples=examples, workdir=tmp_path
    )
    found = predictions.read(tmp_path / predictions.HELD_OUT_FILE, 2)
    names = {f"image {i}" for i in held_out}
    assert set(found.images.names) == names and found.size == len(names)
    assert 0.7 < found.hits.mean() < 1
