"""The networks: their size, their graph, their inputs, outputs and files."""

import dataclasses
import functools
import itertools
import math
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from efficientnet_tf.models import (
    builder,
    features,
    layers,
    plan as plan_lib,
    profile as profile_lib,
    registry,
    scaling,
    variants,
)

# EfficientNetV2's numbers are in tests/conformance/test_v2.py.
NAMES = tuple(name for name in variants.VARIANTS if "_v2_" not in name)
V2 = ("efficientnet_v2_b0", "efficientnet_v2_s")

# Trainable parameters with 1,000 classes: B0 to B7 as torchvision publishes
# them, the others counted on the official code's graph.
PARAMS = {
    "efficientnet_b0": 5_288_548,
    "efficientnet_b1": 7_794_184,
    "efficientnet_b2": 9_109_994,
    "efficientnet_b3": 12_233_232,
    "efficientnet_b4": 19_341_616,
    "efficientnet_b5": 30_389_784,
    "efficientnet_b6": 43_040_704,
    "efficientnet_b7": 66_347_960,
    "efficientnet_b8": 87_413_142,
    "efficientnet_l2": 480_309_308,
    "efficientnet_lite0": 4_652_008,
    "efficientnet_lite1": 5_416_680,
    "efficientnet_lite2": 6_092_072,
    "efficientnet_lite3": 8_197_096,
    "efficientnet_lite4": 13_006_568,
}

# Without the head. keras.applications has the same; the others are less a
# dense layer over round_filters(1280) features, for Lite over 1280.
PARAMS_WITHOUT_TOP = {
    "efficientnet_b0": 4_007_548,
    "efficientnet_b1": 6_513_184,
    "efficientnet_b2": 7_700_994,
    "efficientnet_b3": 10_696_232,
    "efficientnet_b4": 17_548_616,
    "efficientnet_b5": 28_340_784,
    "efficientnet_b6": 40_735_704,
    "efficientnet_b7": 63_786_960,
    "efficientnet_b8": 87_413_142 - 2_817_000,
    "efficientnet_l2": 480_309_308 - 5_505_000,
    "efficientnet_lite0": 4_652_008 - 1_281_000,
    "efficientnet_lite1": 5_416_680 - 1_281_000,
    "efficientnet_lite2": 6_092_072 - 1_281_000,
    "efficientnet_lite3": 8_197_096 - 1_281_000,
    "efficientnet_lite4": 13_006_568 - 1_281_000,
}

# Billions for one image at the variant's resolution, by an independent
# counter on the official graph. None was published for B8 and L2.
MULTIPLY_ADDS = {
    "efficientnet_b0": 0.386,
    "efficientnet_b1": 0.687,
    "efficientnet_b2": 0.994,
    "efficientnet_b3": 1.827,
    "efficientnet_b4": 4.394,
    "efficientnet_b5": 10.27,
    "efficientnet_b6": 19.07,
    "efficientnet_b7": 37.75,
    "efficientnet_b8": None,
    "efficientnet_l2": None,
    "efficientnet_lite0": 0.385,
    "efficientnet_lite1": 0.600,
    "efficientnet_lite2": 0.860,
    "efficientnet_lite3": 1.383,
    "efficientnet_lite4": 2.553,
}

# Repeats of the seven stages of the official code, added up.
BLOCKS = {
    "efficientnet_b0": 16,
    "efficientnet_b1": 23,
    "efficientnet_b2": 23,
    "efficientnet_b3": 26,
    "efficientnet_b4": 32,
    "efficientnet_b5": 39,
    "efficientnet_b6": 45,
    "efficientnet_b7": 55,
    "efficientnet_b8": 61,
    "efficientnet_l2": 88,
    "efficientnet_lite0": 16,
    "efficientnet_lite1": 21,
    "efficientnet_lite2": 21,
    "efficientnet_lite3": 24,
    "efficientnet_lite4": 30,
}

# Moving means and variances, as keras.applications' files hold them.
STATISTICS = {"efficientnet_b0": 42_016, "efficientnet_b7": 310_720}

SMALL = ("efficientnet_b0", "efficientnet_lite0")
LARGE = (
    "efficientnet_b5",
    "efficientnet_b6",
    "efficientnet_b7",
    "efficientnet_b8",
    "efficientnet_l2",
)


def marked(names, fast):
    """Returns names as parameters; those not in `fast` are marked slow."""
    return [
        name if name in fast else pytest.param(name, marks=pytest.mark.slow)
        for name in names
    ]


