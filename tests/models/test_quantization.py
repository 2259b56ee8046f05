"""Fake quantization: what is rounded, to what, and what cannot be."""

import dataclasses

import keras
import numpy as np
import pytest

import samples
from efficientnet_tf.models import (
    baselines,
    fake_quantization,
    folding,
    quantization,
    variants,
)
from efficientnet_tf.weights import former_names


@pytest.fixture(scope="module")
def network():
    return samples.make_trained_network(samples.make_tiny_row(variants))


@pytest.fixture(scope="module")
def folded(network):
    return folding.fold(network)


@pytest.fixture(scope="module")
def ranges(folded):
    return quantization.calibrate(folded, [samples.make_images(8)])


@pytest.fixture(scope="module")
def quantized(folded, ranges):
    return quantization.quantize(folded, ranges)


def test_a_kernel_is_rounded_by_channel_and_a_bias_to_sums_of_products():
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(3, 3, 4, 5)).astype("float32")
    kernel *= np.float32([1, 10, 0.01, 1e-9, 0])
    bias = np.float32([0.5, -2, 1e-3, 1, 3])
    layer = fake_quantization.QuantizedConv2D(5, 3, input_step=0.02)
    layer.build((None, 8, 8, 4))
    layer.set_weights([kernel, bias])
    rounded, rounded_bias = (
        np.asarray(x) for x in fake_quantization._round(kernel, bias, 0.02)
    )
    steps = np.abs(kernel).max((0, 1, 2)) / 127
    levels = rounded[..., :3] / steps[:3]
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-3)
    assert np.abs(levels).max() <= 127.001
    error = np.abs(rounded - kernel)
    assert (error[..., :3] <= steps[:3] / 2 * 1.001).all()
    # A channel of nothing but a bias: the bias must fit into 32 bits.
    np.testing.assert_allclose(rounded_bias, bias, rtol=1e-2)
    assert not rounded[..., 4].any()
    assert np.isfinite(layer(np.ones((1, 8, 8, 4), "float32"))).all()


def test_the_gradient_passes_and_dead_channels_keep_it_finite():
    import tensorflow as tf

    layer = fake_quantization.QuantizedDepthwiseConv2D(3, input_step=0.1)
    layer.build((None, 6, 6, 2))
    layer.kernel.assign(layer.kernel * np.float32([1, 0])[:, None])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(tf.ones((1, 6, 6, 2))) ** 2)
    for gradient in tape.gradient(loss, layer.trainable_variables):
        assert np.isfinite(gradient).all()
        assert np.abs(gradient[..., 0]).max() > 0


def test_only_rounded_values_leave_a_quantized_network(quantized):
    images = samples.make_images(4)
    steps = np.asarray(quantized(images)) * 256
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-4)
    # In training a probability of 0 would have no gradient.
    steps = np.asarray(quantized(images, training=True)) * 256
    assert np.abs(steps - np.round(steps)).max() > 0.01


def test_it_is_near_the_network_that_it_was_made_of(network, quantized):
    images = samples.make_images(8)
    difference = np.abs(quantized(images) - network(images)).max()
    assert 1e-4 < difference < 0.1


def test_every_place_where_values_are_computed_has_a_range(quantized, ranges):
    found = {
        layer.name.removesuffix("_range")
        for layer in quantized.layers
        if isinstance(layer, fake_quantization.FakeQuant)
    }
    fixed = {name for name in found if name.endswith("_gate")}
    assert found - fixed - {*ranges} == {
        "images",
        "predictions_activation",
        "block1a_se_expand_activation",
        "block2a_se_expand_activation",
        "block2b_se_expand_activation",
    }
    assert {
        "preprocessing", "stem_conv", "stem_activation", "block1a_se_squeeze",
        "block1a_se_excite", "block1a_project_conv", "block2b_add", "avg_pool",
        "predictions",
    } <= {*ranges}  # fmt: skip


def test_compiled_layers_give_the_same():
    import tensorflow as tf

    inputs = keras.Input((8, 8, 3))
    x = fake_quantization.FakeQuant(0, 1)(inputs)
    x = fake_quantization.QuantizedConv2D(4, 3, input_step=1 / 255)(x)
    x = fake_quantization.QuantizedDepthwiseConv2D(3, input_step=0.1)(x)
    network = keras.Model(inputs, fake_quantization.FakeQuant(-9, 9)(x))
    compiled = tf.function(network, jit_compile=True)
    images = samples.make_images(2, 8) / 255
    np.testing.assert_allclose(
        compiled(images), network(images), atol=1.01 * 18 / 255
    )


def test_a_saved_network_loads(quantized, tmp_path):
    quantized.save(tmp_path / "quantized.keras")
    # As runs are opened: nothing in it is refused as foreign.
    again = former_names.load_network(tmp_path / "quantized.keras")
    images = samples.make_images(4)
    np.testing.assert_array_equal(again(images), quantized(images))


def test_layers_without_int8_are_named(quantized):
    vit = samples.make_trained_network(
        dataclasses.replace(
            baselines.BASELINES["vit"], width=0.16, depth=0.2, resolution=32
        )
    )
    for network, message in (
        (vit, "stem_class_token [(]ClassToken[)].* and [0-9]+ more"),
        (quantized, "has fake quantization already"),
    ):
        with pytest.raises(ValueError, match=message):
            quantization.check(network)


@pytest.mark.parametrize("activation", ["gelu", "hard_swish", "tanh"])
def test_activations_without_int8_are_named(activation):
    row = dataclasses.replace(
        samples.make_tiny_row(variants), activation=activation
    )
    network = samples.make_trained_network(row)
    with pytest.raises(ValueError, match="stem_activation [(]"):
        quantization.check(network)
    with pytest.raises(ValueError, match="may be relu, relu6, silu, sigmoid"):
        quantization.check(network)


def test_a_missing_range_and_an_impossible_one_are_refused(folded, ranges):
    with pytest.raises(ValueError, match="no range of avg_pool"):
        quantization.quantize(
            folded, {k: v for k, v in ranges.items() if k != "avg_pool"}
        )
    for low, high in ((1.0, 2.0), (-2.0, -1.0), (0.0, 0.0)):
        with pytest.raises(ValueError, match=f"low={low} and high={high}"):
            fake_quantization.FakeQuant(low, high)
    with pytest.raises(ValueError, match="no images"):
        quantization.calibrate(folded, [])
    # Values that are always 0, or never, still have a range with 0 in it.
    odd = {**ranges, "avg_pool": (0.0, 0.0), "predictions": (1.0, 2.0)}
    quantized = quantization.quantize(folded, odd)
    assert quantized.get_layer("predictions_range").low == 0.0
    assert keras.ops.isfinite(quantized(samples.make_images(1))).numpy().all()
