"""The constructors with the names of keras.applications."""

import inspect
import re
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import efficientnet_tf
from efficientnet_tf.models import variants
from efficientnet_tf.weights import applications

CONSTRUCTORS = {
    "EfficientNet" + variants.short_name(name).replace("-", ""): name
    for name in variants.VARIANTS
}


@pytest.mark.parametrize("public_name", CONSTRUCTORS)
def test_every_variant_has_a_constructor(public_name):
    constructor = getattr(applications, public_name)
    assert getattr(efficientnet_tf, public_name) is constructor
    assert constructor.__name__ == public_name
    size = variants.VARIANTS[CONSTRUCTORS[public_name]].resolution
    assert f"{size}x{size}" in constructor.__doc__
    assert "[0, 255]" in constructor.__doc__


@pytest.mark.parametrize("public_name", CONSTRUCTORS)
def test_arguments_begin_with_those_of_keras(public_name):
    def arguments(constructor):
        parameters = inspect.signature(constructor).parameters.values()
        return [(p.name, p.default) for p in parameters]

    ours = arguments(getattr(applications, public_name))
    peer = "EfficientNetV2B0" if "V2" in public_name else "EfficientNetB0"
    theirs = arguments(getattr(keras.applications, peer))
    # Only the model's name may differ.
    assert [a[0] for a in ours[: len(theirs)]] == [a[0] for a in theirs]
    for found, expected in zip(ours, theirs, strict=False):
        if found[0] != "name":
            assert found == expected
    assert dict(ours)["name"] == CONSTRUCTORS[public_name]


@pytest.mark.parametrize("public_name", ["EfficientNetB0", "EfficientNetLite0"])
def test_a_constructor_builds_its_own_network(public_name):
    network = getattr(applications, public_name)(weights=None)
    assert network.name == CONSTRUCTORS[public_name]
    assert network.input_shape == (None, 224, 224, 3)
    assert network.output_shape == (None, 1000)


def test_arguments_mean_what_they_mean_to_keras():
    options = dict(
        include_top=False,
        weights=None,
        input_shape=(64, 96, 3),
        pooling="avg",
        name="backbone",
    )
    ours = applications.EfficientNetB0(**options)
    theirs = keras.applications.EfficientNetB0(**options)
    assert ours.name == theirs.name
    assert ours.input_shape == theirs.input_shape
    assert ours.output_shape == theirs.output_shape

    # By shape, in order: not only the sum is equal.
    assert [w.shape for w in ours.trainable_weights] == [
        w.shape for w in theirs.trainable_weights
    ]


def test_the_arguments_go_by_position_too():
    network = applications.EfficientNetLite0(
        False, None, None, (32, 32, 3), "max", 7
    )
    assert network.output_shape == (None, 1280)


def test_arguments_of_keras_2_are_taken():
    network = applications.EfficientNetLite0(
        weights="none", classes=3, drop_connect_rate=0.4, dropout_rate=0.35
    )
    # Block 14 of 16, counted from 0.
    np.testing.assert_allclose(
        network.get_layer("block6d_drop").rate, 0.4 * 14 / 16
    )
    assert network.get_layer("top_dropout").rate == 0.35


PIXELS = np.random.default_rng(0).uniform(0, 255, (2, 4, 4, 3))


@pytest.mark.parametrize(
    "images,message",
    [
        (PIXELS, None),
        (PIXELS.astype("uint8"), None),
        (PIXELS.astype("uint8") // 128, None),  # Dark, and whole numbers.
        (np.zeros((1, 2, 2, 3)), None),
        (PIXELS[0].tolist(), None),
        (PIXELS / 255, r"in \[0.0\d+, 0.99\d*\], as if divided by 255"),
        (PIXELS / 127.5 - 1, r"in \[-0.99\d*, 0.99\d*\], as if normalized"),
        (np.full((1, 2, 2, 3), -3.0), r"in \[-3, -3\]"),
        (PIXELS * 257, r"in \[.*\], as if normalized otherwise"),
    ],
)
def test_preprocess_input_returns_images_and_sees_their_range(images, message):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = efficientnet_tf.preprocess_input(images)
    assert found is images
    assert len(caught) == (message is not None)
    if message:
        assert re.search(message, str(caught[0].message))
        assert "\n" not in str(caught[0].message)


def test_preprocess_input_works_in_a_data_set():
    data = tf.data.Dataset.from_tensors(PIXELS / 255)
    data = data.map(applications.preprocess_input)
    np.testing.assert_array_equal(next(iter(data)), PIXELS / 255)
    with pytest.raises(ValueError, match="data_format 'channels_first'"):
        applications.preprocess_input(PIXELS, data_format="channels_first")
