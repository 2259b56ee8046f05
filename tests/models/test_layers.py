"""Our batch normalization, silu and dropout, compared with those of Keras."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import paths
from efficientnet_tf.models import layers

SHAPE = (4, 6, 5, 8)

# Of an output of magnitude 3: a few units in the last place of each format.
TOLERANCES = {"float32": 1e-5, "bfloat16": 4e-2, "float16": 5e-3}


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(1.5, 2.0, SHAPE).astype("float32")


def make_pair(dtype="float32", shape=SHAPE, **options):
    """Returns our and Keras's batch normalization with equal random weights."""
    pair = [
        kind(momentum=0.9, epsilon=1e-3, dtype=dtype, **options)
        for kind in (layers.BatchNormalization, keras.layers.BatchNormalization)
    ]
    rng = np.random.default_rng(1)
    for layer in pair:
        layer.build(shape)
    weights = [rng.uniform(0.5, 1.5, w.shape) for w in pair[0].weights]
    for layer in pair:
        layer.set_weights(weights)
    return pair


def run(layer, inputs, dtype, training):
    """Returns outputs, and gradients of the input, gamma and beta."""
    x = tf.cast(inputs, dtype)
    weights = [layer.gamma.value, layer.beta.value]
    with tf.GradientTape() as tape:
        tape.watch([x, *weights])
        outputs = layer(x, training=training)
        # Weighted, as the gradient of a plain sum is zero.
        ramp = tf.reshape(tf.linspace(-1.0, 1.0, tf.size(outputs)), SHAPE)
        loss = tf.reduce_mean(tf.cast(outputs, "float32") * ramp)
    gradients = tape.gradient(loss, [x, *weights])
    return [tf.cast(t, "float32").numpy() for t in (outputs, *gradients)]


@pytest.mark.parametrize(
    "dtype", ["float32", "mixed_bfloat16", "mixed_float16"]
)
@pytest.mark.parametrize(
    ("training", "trainable"),
    [(True, True), (False, True), (True, False), (False, False)],
)
def test_outputs_gradients_and_statistics_equal_keras(
    images, dtype, training, trainable
):
    pair = make_pair(dtype)
    compute = dtype.removeprefix("mixed_")
    for layer in pair:
        layer.trainable = trainable
    ours, theirs = (run(layer, images, compute, training) for layer in pair)
    for found, expected in zip(ours, theirs, strict=True):
        scale = max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(
            found, expected, rtol=0, atol=scale * TOLERANCES[compute]
        )
    for found, expected in zip(pair[0].weights, pair[1].weights, strict=True):
        # The statistics of 120 numbers; Keras clips and rounds them to the
        # compute format first.
        np.testing.assert_allclose(
            found, expected, rtol=TOLERANCES[compute], err_msg=found.path
        )


def test_the_moving_variance_averages_the_biased_variance(images):
    layer = make_pair()[0]
    before = layer.moving_variance.numpy()
    layer(images, training=True)
    # 120 numbers a channel: the unbiased one would be 1 / 119 larger.
    expected = 0.9 * before + 0.1 * images.var(axis=(0, 1, 2))
    np.testing.assert_allclose(layer.moving_variance, expected, rtol=1e-5)


def test_statistics_are_kept_in_float32_under_mixed_precision():
    layer = make_pair("mixed_float16")[0]
    assert {w.dtype for w in layer.weights} == {"float32"}
    outputs = layer(np.full(SHAPE, 300.0, "float16"), training=True)
    # 300 squared is beyond float16.
    assert outputs.dtype == "float16"
    assert np.isfinite(outputs.numpy()).all()
    np.testing.assert_allclose(
        layer.moving_mean[0] - 30,
        make_pair()[0].moving_mean[0] * 0.9,
        rtol=1e-5,
    )


def test_the_fused_kernel_is_what_runs_on_tensorflow():
    layer = make_pair()[0]
    ops = {
        training: {
            op.type
            for op in tf.function(layer)
            .get_concrete_function(
                tf.TensorSpec((None, *SHAPE[1:])), training=training
            )
            .graph.get_operations()
        }
        for training in (True, False)
    }
    for training, found in ops.items():
        assert "FusedBatchNormV3" in found, training


def test_a_batch_of_unknown_shape_gives_the_same(images):
    ours, same = make_pair()[0], make_pair()[0]
    spec = tf.TensorSpec((None, None, None, SHAPE[-1]))
    unknown = tf.function(lambda x: ours(x, training=True), [spec])
    np.testing.assert_allclose(
        unknown(images), same(images, training=True), atol=1e-6
    )
    np.testing.assert_allclose(
        ours.moving_variance, same.moving_variance, rtol=1e-6
    )


