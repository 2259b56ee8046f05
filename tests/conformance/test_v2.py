"""EfficientNetV2 beside keras.applications and the released code."""

import dataclasses
import types

import keras
import numpy as np
import pytest

from efficientnet_tf.inference import classifier
from efficientnet_tf.models import costs, plan, registry, variants
from efficientnet_tf.training import inputs, progression, recipes
from efficientnet_tf.weights import loading

SIZE = 64
# Of keras.applications; V2-XL is in timm alone.
SIZES = ("B0", "B1", "B2", "B3", "S", "M", "L")
FAST = ("B0",)

# r: repeats, e: expansion, o: filters, F: fused, M: with SE; and the stem's.
# effnetv2_configs.py of google/automl, and what keras.applications has.
STAGES = {
    "base": (
        32,
        "F1e1o16s1 F2e4o32s2 F2e4o48s2 M3e4o96s2 M5e6o112s1 M8e6o192s2",
    ),
    "s": (
        24,
        "F2e1o24s1 F4e4o48s2 F4e4o64s2 M6e4o128s2 M9e6o160s1 M15e6o256s2",
    ),
    "m": (
        24,
        "F3e1o24s1 F5e4o48s2 F5e4o80s2 M7e4o160s2 M14e6o176s1 M18e6o304s2 "
        "M5e6o512s1",
    ),
    "l": (
        32,
        "F4e1o32s1 F7e4o64s2 F7e4o96s2 M10e4o192s2 M19e6o224s1 M25e6o384s2 "
        "M7e6o640s1",
    ),
    "xl": (
        32,
        "F4e1o32s1 F8e4o64s2 F8e4o96s2 M16e4o192s2 M24e6o256s1 M32e6o512s2 "
        "M8e6o640s1",
    ),
}
# Pixels in training and evaluation, dropout, trainable parameters, billions of
# multiply-adds. The parameters are keras.applications' (asserted below), those
# of XL timm's (tests/weights/test_torch_parity.py).
ROWS = {
    "b0": (192, 224, 0.2, 7_139_704, 0.718),
    "b1": (192, 240, 0.2, 8_141_052, 1.197),
    "b2": (208, 260, 0.3, 10_096_086, 1.698),
    "b3": (240, 300, 0.3, 14_358_406, 3.011),
    "s": (300, 384, 0.2, 21_458_488, 8.366),
    "m": (384, 480, 0.3, 54_139_356, 24.58),
    "l": (384, 480, 0.4, 118_515_272, 56.08),
    "xl": (384, 512, 0.4, 208_119_808, 93.35),
}


def name_of(size):
    return f"efficientnet_v2_{size.lower()}"


def marked(sizes):
    return [
        size if size in FAST else pytest.param(size, marks=pytest.mark.slow)
        for size in sizes
    ]


def make_images(count):
    """Of patches, since single pixels average out within two layers."""
    pixels = np.random.default_rng(1).uniform(0, 255, (count, 8, 8, 3))
    patch = SIZE // 8
    return pixels.repeat(patch, 1).repeat(patch, 2).astype("float32")


def make_theirs(size):
    """keras.applications' network with random weights."""
    make = getattr(keras.applications, f"EfficientNetV2{size}")
    return make(
        weights=None, input_shape=(SIZE, SIZE, 3), classifier_activation=None
    )


def randomize(network):
    """Gives batch normalization random scales and statistics.

    These are of random images, disturbed: with others, what networks see
    vanishes or explodes on its way through the layers. Logits then span 10.
    """
    for layer in network.layers:
        if layer.name.endswith("_se_expand"):  # Mostly open.
            layer.bias.assign(np.full(layer.bias.shape, 2.0))
    rng = np.random.default_rng(0)
    norms = [x for x in network.layers if x.name.endswith("_bn")]
    for layer in norms:
        layer.gamma.assign(rng.uniform(0.8, 1.2, layer.gamma.shape))
        layer.beta.assign(rng.normal(0, 0.1, layer.beta.shape))
        layer.momentum = 0.0
    images = make_images(8)
    network(images, training=True)
    for layer in norms:
        layer.momentum = 0.9
        spread = np.sqrt(layer.moving_variance)
        noise = 0.1 * spread * rng.normal(size=spread.shape)
        layer.moving_mean.assign_add(noise)
        factor = rng.uniform(0.8, 1.2, spread.shape)
        layer.moving_variance.assign(layer.moving_variance * factor)
    head = network.get_layer("predictions")
    span = np.ptp(np.asarray(network(images, training=False)))
    for weight in head.weights:
        weight.assign(weight * 10 / span)
    return network


def list_weights(network):
    return [
        (layer.name, weight.name, tuple(weight.shape))
        for layer in network.layers
        for weight in layer.weights
    ]


def check_norms(network):
    """Both are hparams.py's of google/automl."""
    norms = [x for x in network.layers if x.name.endswith("_bn")]
    assert {(x.momentum, x.epsilon) for x in norms} == {(0.9, 1e-3)}


def test_every_row_has_golden_numbers():
    rows = [n for n in variants.VARIANTS if "_v2_" in n]
    assert rows == [name_of(size) for size in ROWS]


