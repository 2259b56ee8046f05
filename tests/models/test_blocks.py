"""The building blocks: their layers, initial values and random drops."""

import dataclasses

import keras
import numpy as np
import pytest

from efficientnet_tf.models import blocks, plan as plan_lib

PLAN = plan_lib.BlockPlan(
    block="mbconv",
    stage=9,
    index=9,
    kernel_size=5,
    expand_ratio=6,
    strides=1,
    in_filters=24,
    filters=24,
    squeezed_filters=6,
    drop_rate=0.25,
)


def make_block(plan=PLAN, size=8):
    inputs = keras.Input((size, size, plan.in_filters))
    outputs = blocks.mbconv(inputs, plan, activation="silu")
    return keras.Model(inputs, outputs)


def test_symmetric_padding_differs_from_same_on_even_sides_only():
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 24)).astype("float32")
    plan = dataclasses.replace(PLAN, expand_ratio=1, strides=2)
    same = make_block(plan, None)
    symmetric = make_block(dataclasses.replace(plan, padding="symmetric"), None)
    symmetric.set_weights(same.get_weights())
    for side, difference in ((7, 0), (8, 0.01)):
        found = [
            np.asarray(block(x[:, :side, :side])) for block in (same, symmetric)
        ]
        assert found[0].shape == found[1].shape == (1, 4, 4, 24)
        apart = np.abs(found[0] - found[1]).max()
        assert apart > difference if difference else apart < 1e-6
    # Two zeros on each side, then no more: what PyTorch computes.
    layer = symmetric.get_layer("block9i_dwconv")
    wanted = keras.ops.depthwise_conv(
        np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0))), layer.kernel, 2, "valid"
    )
    middle = keras.Model(symmetric.inputs, layer.output)
    np.testing.assert_allclose(middle([x]), wanted, atol=1e-6)


def kernel_of(layer_kind, shape, **options):
    layer = layer_kind(**options)
    layer.build(shape)
    return np.asarray(layer.kernel)


def test_convolutions_start_from_the_untruncated_normal_of_their_fan_out():
    kernel = kernel_of(
        keras.layers.Conv2D,
        (None, 8, 8, 256),
        filters=512,
        kernel_size=1,
        kernel_initializer=blocks.CONV_INITIALIZER.clone(),
    )
    # sqrt(2 / fan_out); the standard error of 131,072 draws is 0.2 %.
    expected = np.sqrt(2 / 512)
    assert kernel.std() == pytest.approx(expected, rel=0.01)
    # 4.55 % of a normal lie beyond two sigma; a truncated one has none.
    beyond = np.mean(np.abs(kernel) > 2 * expected)
    assert beyond == pytest.approx(0.0455, abs=0.005)


def test_depthwise_kernels_start_from_the_fan_out_of_their_area():
    kernel = kernel_of(
        keras.layers.DepthwiseConv2D,
        (None, 8, 8, 2048),
        kernel_size=5,
        depthwise_initializer=blocks.CONV_INITIALIZER.clone(),
    )
    # The official code counts k * k * 1, whatever the channels.
    expected = np.sqrt(2 / 25)
    assert kernel.std() == pytest.approx(expected, rel=0.015)
    beyond = np.mean(np.abs(kernel) > 2 * expected)
    assert beyond == pytest.approx(0.0455, abs=0.005)


def test_dense_kernels_start_uniform_within_the_root_of_the_classes():
    kernel = kernel_of(
        keras.layers.Dense,
        (None, 1280),
        units=100,
        kernel_initializer=blocks.DENSE_INITIALIZER.clone(),
    )
    assert np.abs(kernel).max() <= 0.1
    assert np.abs(kernel).max() == pytest.approx(0.1, rel=0.001)
    assert kernel.std() == pytest.approx(0.1 / np.sqrt(3), rel=0.01)


def test_every_kernel_of_a_block_uses_the_official_initializer():
    for layer in make_block().layers:
        config = layer.get_config()
        for key in ("kernel_initializer", "depthwise_initializer"):
            if config.get(key):
                found = config[key]["config"]
                assert found["distribution"] == "untruncated_normal"
                assert (found["scale"], found["mode"]) == (2.0, "fan_out")


