"""Fused blocks in a small network: their costs, their files, their folding."""

import dataclasses

import h5py
import keras
import numpy as np
import pytest

import samples
from efficientnet_tf.models import (
    blocks,
    builder,
    costs,
    folding,
    plan,
    profile,
    quantization,
    registry,
    variants,
)
from efficientnet_tf.weights import loading

# Fused blocks with all that rows may have: SE, strides, either padding.
SMALL = dataclasses.replace(
    registry.get_variant("efficientnet_v2_b0"),
    width=0.5,
    resolution=32,
    head_filters=64,
    stages=(
        variants.Stage("fused_mbconv", 3, 2, 32, 1, 1, 0.25),
        variants.Stage("fused_mbconv", 5, 2, 32, 4, 2, 0.25),
        variants.Stage("fused_mbconv", 3, 1, 48, 1, 2, 0.0),
        variants.Stage("mbconv", 3, 2, 48, 1, 2),
        variants.Stage("mbconv", 3, 2, 64, 4, 2),
    ),
)


@pytest.fixture(scope="module")
def small():
    """Its network, and what it answers to the images."""
    keras.utils.set_random_seed(0)
    network = builder.build(SMALL, classes=7, classifier_activation=None)
    rng = np.random.default_rng(0)
    for layer in network.layers:
        if layer.name.endswith("_bn"):
            layer.moving_mean.assign(rng.normal(0, 0.1, layer.gamma.shape))
            layer.moving_variance.assign(rng.uniform(0.5, 2, layer.gamma.shape))
    return network


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3))


@pytest.mark.parametrize("padding", variants.PADDINGS)
def test_costs_of_any_fused_block_are_those_of_its_layers(padding):
    variant = dataclasses.replace(SMALL, padding=padding)
    measured = profile.profile(builder.build(variant))
    counted = costs.count_costs(variant)
    for what in ("params", "multiply_adds", "activations"):
        assert getattr(counted, what) == getattr(measured, what), what
    assert counted.stages[2].operator == "Fused-MBConv4"


def test_symmetric_fused_blocks_pad_as_pytorch_does():
    """On even sides, where TensorFlow has the odd zero at the end."""
    inputs = keras.Input((8, 8, 4))
    block = plan.BlockPlan(
        "fused_mbconv", 1, 1, 3, 1, 2, 4, 4, 0, 0.0, "symmetric"
    )
    outputs = blocks.fused_mbconv(inputs, block, activation="silu")
    network = keras.Model(inputs, outputs)
    conv = network.get_layer("block1a_project_conv")
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 4)).astype("float32")
    wanted = keras.ops.conv(
        np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), conv.kernel, 2, "valid"
    )
    middle = keras.Model(network.inputs, conv.output)
    np.testing.assert_allclose(middle([x]), wanted, atol=1e-6)


def test_the_network_without_normalization_answers_the_same(small, images):
    folded = folding.fold(small)
    assert not any("_bn" in layer.name for layer in folded.layers)
    np.testing.assert_allclose(folded(images), small(images), atol=1e-4)
    quantization.check(small)


# What effnetv2_model.py of google/automl creates in each kind of block, in its
# order, and ours: e is an expansion.
RELEASED = {
    ("fused_mbconv", False): "se/conv2d:se_reduce se/conv2d_1:se_expand "
    "conv2d:project_conv tpu_batch_normalization:project_bn",
    ("fused_mbconv", True): "conv2d:expand_conv "
    "tpu_batch_normalization:expand_bn se/conv2d:se_reduce "
    "se/conv2d_1:se_expand conv2d_1:project_conv "
    "tpu_batch_normalization_1:project_bn",
    ("mbconv", False): "depthwise_conv2d:dwconv2 tpu_batch_normalization:bn "
    "se/conv2d:se_reduce se/conv2d_1:se_expand conv2d:project_conv "
    "tpu_batch_normalization_1:project_bn",
    ("mbconv", True): "conv2d:expand_conv tpu_batch_normalization:expand_bn "
    "depthwise_conv2d:dwconv2 tpu_batch_normalization_1:bn "
    "se/conv2d:se_reduce se/conv2d_1:se_expand conv2d_1:project_conv "
    "tpu_batch_normalization_2:project_bn",
}
RELEASED_ENDS = {
    "stem_conv": "stem/conv2d",
    "stem_bn": "stem/tpu_batch_normalization",
    "top_conv": "head/conv2d",
    "top_bn": "head/tpu_batch_normalization",
    "predictions": "head/dense",
}


def test_a_released_checkpoint_gives_its_averages(small, images, tmp_path):
    theirs = dict(RELEASED_ENDS)
    for number, block in enumerate(plan.plan_network(SMALL).blocks):
        for pair in RELEASED[block.block, block.expand_ratio > 1].split():
            name, ours = pair.split(":")
            theirs[f"{block.name}_{ours}"] = f"blocks_{number}/{name}"
    saved = {"global_step": np.int64(7)}
    for layer in small.layers:
        for weight in layer.weights:
            kernel = weight.name
            if layer.name.endswith("dwconv2"):
                kernel = "depthwise_kernel"
            name = f"efficientnetv2-s/{theirs[layer.name]}/{kernel}"
            saved[name] = np.zeros(weight.shape, np.float32)
            saved[f"{name}/RMSProp"] = saved[name]
            saved[f"{name}/ExponentialMovingAverage"] = np.asarray(weight)
    prefix = samples.write_checkpoint(tmp_path / "model.ckpt", saved)
    check_loads(prefix, small, images)


def test_files_of_early_keras_3_without_names_are_read(small, images, tmp_path):
    path = tmp_path / "x.weights.h5"
    small.save_weights(path)
    with h5py.File(path, "r+") as file:
        for group in file["layers"].values():
            group["vars"].attrs.pop("name", None)
    check_loads(path, small, images)


def check_loads(path, network, images):
    again = loading.build(
        SMALL, weights=path, classes=7, classifier_activation=None
    )
    np.testing.assert_allclose(again(images), network(images), atol=1e-5)
    assert np.ptp(np.asarray(network(images))) > 0.01