@pytest.mark.parametrize("size", ROWS)
def test_a_row_is_the_released_one(size):
    row = registry.get_variant(name_of(size))
    train, evaluation, dropout, params, billions = ROWS[size]
    assert (row.train_resolution, row.resolution) == (train, evaluation)
    assert row.dropout == dropout
    stem, stages = STAGES.get(size, STAGES["base"])
    assert row.stem_filters == stem
    assert [
        f"{'F' if s.block == 'fused_mbconv' else 'M'}{s.repeats}"
        f"e{s.expand_ratio}o{s.filters}s{s.strides}"
        for s in row.stages
    ] == stages.split()
    for stage in row.stages:
        assert stage.kernel_size == 3
        assert stage.se_ratio == (0.25 if stage.block == "mbconv" else 0.0)
    small = size.startswith("b")
    assert row.normalization == ("imagenet" if small else "v2")
    assert row.interpolation == ("legacy_bicubic" if small else "bilinear")
    assert row.eval_crop == ("padded" if small else "whole")
    counted = costs.count_costs(row)
    assert counted.params == params
    assert counted.multiply_adds / 1e9 == pytest.approx(billions, rel=5e-4)


@pytest.mark.parametrize("size", ROWS)
def test_paths_drop_linearly_up_to_the_rate(size):
    """In keras.applications the rate of B1 to B3 grows past 0.2."""
    blocks = plan.plan_network(name_of(size)).blocks
    rates = [block.drop_rate for block in blocks]
    wanted = [0.2 * i / len(blocks) for i in range(len(blocks))]
    np.testing.assert_allclose(rates, wanted)
    assert max(rates) < 0.2


def test_filters_are_rounded_to_the_nearest():
    """V1 rounds 1.2 * 16 up to 24, as 16 is more than a tenth less."""
    v1, v2 = (
        plan.plan_network(registry.get_variant(name, width=1.2)).blocks[0]
        for name in ("efficientnet_b0", "efficientnet_v2_b0")
    )
    assert (v1.filters, v2.filters) == (24, 16)


@pytest.fixture
def precision(size):
    """Random networks so deep enlarge float32's rounding to 6e-4 in logits."""
    if size not in ("M", "L"):
        yield "float32"
        return
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield "float64"
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("size", marked(SIZES))
def test_layers_weights_and_logits_are_those_of_keras(
    size, precision, tmp_path
):
    network, path = make_theirs(size), tmp_path / "x.weights.h5"
    check_norms(network)
    randomize(network).save_weights(path)
    ours = loading.build(
        name_of(size),
        weights=path,
        input_shape=(SIZE, SIZE, 3),
        classifier_activation=None,
    )
    check_norms(ours)
    assert list_weights(ours) == list_weights(network)
    trainable = sum(int(np.prod(w.shape)) for w in network.trainable_weights)
    assert trainable == ROWS[size.lower()][3]
    # The others are those of the input, and a shape that ours keeps.
    assert [x.name for x in ours.layers][2:] == [
        layer.name
        for layer in network.layers
        if not layer.name.endswith("_se_reshape")
        and not layer.name.startswith(("input_", "rescaling", "normalization"))
    ]
    images = make_images(2)
    wanted = np.asarray(network(images, training=False))
    assert wanted.dtype == precision
    found = np.asarray(ours(images, training=False))
    print(
        f"V2-{size}: {np.abs(found - wanted).max():.2g} of {np.ptp(wanted):.3g}"
    )
    np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=0)
    assert np.abs(wanted[0] - wanted[1]).max() > 0.1  # They see the images.


def test_images_are_prepared_as_the_row_says():
    """B0's centre less a border; S squashed whole, and trained at a smaller."""
    made = {}
    for size in ("b0", "s"):
        row = registry.get_variant(name_of(size), depth=0.1, width=0.1)
        whole = classifier.from_weights(row, None)
        made[size] = whole.resolution, whole.crop_padding, whole.interpolation
    assert made["b0"] == (224, 32, "legacy_bicubic")
    assert made["s"] == (384, None, "bilinear")


@pytest.mark.parametrize(
    ("changes", "sizes", "crop_padding"),
    [
        ({}, (300, 384), None),
        ({"resolution": 64}, (64, 64), None),
        ({"stage_resolutions": (32, 48)}, (48, 48), None),
        ({"eval_crop": "padded"}, (300, 384), 9),
    ],
)
def test_training_sees_smaller_images_unless_a_size_is_set(
    changes, sizes, crop_padding
):
    crop = {k: changes[k] for k in changes if k == "eval_crop"}
    row = registry.get_variant("efficientnet_v2_s", **crop)
    config = dataclasses.replace(
        recipes.get_recipe("smoke"),
        **{"resolution": 0} | {k: changes[k] for k in changes if k not in crop},
    )
    train = types.SimpleNamespace(size=10, class_names=("a",))
    feed = inputs.Feed({"train": train}, config, row, None, None)
    last = progression.stages(config)[-1]
    assert (feed.size(last), feed.eval_size) == sizes
    whole = feed.make_classifier(None)
    assert (whole.resolution, whole.crop_padding) == (sizes[1], crop_padding)