ALL_BUT_LARGE = tuple(n for n in NAMES if n not in LARGE)


@functools.cache
def built(name):
    """Returns a network's profile and map shapes; the network is freed."""
    network = builder.build(name)
    pyramid = {
        level: network.get_layer(layer).output.shape[1:]
        for level, layer in features.endpoints(network).items()
    }
    return profile_lib.profile(network), pyramid


def settle(network):
    """Gives batch normalization real statistics; without, outputs are tiny."""
    shape = [side or 64 for side in network.input_shape[1:]]
    images = np.random.default_rng(0).uniform(0, 255, (8, *shape))
    norms = [
        x for x in network.layers if isinstance(x, layers.BatchNormalization)
    ]
    for layer in norms:
        layer.momentum = 0.0
    network(images, training=True)
    for layer in norms:
        layer.momentum = 0.99
    return network


def make_logits(name, **options):
    options = {"classes": 10, "classifier_activation": None, **options}
    return builder.build(name, **options)


def random_images(*shape):
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, shape).astype("float32")


def count_by_hand(name):
    """Counts trainable parameters without the top, from the plan alone."""

    def conv_bn(kernel, in_filters, filters):
        return kernel**2 * in_filters * filters + 2 * filters

    network = plan_lib.plan_network(name)
    total = conv_bn(3, 3, network.stem_filters)
    for plan in network.blocks:
        expanded = plan.in_filters * plan.expand_ratio
        if plan.expand_ratio > 1:
            total += conv_bn(1, plan.in_filters, expanded)
        total += conv_bn(plan.kernel_size, expanded, 1) - 2 + 2 * expanded
        squeezed = plan.squeezed_filters
        if squeezed:
            total += 2 * expanded * squeezed + squeezed + expanded
        total += conv_bn(1, expanded, plan.filters)
    return total + conv_bn(1, plan.filters, network.head_filters)


# Sizes.


@pytest.mark.parametrize(
    "goldens", [PARAMS, PARAMS_WITHOUT_TOP, MULTIPLY_ADDS, BLOCKS]
)
def test_every_variant_has_a_golden(goldens):
    assert set(goldens) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_plan_has_the_published_number_of_parameters(name):
    head = plan_lib.plan_network(name).head_filters
    assert count_by_hand(name) == PARAMS_WITHOUT_TOP[name]
    assert count_by_hand(name) + 1000 * (head + 1) == PARAMS[name]


@pytest.mark.parametrize("name", marked(NAMES, ALL_BUT_LARGE))
def test_the_network_has_the_published_number_of_parameters(name):
    profile = built(name)[0]
    assert profile.params == PARAMS[name]
    top = sum(x.params for x in profile.layers if x.name == "predictions")
    assert profile.params - top == PARAMS_WITHOUT_TOP[name]


@pytest.mark.parametrize("name", marked(NAMES, ALL_BUT_LARGE))
def test_multiply_adds_are_within_half_a_percent(name):
    if MULTIPLY_ADDS[name] is None:
        pytest.skip("no published number")
    found = built(name)[0].multiply_adds / 1e9
    assert found == pytest.approx(MULTIPLY_ADDS[name], rel=0.005)


@pytest.mark.parametrize("name", SMALL)
def test_the_network_without_its_top_has_the_published_number(name):
    network = builder.build(name, include_top=False)
    found = sum(math.prod(w.shape) for w in network.trainable_weights)
    assert found == PARAMS_WITHOUT_TOP[name]


@pytest.mark.parametrize("name", marked(STATISTICS, SMALL))
def test_statistics_are_as_many_as_in_published_files(name):
    assert built(name)[0].statistics == STATISTICS[name]


@pytest.mark.parametrize("name", NAMES)
def test_the_plan_has_the_official_number_of_blocks(name):
    assert len(plan_lib.plan_network(name).blocks) == BLOCKS[name]


# The plan.


@pytest.mark.parametrize("name", NAMES)
def test_drop_rates_rise_from_zero_by_the_scaled_number_of_blocks(name):
    rates = [plan.drop_rate for plan in plan_lib.plan_network(name).blocks]
    expected = [0.2 * i / BLOCKS[name] for i in range(BLOCKS[name])]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "last"),
    [("efficientnet_b0", 0.1875), ("efficientnet_b7", 0.19636)],
)
def test_the_last_drop_rate_stays_below_the_limit(name, last):
    rate = plan_lib.plan_network(name).blocks[-1].drop_rate
    assert rate == pytest.approx(last, abs=1e-5)  # 0.2 * (n - 1) / n.


