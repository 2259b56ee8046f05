"""Scaled networks: their files, their costs, their growth."""

import dataclasses
import json
import math

import keras
import numpy as np
import pytest

from efficientnet_tf.models import (
    baselines,
    builder,
    costs,
    profile,
    registry,
    scaling,
    variants,
)
from efficientnet_tf.search import directions

NAMES = ("efficientnet_b0", "efficientnet_lite0", *baselines.BASELINES)


@pytest.mark.parametrize("name", NAMES)
def test_counts_are_those_of_the_built_network(name):
    scaled = dataclasses.replace(
        registry.get_variant(name), depth=1.4, width=0.5, resolution=97
    )
    built = profile.profile(builder.build(scaled, classes=7))
    counted = costs.count_costs(scaled, classes=7)
    assert (counted.params, counted.multiply_adds, counted.activations) == (
        built.params,
        built.multiply_adds,
        built.activations,
    )


def test_a_scale_far_beyond_any_memory_is_refused_before_it_is_counted():
    with pytest.raises(
        ValueError, match="depth=1001.0 must be .* at most 1000"
    ):
        dataclasses.replace(
            registry.get_variant("efficientnet_b0"), depth=1001.0
        )
    with pytest.raises(ValueError, match="depth=.* at most 1000"):
        directions.grow(registry.get_variant("efficientnet_b0"), 1e9, "depth")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_gives_the_network_that_was_written(name, tmp_path):
    scaled = scaling.scale(registry.get_variant(name), scaling.factors(0.5))
    path = tmp_path / "network.json"
    registry.write_file(path, scaled)
    assert (
        registry.get_variant(str(path)) == registry.get_variant(path) == scaled
    )


def test_build_takes_a_variant_file(tmp_path):
    path = tmp_path / "small.json"
    path.write_text(
        '{"base": "efficientnet_b0", "width": 0.25, "resolution": 64}'
    )
    variant = registry.get_variant(str(path))
    b0 = variants.VARIANTS["efficientnet_b0"]
    assert variant == dataclasses.replace(b0, width=0.25, resolution=64)
    network = builder.build(str(path), classes=3)
    assert network.input_shape == (None, 64, 64, 3)
    assert profile.profile(network).params == (
        costs.count_costs(path, classes=3).params
    )


B0 = '{"base": "efficientnet_b0", '
STAGE = '{"block": "mbconv", "kernel_size": 3, "repeats": 1, "filters": 16, '
WRONG_FILES = {
    "[1]": "must hold a JSON object, not a list",
    "{}": 'must be one JSON object with a "base"',
    '{"width": 1.0}': 'with a "base", or with width, depth, resolution',
    "{": "is not JSON",
    "null": "must hold a JSON object, not null",
    "3": "must hold a JSON object, not 3",
    "[" * 100_000: "nested too deeply",
    '{"a":' * 500 + "1" + "}" * 500: "nested too deeply",
    '{"base": "resnet50", "base": "vit"}': "'base' is there twice",
    "\xff": "is not JSON",
    '{"base": null}': "must be one JSON object",
    '{"base": "b0"}': "Unknown model 'b0'; did you mean 'efficientnet_b0'",
    B0 + '"with": 2.0}': (
        "unknown field 'with'; did you mean 'width'. Choose one of base, "
    ),
    B0 + '"width": "2"}': "width='2' must be of type",
    B0 + '"resolution": 64.5}': "must be of type int",
    B0 + '"width": -1}': "width=-1 must be above 0",
    B0 + '"width": 1e999}': "1e999 is not a finite number",
    B0 + '"width": NaN}': "NaN is not a finite number",
    B0 + '"width": 1' + "0" * 400 + "}": "the number 10*... is too large",
    B0 + '"resolution": 99999}': "must be between 32 and 16384",
    B0 + '"resolution": 16}': "resolution=16 must be between 32",
    B0 + '"dropout": 1.0}': "dropout=1.0 must be in",
    B0 + '"stem": "cnv"}': "stem='cnv' must be one of conv, conv_pool",
    B0 + '"activation": "sliu"}': "must be one of relu, .*'silu'",
    B0 + '"interpolation": "cubic"}': "must be one of .*'bicubic'",
    B0 + '"normalization": []}': "normalization=.* must be of type str",
    B0 + '"stages": []}': "stages=.* must hold at least one",
    B0 + '"stages": [3]}': "must be a list of objects with block",
    B0 + '"stages": {"block": 3}}': "must be a list of objects",
    B0 + '"stages": [{"block": "mbconv"}]}': "stage 1: kernel_size is missing",
    B0 + '"stages": [' + STAGE + '"expand_ratio": 0, "strides": 1}]}': (
        "stage 1: expand_ratio=0 must be between 1 and 100"
    ),
    B0 + '"stages": [' + STAGE + '"stride": 1}]}': (
        "stage 1: unknown field 'stride'; choose one of block, kernel_size, .*"
        "Did you mean 'strides'"
    ),
}