def test_frozen_layers_fit_like_keras_and_keep_their_statistics(images):
    pair = make_pair()
    predictions = []
    for layer in pair:
        before = [w.numpy() for w in layer.weights]
        layer.trainable = False
        inputs = keras.Input(SHAPE[1:])
        x = keras.layers.Conv2D(8, 1, kernel_initializer="ones")(inputs)
        network = keras.Model(inputs, layer(x))
        network.compile("sgd", "mse")
        network.fit(images, images, epochs=2, batch_size=4, verbose=0)
        predictions.append(network.predict(images, verbose=0))
        for after, kept in zip(layer.weights, before, strict=True):
            np.testing.assert_array_equal(after, kept)
    np.testing.assert_allclose(*predictions, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"center": False}, SHAPE),
        ({"scale": False}, SHAPE),
        ({"axis": 1}, SHAPE),
        pytest.param(
            {"renorm": True},
            SHAPE,
            marks=pytest.mark.skipif(
                not hasattr(keras.layers.BatchNormalization(), "renorm"),
                reason="needs Keras 3.14",
            ),
        ),
        ({}, (4, 8)),
        ({}, (2, 3, 4, 5, 8)),
    ],
)
def test_what_the_kernel_cannot_do_equals_keras(options, shape):
    ours, theirs = make_pair(shape=shape, **options)
    inputs = np.random.default_rng(2).normal(size=shape).astype("float32")
    for training in (True, False):
        np.testing.assert_allclose(
            ours(inputs, training=training),
            theirs(inputs, training=training),
            atol=1e-6,
        )
    for found, expected in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_mask_leaves_masked_positions_out_as_keras_does(images):
    ours, theirs = make_pair()
    mask = np.arange(np.prod(SHAPE[:3])).reshape(SHAPE[:3]) % 3 > 0
    np.testing.assert_allclose(
        ours(images, training=True, mask=tf.constant(mask)),
        theirs(images, training=True, mask=tf.constant(mask)),
        atol=1e-6,
    )


def test_the_layer_and_its_weights_have_keras_names_and_order():
    ours, theirs = make_pair()
    for kind in ("trainable_weights", "non_trainable_weights", "weights"):
        names = [
            [w.path.split("/")[-1] for w in getattr(layer, kind)]
            for layer in (ours, theirs)
        ]
        assert names[0] == names[1]


