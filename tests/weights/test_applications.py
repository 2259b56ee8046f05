"""The constructors with the names of keras.applications."""

import inspect

import keras
import pytest

import efficientnet_tf
from efficientnet_tf.models import variants
from efficientnet_tf.weights import applications

CONSTRUCTORS = {
    "EfficientNet" + name.removeprefix("efficientnet_").capitalize(): name
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
    theirs = arguments(keras.applications.EfficientNetB0)
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
