"""Networks at a scale: their files, their costs, their growth."""

import dataclasses
import json
import math

import pytest

from efficientnet_tf.models import (
    baselines,
    builder,
    profile,
    registry,
    scaling,
    variants,
)

NAMES = ("efficientnet_b0", "efficientnet_lite0", *baselines.BASELINES)


@pytest.mark.parametrize("name", NAMES)
def test_counts_are_those_of_the_built_network(name):
    scaled = dataclasses.replace(
        registry.get(name), depth=1.4, width=0.5, resolution=97
    )
    built = profile.profile(registry.build(scaled, classes=7))
    assert registry.count(scaled, classes=7) == registry.Cost(
        built.params, built.multiply_adds, built.activations
    )


def test_a_scale_far_beyond_any_memory_is_refused_before_it_is_counted():
    with pytest.raises(
        ValueError, match="depth=1001.0 must be .* at most 1000"
    ):
        dataclasses.replace(registry.get("efficientnet_b0"), depth=1001.0)
    with pytest.raises(ValueError, match="depth=.* at most 1000"):
        registry.grow(registry.get("efficientnet_b0"), 1e9, "depth")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_gives_the_network_that_was_written(name, tmp_path):
    scaled = registry.scale(registry.get(name), scaling.factors(0.5))
    path = tmp_path / "network.json"
    registry.write(path, scaled)
    assert registry.get(str(path)) == registry.get(path) == scaled


def test_build_takes_a_variant_file(tmp_path):
    path = tmp_path / "small.json"
    path.write_text(
        '{"base": "efficientnet_b0", "width": 0.25, "resolution": 64}'
    )
    variant = variants.get_variant(str(path))
    b0 = variants.VARIANTS["efficientnet_b0"]
    assert variant == dataclasses.replace(b0, width=0.25, resolution=64)
    network = builder.build(str(path), classes=3)
    assert network.input_shape == (None, 64, 64, 3)
    assert profile.profile(network).params == (
        registry.count(path, classes=3).params
    )


WRONG_FILES = {
    "[1]": 'must be one JSON object with a "base"',
    "{}": 'must be one JSON object with a "base"',
    "{": "is not JSON",
    '{"base": "b0"}': "'b0'",
    '{"base": "efficientnet_b0", "with": 2.0}': "unknown field 'with'",
    '{"base": "efficientnet_b0", "width": "2"}': "width='2' must be of type",
    '{"base": "efficientnet_b0", "resolution": 64.5}': "must be of type int",
    '{"base": "efficientnet_b0", "width": -1}': "width=-1 must be above 0",
    '{"base": "efficientnet_b0", "resolution": 16}': "resolution=16 is below",
    '{"base": "efficientnet_b0", "dropout": 1.0}': "dropout=1.0 must be in",
}


@pytest.mark.parametrize("text", WRONG_FILES)
def test_a_wrong_file_is_named_with_what_is_wrong(text, tmp_path):
    path = tmp_path / "wrong.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=WRONG_FILES[text]):
        registry.get(str(path))


def test_a_file_of_a_baseline_is_not_of_the_family(tmp_path):
    path = tmp_path / "resnet.json"
    registry.write(path, registry.get("resnet50"))
    with pytest.raises(ValueError, match="scales 'resnet50'; choose one of"):
        variants.get_variant(str(path))


def test_unknown_names_and_missing_files_are_told(tmp_path):
    with pytest.raises(ValueError, match="'b0'.*efficientnet_b0.*vit.*json"):
        registry.get("b0")
    with pytest.raises(FileNotFoundError):
        registry.get(str(tmp_path / "nothing.json"))


def test_a_baseline_drops_no_paths():
    with pytest.raises(ValueError, match="resnet50 drops no paths"):
        registry.build("resnet50", drop_path_rate=0.1)


@pytest.mark.parametrize("direction", registry.DIRECTIONS)
@pytest.mark.parametrize("base", ["efficientnet_b0", "resnet50"])
def test_growth_is_as_near_as_rounding_allows(base, direction):
    begin = registry.get(base)
    grown = registry.grow(begin, 4.0, direction)
    ratio = (
        registry.count(grown).multiply_adds
        / registry.count(begin).multiply_adds
    )
    assert ratio == pytest.approx(4.0, rel=0.06)
    changed = {
        field
        for field in ("depth", "width", "resolution")
        if getattr(grown, field) != getattr(begin, field)
    }
    everything = {"depth", "width", "resolution"}
    assert changed == (everything if direction == "compound" else {direction})


def test_growth_takes_the_nearer_side_of_a_step():
    begin = registry.get("efficientnet_b0")
    base = registry.count(begin).multiply_adds
    grown = registry.grow(begin, 1.9, "depth")
    found = abs(math.log(registry.count(grown).multiply_adds / base / 1.9))
    for depth in (1.2, 1.4, 1.5, 1.75, 1.9, 2.0, 2.3):
        other = dataclasses.replace(begin, depth=depth)
        cost = registry.count(other).multiply_adds
        assert found <= abs(math.log(cost / base / 1.9)) + 1e-9


WRONG_GROWTH = [
    (0.5, "depth", "growth must be at least 1, got 0.5"),
    (2.0, "hight", "Unknown direction 'hight'; choose one of depth"),
]


@pytest.mark.parametrize("growth,direction,message", WRONG_GROWTH)
def test_wrong_growth_is_refused(growth, direction, message):
    with pytest.raises(ValueError, match=message):
        registry.grow(registry.get("resnet50"), growth, direction)


def test_files_hold_the_fields_that_may_be_given(tmp_path):
    registry.write(tmp_path / "a.json", registry.get("resnet50"))
    fields = json.loads((tmp_path / "a.json").read_text())
    assert set(fields) == {"base", *variants.FILE_FIELDS}