@pytest.mark.parametrize("name", variants.ACTIVATIONS)
def test_every_activation_is_one_of_keras(name):
    x = np.linspace(-3, 3, 7, dtype="float32")
    y = keras.ops.convert_to_numpy(keras.layers.Activation(name)(x))
    assert y.shape == x.shape and np.isfinite(y).all()
    assert y[3] == 0 and y[4] > 0


@pytest.mark.parametrize("text", WRONG_FILES)
def test_a_wrong_file_is_named_with_what_is_wrong(text, tmp_path):
    path = tmp_path / "wrong.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=WRONG_FILES[text]):
        registry.get_variant(str(path))


def test_a_file_may_scale_a_baseline(tmp_path):
    path = tmp_path / "resnet.json"
    path.write_text('{"base": "resnet50", "depth": 1.4}')
    variant = registry.get_variant(str(path))
    assert variant == registry.get_variant("resnet50", depth=1.4)
    assert variant.depth == 1.4 and variant.head == "none"


def test_what_an_earlier_version_wrote_is_read(tmp_path):
    """Early files had these five fields, whatever the base."""
    path = tmp_path / "old.json"
    path.write_text(
        '{"base": "mobilenet_v1", "width": 0.25, "depth": 0.5, '
        '"resolution": 48, "dropout": 0.1}'
    )
    variant = registry.get_variant(path)
    assert variant == registry.get_variant(
        "mobilenet_v1", width=0.25, depth=0.5, resolution=48, dropout=0.1
    )


def test_unknown_names_and_missing_files_are_told(tmp_path):
    with pytest.raises(ValueError, match="'b0'.*efficientnet_b0.*vit.*json"):
        registry.get_variant("b0")
    with pytest.raises(FileNotFoundError):
        registry.get_variant(str(tmp_path / "nothing.json"))


def test_a_baseline_drops_no_paths():
    with pytest.raises(ValueError, match="0.1: bottleneck blocks have no drop"):
        builder.build("resnet50", drop_path_rate=0.1)


@pytest.mark.parametrize("direction", directions.DIRECTIONS)
@pytest.mark.parametrize("base", ["efficientnet_b0", "resnet50"])
def test_growth_is_as_near_as_rounding_allows(base, direction):
    begin = registry.get_variant(base)
    grown = directions.grow(begin, 4.0, direction)
    ratio = (
        costs.count_costs(grown).multiply_adds
        / costs.count_costs(begin).multiply_adds
    )
    assert ratio == pytest.approx(4.0, rel=0.06)
    changed = {
        field
        for field in ("depth", "width", "resolution")
        if getattr(grown, field) != getattr(begin, field)
    }
    everything = {"depth", "width", "resolution"}
    # Weighted depth is written out in the stages.
    expected = {"compound": everything, "weighted": everything - {"depth"}}
    assert changed == expected.get(direction, {direction})
    assert (grown.stages != begin.stages) == (direction == "weighted")


def test_growth_takes_the_nearer_side_of_a_step():
    begin = registry.get_variant("efficientnet_b0")
    base = costs.count_costs(begin).multiply_adds
    grown = directions.grow(begin, 1.9, "depth")
    found = abs(math.log(costs.count_costs(grown).multiply_adds / base / 1.9))
    for depth in (1.2, 1.4, 1.5, 1.75, 1.9, 2.0, 2.3):
        other = dataclasses.replace(begin, depth=depth)
        cost = costs.count_costs(other).multiply_adds
        assert found <= abs(math.log(cost / base / 1.9)) + 1e-9


WRONG_GROWTH = [
    (0.5, "depth", "growth must be at least 1, got 0.5"),
    (2.0, "hight", "Unknown direction 'hight'; choose one of depth"),
]


@pytest.mark.parametrize("growth,direction,message", WRONG_GROWTH)
def test_wrong_growth_is_refused(growth, direction, message):
    with pytest.raises(ValueError, match=message):
        directions.grow(registry.get_variant("resnet50"), growth, direction)


def test_files_hold_the_fields_that_may_be_given(tmp_path):
    registry.write_file(tmp_path / "a.json", registry.get_variant("resnet50"))
    fields = json.loads((tmp_path / "a.json").read_text())
    assert set(fields) == {
        field.name for field in dataclasses.fields(variants.Variant)
    }
