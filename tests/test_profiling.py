"""Costs layer by layer; the networks' goldens are in test_model.py."""

import keras
import pytest

from efficientnet_tf import profiling


def test_costs_of_a_small_network_are_those_counted_by_hand():
    network = keras.Sequential(
        [
            keras.Input((9, 9, 3)),
            keras.layers.Conv2D(8, 3, strides=2, padding="same", name="conv"),
            keras.layers.BatchNormalization(name="bn"),
            keras.layers.DepthwiseConv2D(5, padding="same", name="depthwise"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(4, name="dense"),
        ]
    )
    costs = {c.name: c for c in profiling.profile(network).layers}
    found = {
        name: (costs[name].params, costs[name].multiply_adds)
        for name in ("conv", "bn", "depthwise", "dense")
    }
    assert found == {
        "conv": (3 * 3 * 3 * 8 + 8, 3 * 3 * 3 * 8 * 5 * 5),
        "bn": (16, 0),
        "depthwise": (5 * 5 * 8 + 8, 5 * 5 * 8 * 5 * 5),
        "dense": (8 * 4 + 4, 8 * 4),
    }
    assert costs["bn"].statistics == 16


def test_the_sums_are_those_of_the_layers():
    profile = profiling.profile("efficientnet_lite0", resolution=64)
    for field in ("params", "statistics", "multiply_adds"):
        rows = [getattr(layer, field) for layer in profile.layers]
        assert getattr(profile, field) == sum(rows)


def test_multiply_adds_grow_with_the_area():
    small, large = (
        profiling.profile("efficientnet_lite0", resolution=size)
        for size in (64, 128)
    )
    assert small.params == large.params
    # All but the dense layer's 1,280 x 1,000.
    dense = 1280 * 1000
    assert large.multiply_adds - dense == 4 * (small.multiply_adds - dense)


def test_freezing_moves_parameters_but_costs_the_same():
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    before = profiling.profile(network)
    network.trainable = False
    assert profiling.profile(network).multiply_adds == before.multiply_adds
    assert (
        profiling.profile(network).params
        + profiling.profile(network).statistics
        == before.params
    )


def test_an_unknown_size_is_refused_by_layer():
    network = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            keras.layers.Conv2D(8, 3, name="conv"),
        ]
    )
    with pytest.raises(ValueError, match="'conv'.*fixed input_shape"):
        profiling.profile(network)


def test_a_resolution_beside_a_network_is_refused():
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="resolution=64 is for a name"):
        profiling.profile(network, resolution=64)