def test_the_layer_survives_a_file(images, tmp_path):
    layer = make_pair()[0]
    inputs = keras.Input(SHAPE[1:])
    outputs = keras.layers.Activation(layers.silu)(layer(inputs))
    keras.Model(inputs, outputs).save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    assert type(restored.layers[1]) is layers.BatchNormalization
    assert restored.layers[2].activation is layers.silu
    np.testing.assert_array_equal(
        restored(images), keras.Model(inputs, outputs)(images)
    )


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_silu_and_its_gradient_equal_the_formula(dtype):
    x = tf.cast(tf.linspace(-20.0, 20.0, 2001)[None], dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layers.silu(x)
    gradient = tf.cast(tape.gradient(y, x), "float64").numpy()
    assert y.dtype == x.dtype
    exact = tf.cast(x, "float64").numpy()
    gate = 1 / (1 + np.exp(-exact))
    atol = TOLERANCES[dtype] / 4
    np.testing.assert_allclose(
        tf.cast(y, "float64"), exact * gate, rtol=atol, atol=atol
    )
    np.testing.assert_allclose(
        gradient, gate * (1 + exact * (1 - gate)), atol=atol
    )


def test_silu_stays_finite_at_the_ends_of_the_range():
    x = tf.constant([[-1e30, -100.0, 0.0, 100.0, 1e30]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layers.silu(x)
    np.testing.assert_allclose(y, [[0, 0, 0, 100, 1e30]], atol=1e-30)
    np.testing.assert_allclose(tape.gradient(y, x), [[0, 0, 0.5, 1, 1]])


def test_silu_compiles_its_gradient_where_the_size_is_known():
    def compiled(size):
        @tf.function(input_signature=[tf.TensorSpec((None, size, size, 8))])
        def gradient(x):
            return tf.gradients(layers.silu(x), x)[0]

        graph = gradient.get_concrete_function().graph.as_graph_def()
        return any(
            f.attr["_XlaMustCompile"].b for f in graph.library.function
        ) or any(n.attr["_XlaMustCompile"].b for n in graph.node)

    assert compiled(4) == (not tf.config.list_logical_devices("GPU"))
    # Every size would be compiled anew.
    assert not compiled(None)


def test_silu_has_a_second_derivative():
    x = tf.constant([[0.0, 1.0, -2.0]])
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = layers.silu(x)
        slope = inner.gradient(y, x)
    gate = 1 / (1 + np.exp(-x.numpy()))
    expected = gate * (1 - gate) * (2 + x * (1 - 2 * gate))
    np.testing.assert_allclose(outer.gradient(slope, x), expected, atol=1e-6)


def test_the_forward_pass_of_silu_stays_open_to_other_compilers():
    forward = tf.function(layers.silu).get_concrete_function(
        tf.TensorSpec((1, 4, 4, 8))
    )
    assert not forward.graph.as_graph_def().library.function


@pytest.fixture(scope="module")
def replicas(tmp_path_factory):
    """Returns what layers do on 16 replicas, in a separate process."""
    path = tmp_path_factory.mktemp("replicas") / "results.npz"
    subprocess.run(
        [sys.executable, paths.SUPPORT / "replica_cases.py", path],
        env=os.environ | {"PYTHONPATH": str(paths.ROOT)},
        check=True,
        capture_output=True,
    )
    return dict(np.load(path))


# The reference's rule: max(8, replicas // 8) for more than 8 replicas.
# https://github.com/tensorflow/tpu, models/official/efficientnet/utils.py,
# TpuBatchNormalization._cross_replica_average.
GROUPS = [(1, 1), (4, 1), (8, 1), (16, 8), (32, 8), (64, 8), (128, 16)]


@pytest.mark.parametrize(("number", "size"), GROUPS)
def test_groups_are_as_large_as_in_the_reference(number, size):
    assert layers.group_size("grouped", number) == size
    assert layers.group_size("local", number) == 1
    assert layers.group_size("synchronized", number) == number


def test_replicas_that_do_not_divide_into_groups_are_refused():
    with pytest.raises(ValueError, match="12 replicas .* groups of 8"):
        layers.group_size("grouped", 12)


@pytest.mark.parametrize("statistics", layers.STATISTICS)
def test_a_group_of_replicas_normalizes_as_one(replicas, statistics):
    count = len(replicas["inputs"])
    size = layers.group_size(statistics, count)
    for first in range(0, count, size):
        members = slice(first, first + size)
        inputs, upstream = (
            np.concatenate(replicas[name][members])
            for name in ("inputs", "upstream")
        )
        layer = keras.layers.BatchNormalization(momentum=0.5)
        layer.build(inputs.shape)
        with tf.GradientTape() as tape:
            x = tf.Variable(inputs)
            outputs = layer(x, training=True)
            loss = tf.reduce_sum(outputs * upstream)
        gradients = tape.gradient(loss, [x, layer.gamma, layer.beta])
        found = {
            key.split("/")[1]: value[members]
            for key, value in replicas.items()
            if key.startswith(f"{statistics}/")
        }
        # Each replica has its own part of these.
        for key, value in (("outputs", outputs), ("dx", gradients[0])):
            np.testing.assert_allclose(
                np.concatenate(found[key]), value, atol=1e-4, err_msg=key
            )
        for key, value in zip(("dgamma", "dbeta"), gradients[1:], strict=True):
            np.testing.assert_allclose(
                found[key].sum(axis=0), value, rtol=1e-4, atol=1e-3
            )
        # All replicas keep the group's.
        for key, value in (
            ("mean", layer.moving_mean),
            ("variance", layer.moving_variance),
        ):
            for kept in found[key]:
                np.testing.assert_allclose(kept, value, rtol=1e-4, atol=1e-5)


def test_statistics_are_set_in_all_layers_and_survive_a_file(tmp_path):
    inputs = keras.Input(SHAPE[1:])
    x = layers.BatchNormalization()(inputs)
    network = keras.Model(inputs, layers.BatchNormalization()(x))
    for statistics, flags in (
        ("grouped", (False, True)),
        ("synchronized", (True, False)),
        ("local", (False, False)),
    ):
        layers.set_statistics(network, statistics)
        network.save(tmp_path / "model.keras")
        for each in (
            network,
            keras.saving.load_model(tmp_path / "model.keras"),
        ):
            for layer in each.layers[1:]:
                assert (layer.synchronized, layer.grouped) == flags


def test_unknown_statistics_are_refused():
    network = keras.Sequential([keras.Input((2, 2, 3))])
    with pytest.raises(ValueError, match="'global'; choose one of local"):
        layers.set_statistics(network, "global")


def test_each_replica_drops_other_parts(replicas):
    masks = replicas["drop"].reshape(-1, 64) > 0
    # Two calls in each of 16 replicas, and no two alike.
    assert len({mask.tobytes() for mask in masks}) == 32
    np.testing.assert_allclose(masks.mean(), 0.5, atol=0.05)
    # Neither alike in half of the places only by chance: uncorrelated.
    correlations = np.corrcoef(masks)[~np.eye(32, dtype=bool)]
    assert np.abs(correlations).max() < 0.6


def test_dropout_on_one_device_is_that_of_keras(images, replicas):
    ours, theirs = (
        kind(0.5, noise_shape=(None, 1, 1, 1), seed=1)
        for kind in (layers.Dropout, keras.layers.Dropout)
    )
    for _ in range(2):
        np.testing.assert_array_equal(
            ours(images, training=True), theirs(images, training=True)
        )
    np.testing.assert_array_equal(ours(images), images)
    # The first replica has the masks of a single device.
    layer = keras.layers.Dropout(0.5, seed=3)
    for mask in replicas["drop"][0]:
        np.testing.assert_array_equal(
            mask, layer(np.ones((8, 8), "float32"), training=True)
        )
