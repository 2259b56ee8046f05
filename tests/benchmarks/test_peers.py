"""Benchmarks compare like with like."""

import keras
import numpy as np
import pytest

from efficientnet_tf.models import layers

SIZE = 64


@pytest.fixture(scope="module")
def peers(load_benchmark):
    return load_benchmark("peers")


@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_lite0"])
def test_a_peer_computes_the_same_on_keras_layers_alone(peers, name):
    ours = peers.make_ours(name, SIZE)
    theirs, _ = peers.make_theirs(ours, SIZE)
    assert any(isinstance(k, layers.BatchNormalization) for k in ours.layers)
    normalizations = [
        layer
        for layer in theirs.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert normalizations and not any(
        isinstance(layer, layers.BatchNormalization) for layer in theirs.layers
    )
    images, _ = peers.make_batches(1, 2, SIZE)[0]
    np.testing.assert_allclose(
        ours.predict_on_batch(images),
        theirs.predict_on_batch(images),
        atol=1e-4,
    )