def test_drop_rates_are_those_of_the_layers():
    network = builder.build("efficientnet_b0", drop_path_rate=0.4, classes=2)
    found = {
        layer.name: layer.rate
        for layer in network.layers
        if layer.name.endswith("_drop")
    }
    # The first block of every stage changes its shape: no shortcut, no drop.
    assert found == pytest.approx(
        {
            "block2b_drop": 0.4 * 2 / 16,
            "block3b_drop": 0.4 * 4 / 16,
            "block4b_drop": 0.4 * 6 / 16,
            "block4c_drop": 0.4 * 7 / 16,
            "block5b_drop": 0.4 * 9 / 16,
            "block5c_drop": 0.4 * 10 / 16,
            "block6b_drop": 0.4 * 12 / 16,
            "block6c_drop": 0.4 * 13 / 16,
            "block6d_drop": 0.4 * 14 / 16,
        }
    )


def test_squeezed_widths_are_a_quarter_of_the_blocks_input():
    # From the shapes of the published B0 checkpoint.
    widths = [8, 4, 6, 6, 10, 10, 20, 20, 20, 28, 28, 28, 48, 48, 48, 48]
    plans = plan_lib.plan_network("efficientnet_b0").blocks
    assert [plan.squeezed_filters for plan in plans] == widths


@pytest.mark.parametrize("number", range(5))
def test_lite_keeps_stem_head_and_outer_stages_unscaled(number):
    name = f"efficientnet_lite{number}"
    plan = plan_lib.plan_network(name)
    assert (plan.stem_filters, plan.head_filters) == (32, 1280)
    assert (len(plan.stages[0]), len(plan.stages[-1])) == (1, 1)
    assert not any(block.squeezed_filters for block in plan.blocks)


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("efficientnet_b0", (32, 1280)),
        ("efficientnet_b3", (40, 1536)),
        ("efficientnet_b7", (64, 2560)),
        ("efficientnet_l2", (136, 5504)),
    ],
)
def test_stem_and_head_scale_with_the_width(name, ends):
    plan = plan_lib.plan_network(name)
    assert (plan.stem_filters, plan.head_filters) == ends


@pytest.mark.parametrize("name", NAMES)
def test_each_block_takes_what_the_one_before_gives(name):
    plans = plan_lib.plan_network(name).blocks
    for before, after in itertools.pairwise(plans):
        assert after.in_filters == before.filters
    assert math.prod(plan.strides for plan in plans) == 16
    assert len({plan.name for plan in plans}) == len(plans)


# The graph.


def test_the_dropout_before_the_top_is_the_variants_or_ones_own():
    def rate(**options):
        network = builder.build("efficientnet_lite2", classes=2, **options)
        return network.get_layer("top_dropout").rate

    assert rate() == 0.3
    assert rate(dropout_rate=0.1) == 0.1
    names = [
        x.name for x in make_logits("efficientnet_b0", dropout_rate=0).layers
    ]
    assert "top_dropout" not in names


def test_the_graph_is_flat_and_its_names_are_paths():
    network = builder.build("efficientnet_b0")
    assert not any(isinstance(x, keras.Model) for x in network.layers)
    assert not any(x.name.startswith("_") for x in network.layers)
    names = {layer.name for layer in network.layers}
    for name in ("stem_conv", "block3b_se_reduce", "top_bn", "predictions"):
        assert name in names


def test_training_moves_statistics_and_inference_does_not():
    network = make_logits("efficientnet_lite0", input_shape=(32, 32, 3))
    images = random_images(4, 32, 32, 3)
    before = network.get_layer("top_bn").moving_variance.numpy()
    network(images, training=False)
    after = network.get_layer("top_bn").moving_variance.numpy()
    np.testing.assert_array_equal(before, after)
    network(images, training=True)
    after = network.get_layer("top_bn").moving_variance.numpy()
    assert (before != after).all()


def test_dropout_and_drop_path_vary_in_training_only():
    network = make_logits("efficientnet_b0", input_shape=(64, 64, 3))
    images = random_images(2, 64, 64, 3)
    settle(network)
    same = [network(images, training=False) for _ in range(2)]
    np.testing.assert_array_equal(*same)
    varied = [np.asarray(network(images, training=True)) for _ in range(2)]
    assert not np.allclose(*varied)


