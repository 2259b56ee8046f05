"""Batch normalization folded away: the same function, in fewer layers."""

import dataclasses

import keras
import numpy as np
import pytest

import samples
from efficientnet_tf.models import baselines, folding, variants

B0 = variants.VARIANTS["efficientnet_b0"]
LITE0 = variants.VARIANTS["efficientnet_lite0"]
SMALL = {"width": 0.25, "head_filters": 64, "resolution": 32}
CASES = {
    # Swish, squeeze-and-excitation and shortcuts.
    "b0": dataclasses.replace(B0, stages=B0.stages[:2], **SMALL),
    "lite": dataclasses.replace(LITE0, stages=LITE0.stages[:2], **SMALL),
    "symmetric": dataclasses.replace(
        B0, stages=B0.stages[:2], padding="symmetric", **SMALL
    ),
    "mobilenet": dataclasses.replace(
        baselines.BASELINES["mobilenet_v1"], width=0.25, depth=0.3
    ),
    # Convolutions with biases before normalization, and max pooling.
    "resnet": dataclasses.replace(
        baselines.BASELINES["resnet50"], width=0.1, depth=0.3
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_folded_network_computes_the_same(name):
    network = samples.make_trained_network(CASES[name])
    images = samples.make_images(4)
    folded = folding.fold(network)
    expected = network(images, training=False)
    assert np.ptp(np.asarray(expected), axis=0).max() > 1e-3
    np.testing.assert_allclose(folded(images), expected, atol=1e-5)
    kinds = {type(layer) for layer in folded.layers}
    assert not any(
        issubclass(k, keras.layers.BatchNormalization) for k in kinds
    )
    assert not any(issubclass(k, keras.layers.Dropout) for k in kinds)
    names = {layer.name for layer in network.layers}
    assert {"stem_conv", "predictions"} <= names
    for layer in folded.layers:
        if isinstance(layer, folding.CONVOLUTIONS):
            assert layer.use_bias and layer.activation.__name__ == "linear"
            assert layer.name in names


def test_a_multiplier_of_depthwise_convolutions_is_folded_too():
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=2)(inputs)
    x = keras.layers.BatchNormalization(scale=False)(x)
    network = keras.Model(inputs, x)
    rng = np.random.default_rng(0)
    network.layers[-1].set_weights([rng.uniform(0.5, 2, 6) for _ in range(3)])
    images = rng.normal(size=(2, 6, 6, 3)).astype("float32")
    np.testing.assert_allclose(
        folding.fold(network)(images), network(images), atol=1e-5
    )


def _after_pooling(x):
    x = keras.layers.MaxPooling2D(name="pool")(x)
    return keras.layers.BatchNormalization(name="late_bn")(x)


def _shared(x):
    x = keras.layers.Conv2D(3, 1, name="conv")(x)
    y = keras.layers.BatchNormalization(name="late_bn")(x)
    return keras.layers.Add()([x, y])


def _activated(x):
    x = keras.layers.Conv2D(3, 1, activation="relu", name="conv")(x)
    return keras.layers.BatchNormalization(name="late_bn")(x)


@pytest.mark.parametrize("make", [_after_pooling, _shared, _activated])
def test_what_cannot_be_folded_is_named(make):
    inputs = keras.Input((8, 8, 3))
    network = keras.Model(inputs, make(inputs))
    with pytest.raises(ValueError, match="late_bn cannot be folded"):
        folding.fold(network)