def test_equal_shapes_start_from_different_values():
    first = make_block().get_layer("block9i_expand_conv").kernel
    inputs = keras.Input((8, 8, 24))
    x = inputs
    for name in ("a", "b"):
        x = blocks.conv_bn_act(x, 24, 1, activation=None, name=name)
    network = keras.Model(inputs, x)
    kernels = [np.asarray(network.get_layer(f"{n}_conv").kernel) for n in "ab"]
    assert not np.allclose(*kernels)
    assert np.asarray(first).std() > 0


def test_a_block_has_the_layers_of_the_paper_in_order():
    names = [layer.name for layer in make_block().layers[1:]]
    assert names == [
        f"block9i_{part}"
        for part in (
            "expand_conv",
            "expand_bn",
            "expand_activation",
            "dwconv",
            "bn",
            "activation",
            "se_squeeze",
            "se_reduce",
            "se_expand",
            "se_excite",
            "project_conv",
            "project_bn",
            "drop",
            "add",
        )
    ]


def test_what_a_plan_leaves_out_is_not_built():
    plan = dataclasses.replace(
        PLAN, expand_ratio=1, squeezed_filters=0, strides=2
    )
    names = " ".join(layer.name for layer in make_block(plan).layers)
    for part in ("expand", "_se_", "drop", "add"):
        assert part not in names


def test_batch_norms_have_the_official_momentum_and_epsilon():
    network = make_block()
    norms = [x for x in network.layers if x.name.endswith("_bn")]
    assert len(norms) == 3
    for layer in norms:
        assert (layer.momentum, layer.epsilon) == (0.99, 1e-3)


def test_only_squeeze_and_excitation_has_biases():
    biased = {
        layer.name
        for layer in make_block().layers
        if getattr(layer, "use_bias", False)
    }
    assert biased == {"block9i_se_reduce", "block9i_se_expand"}


def test_squeeze_and_excite_gates_channels_by_their_average():
    inputs = keras.Input((4, 4, 3))
    outputs = blocks.squeeze_excite(inputs, 2, activation="silu", name="se")
    network = keras.Model(inputs, outputs)
    images = np.random.default_rng(0).normal(size=(2, 4, 4, 3))
    reduce, expand = (
        [np.asarray(w) for w in network.get_layer(f"se_{part}").weights]
        for part in ("reduce", "expand")
    )
    hidden = images.mean((1, 2)) @ reduce[0][0, 0] + reduce[1]
    hidden = hidden / (1 + np.exp(-hidden))
    gate = 1 / (1 + np.exp(-(hidden @ expand[0][0, 0] + expand[1])))
    np.testing.assert_allclose(
        network(images), images * gate[:, None, None], rtol=1e-4, atol=1e-6
    )


def test_drop_path_drops_whole_samples_and_rescales_the_rest():
    inputs = keras.Input((2, 2, 3))
    network = keras.Model(inputs, blocks.drop_path(inputs, 0.25, name="drop"))
    ones = np.ones((4000, 2, 2, 3), "float32")
    outputs = np.asarray(network(ones, training=True)).reshape(4000, -1)
    # Every sample is wholly 0 or wholly 1 / 0.75.
    assert (outputs == outputs[:, :1]).all()
    kept = outputs[:, 0] > 0
    np.testing.assert_allclose(outputs[kept], 1 / 0.75, rtol=1e-6)
    # Three standard errors of 4,000 draws.
    assert kept.mean() == pytest.approx(0.75, abs=0.021)
    # Another call draws anew, and inference keeps all.
    again = np.asarray(network(ones, training=True))[:, 0, 0, 0] > 0
    assert (again != kept).any()
    np.testing.assert_array_equal(network(ones, training=False), ones)


def test_drop_path_of_rate_zero_adds_nothing():
    inputs = keras.Input((2, 2, 3))
    assert blocks.drop_path(inputs, 0.0, name="drop") is inputs


def test_a_dropped_branch_leaves_the_shortcut():
    network = make_block(dataclasses.replace(PLAN, drop_rate=0.5))
    images = np.random.default_rng(0).normal(size=(64, 8, 8, 24))
    images = images.astype("float32")
    outputs = np.asarray(network(images, training=True))
    unchanged = np.isclose(outputs, images, atol=1e-6).all((1, 2, 3))
    assert 16 < unchanged.sum() < 48  # Four standard errors about 32.