@pytest.mark.slow  # tests/training has whole runs.
def test_training_lowers_the_loss():
    network = make_logits(
        registry.get_variant("efficientnet_b0", depth=0.3, width=0.5),
        input_shape=(64, 64, 3),
        dropout_rate=0.0,
        drop_path_rate=0.0,
    )
    network.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    images, labels = random_images(8, 64, 64, 3), np.arange(8)
    history = network.fit(images, labels, epochs=5, batch_size=8, verbose=0)
    losses = history.history["loss"]
    assert losses[-1] < 0.9 * losses[0]


# Inputs.


@pytest.mark.parametrize("name", marked(SMALL, ["efficientnet_lite0"]))
def test_odd_and_unknown_sizes_give_what_fixed_ones_give(name):
    fixed = make_logits(name, input_shape=(97, 61, 3))
    settle(unknown := make_logits(name, input_shape=(None, None, 3)))
    fixed.set_weights(unknown.get_weights())
    images = random_images(2, 97, 61, 3)
    outputs = fixed.predict(images, verbose=0)
    assert np.abs(outputs).max() > 0.1
    np.testing.assert_allclose(
        unknown.predict(images, verbose=0), outputs, atol=1e-4
    )


def test_without_its_top_a_network_takes_any_size():
    network = builder.build("efficientnet_lite0", include_top=False)
    assert network.input_shape == (None, None, None, 3)
    assert network(random_images(1, 33, 65, 3)).shape == (1, 2, 3, 1280)


def test_with_its_top_a_network_has_the_variants_size():
    assert make_logits("efficientnet_b1").input_shape == (None, 240, 240, 3)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_channels_may_be_other_than_three(channels):
    network = make_logits("efficientnet_lite0", input_shape=(48, 48, channels))
    seen = 3 if channels == 1 else channels  # Grey is shown as RGB.
    assert network.get_layer("stem_conv").kernel.shape == (3, 3, seen, 32)
    assert network(random_images(2, 48, 48, channels)).shape == (2, 10)


@pytest.mark.parametrize("name", SMALL)
def test_bytes_give_what_floats_give(name):
    network = settle(make_logits(name, input_shape=(64, 64, 3)))
    images = random_images(2, 64, 64, 3)
    np.testing.assert_allclose(
        network(images.astype("uint8")), network(images), atol=1e-5
    )
    # Of a network that was made for bytes, too.
    inputs = keras.Input((64, 64, 3), dtype="uint8")
    typed = make_logits(name, input_tensor=inputs)
    typed.set_weights(network.get_weights())
    np.testing.assert_allclose(
        typed(images.astype("uint8")), network(images), atol=1e-5
    )


@pytest.mark.parametrize("normalization", variants.NORMALIZATIONS)
def test_preprocessing_inside_equals_preprocessing_outside(normalization):
    inside = settle(
        make_logits(
            "efficientnet_lite0",
            input_shape=(64, 64, 3),
            normalization=normalization,
        )
    )
    outside = make_logits(
        "efficientnet_lite0",
        input_shape=(64, 64, 3),
        include_preprocessing=False,
    )
    outside.set_weights(inside.get_weights())
    images = random_images(2, 64, 64, 3)
    row = variants.get_normalization(normalization)
    by_hand = ((images - row.mean) / row.std).astype("float32")
    np.testing.assert_allclose(outside(by_hand), inside(images), atol=1e-4)


def test_a_network_builds_on_a_tensor_of_ones_own():
    inputs = keras.Input((40, 40, 3), name="mine")
    doubled = keras.layers.Rescaling(2.0, name="twice")(inputs)
    network = make_logits("efficientnet_lite0", input_tensor=doubled)
    assert network.inputs[0] is inputs
    plain = make_logits("efficientnet_lite0", input_shape=(40, 40, 3))
    plain.set_weights(settle(network).get_weights())
    images = random_images(2, 40, 40, 3) / 2
    np.testing.assert_allclose(network(images), plain(2 * images), atol=1e-4)


# Outputs.


def test_the_top_gives_probabilities_or_logits():
    logits = settle(make_logits("efficientnet_lite0", input_shape=(64, 64, 3)))
    softmax = builder.build(
        "efficientnet_lite0", classes=10, input_shape=(64, 64, 3)
    )
    softmax.set_weights(logits.get_weights())
    images = random_images(3, 64, 64, 3)
    np.testing.assert_allclose(
        softmax(images), keras.ops.softmax(logits(images)), atol=1e-6
    )


def test_without_a_top_pooling_reduces_the_last_feature_map():
    options = dict(include_top=False, input_shape=(64, 96, 3))
    maps = settle(builder.build("efficientnet_lite0", **options))
    images = random_images(2, 64, 96, 3)
    features = np.asarray(maps(images))
    assert features.shape == (2, 2, 3, 1280)
    for pooling, reduce in (("avg", np.mean), ("max", np.max)):
        pooled = builder.build("efficientnet_lite0", pooling=pooling, **options)
        pooled.set_weights(maps.get_weights())
        np.testing.assert_allclose(
            pooled(images), reduce(features, axis=(1, 2)), atol=1e-5
        )


@pytest.mark.parametrize("name", marked(NAMES, ALL_BUT_LARGE))
def test_feature_maps_end_the_stages_at_each_stride(name):
    stages = plan_lib.plan_network(name).stages
    # Stages 1, 2, 3, 5 and 7 are the last at their strides.
    filters = [stages[i - 1][-1].filters for i in (1, 2, 3, 5, 7)]
    size = variants.VARIANTS[name].resolution
    expected = {}
    for level, channels in enumerate(filters, start=1):
        size = -(-size // 2)
        expected[level] = (size, size, channels)
    assert built(name)[1] == expected


@pytest.mark.parametrize("name", SMALL)
def test_the_pyramid_gives_maps_at_the_levels_asked_for(name):
    network = settle(builder.build(name, include_top=False))
    pyramid = features.feature_pyramid(network, (3, 5))
    maps = pyramid.predict(random_images(1, 64, 96, 3), verbose=0)
    shapes = {key: value.shape for key, value in maps.items()}
    assert shapes == {"P3": (1, 8, 12, 40), "P5": (1, 2, 3, 320)}
    assert set(features.feature_pyramid(network).output) == {
        f"P{level}" for level in (1, 2, 3, 4, 5)
    }


def test_the_pyramid_shares_the_networks_weights():
    network = builder.build("efficientnet_lite0", include_top=False)
    pyramid = features.feature_pyramid(network, (4,))
    layer = "block5c_project_conv"
    assert pyramid.get_layer(layer) is network.get_layer(layer)


# Precision.


@pytest.mark.parametrize(
    "policy",
    [
        "mixed_bfloat16",
        pytest.param("mixed_float16", marks=pytest.mark.slow),
    ],
)
def test_mixed_precision_computes_low_and_answers_in_float32(policy):
    full = settle(builder.build("efficientnet_b0", input_shape=(64, 64, 3)))
    keras.config.set_dtype_policy(policy)
    try:
        mixed = builder.build("efficientnet_b0", input_shape=(64, 64, 3))
    finally:
        keras.config.set_dtype_policy("float32")
    mixed.set_weights(full.get_weights())
    compute = policy.removeprefix("mixed_")
    assert mixed.get_layer("block4a_expand_conv").compute_dtype == compute
    assert mixed.get_layer("predictions").compute_dtype == "float32"
    assert {w.dtype for w in mixed.weights} == {"float32"}
    images = random_images(4, 64, 64, 3)
    outputs = mixed.predict(images, verbose=0)
    assert outputs.dtype == np.float32
    # 1,000 near-equal probabilities: relative to them.
    expected = full.predict(images, verbose=0)
    error = np.abs(outputs - expected).max() / expected.max()
    assert error < (0.2 if compute == "bfloat16" else 0.03)


@pytest.mark.parametrize(
    "policy",
    [
        "mixed_bfloat16",
        pytest.param("mixed_float16", marks=pytest.mark.slow),
    ],
)
def test_mixed_precision_trains(policy):
    keras.config.set_dtype_policy(policy)
    try:
        network = builder.build(
            "efficientnet_lite0", input_shape=(64, 64, 3), classes=4
        )
    finally:
        keras.config.set_dtype_policy("float32")
    # Keras's first scale, 2 ** 15, overflows, and then halves at every step.
    optimizer = keras.optimizers.SGD(0.01)
    if policy == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, 1.0)
    network.compile(optimizer, "sparse_categorical_crossentropy")
    before = network.get_layer("stem_conv").kernel.numpy()
    loss = network.train_on_batch(random_images(4, 64, 64, 3), np.arange(4))
    assert np.isfinite(loss)
    assert (network.get_layer("stem_conv").kernel.numpy() != before).any()


# Files.


@pytest.mark.parametrize("name", marked((*NAMES, *V2), ("efficientnet_lite0",)))
def test_a_network_survives_every_kind_of_file(name, tmp_path):
    shape = (64, 64, 3)
    network = settle(make_logits(name, input_shape=shape))
    images = random_images(2, *shape)
    expected = network.predict(images, verbose=0)
    assert np.abs(expected).max() > 0.1

    network.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        restored.predict(images, verbose=0), expected, atol=1e-5
    )
    del restored

    network.save_weights(tmp_path / "model.weights.h5")
    fresh = make_logits(name, input_shape=shape)
    fresh.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_allclose(
        fresh.predict(images, verbose=0), expected, atol=1e-5
    )
    del fresh

    network.export(tmp_path / "saved_model", verbose=False)
    served = tf.saved_model.load(tmp_path / "saved_model")
    np.testing.assert_allclose(served.serve(images), expected, atol=1e-4)


def test_a_scaled_variant_survives_a_file(tmp_path):
    variant = scaling.compound(0.4, gamma=1.0)
    network = make_logits(variant, input_shape=(32, 32, 3))
    network.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    images = random_images(2, 32, 32, 3)
    np.testing.assert_allclose(restored(images), network(images), atol=1e-5)


# Errors.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "b0"}, "'b0'.*efficientnet_b0.*efficientnet_lite4"),
        ({"pooling": "mean"}, "'mean'; choose one of None, avg, max"),
        ({"classes": 0}, "classes must be a positive int, got 0"),
        ({"classes": "10"}, "classes must be a positive int, got '10'"),
        ({"input_shape": (224, 224)}, r"\(height, width, channels\).*224\)"),
        ({"input_shape": (224, 224, None)}, r"\(height, width, channels\)"),
        ({"input_shape": (31, 64, 3)}, r"at least 32 pixels.*\(31, 64, 3\)"),
        ({"input_tensor": np.zeros(3)}, "must be a Keras tensor.*ndarray"),
        ({"normalization": "caffe"}, "'caffe'.*imagenet, advprop, lite"),
    ],
)
def test_bad_arguments_are_named_beside_the_choices(options, message):
    options = {"model": "efficientnet_b0", **options}
    with pytest.raises(ValueError, match=message):
        builder.build(**options)


@pytest.mark.parametrize("levels", [(0,), (3, 6), ()])
def test_unknown_levels_are_named_beside_the_choices(levels):
    network = make_logits("efficientnet_lite0")
    with pytest.raises(ValueError, match=r"levels=.*\(1, 2, 3, 4, 5\)"):
        features.feature_pyramid(network, levels)


def test_a_pyramid_of_a_foreign_network_is_refused():
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="has no feature map at each stride"):
        features.feature_pyramid(network)


def test_channels_first_is_refused():
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="'channels_last'"):
            builder.build("efficientnet_b0")
    finally:
        keras.config.set_image_data_format("channels_last")


def test_the_docstring_says_the_range_of_the_input():
    assert "[0, 255]" in builder.build.__doc__


def test_a_plan_is_immutable():
    plan = plan_lib.plan_network("efficientnet_b0").blocks[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.filters = 1


@pytest.mark.parametrize("stages", [0, 1, 4, 7])
def test_frozen_stages_and_the_stem_train_nothing(stages):
    network = builder.build("efficientnet_lite0", input_shape=(32, 32, 3))
    features.freeze_stages(network, stages)
    frozen = {f"block{i}" for i in range(1, stages + 1)}
    frozen |= {"stem"} if stages else set()
    part = re.compile(r"block\d+|[a-z]+")
    names = {part.match(v.path)[0] for v in network.weights}
    trained = {part.match(v.path)[0] for v in network.trainable_weights}
    assert trained == names - frozen


def test_float64_is_float64_throughout(tiny_row):
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        network = builder.build(tiny_row, classes=3)
        images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3))
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(network(images, training=True) ** 2)
        gradients = tape.gradient(loss, network.trainable_variables)
        found = network(images, training=False)
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
    assert {v.dtype for v in network.trainable_variables} == {"float64"}
    assert {x.dtype for x in gradients} == {tf.float64}
    assert found.dtype == loss.dtype == "float64"
    assert np.isfinite(np.concatenate([np.ravel(g) for g in gradients])).all()
    single = builder.build(tiny_row, classes=3)
    single.set_weights(network.get_weights())
    np.testing.assert_allclose(single(images), found, atol=1e-6)
