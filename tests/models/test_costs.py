"""Costs counted from the plan equal those of the built network."""

import dataclasses

import pytest

import paths
from efficientnet_tf.models import costs, profile, published, scaling, variants

SCALING_PAGE = paths.DOCS / "scaling.md"


# Convolutions' outputs in millions: the column "acts" of MODEL_ZOO.md in
# https://github.com/facebookresearch/pycls, where its parameters are ours too:
# its B3 to B5 have other filters.
ACTIVATIONS = {
    "efficientnet_b0": 6.7,
    "efficientnet_b1": 10.9,
    "efficientnet_b2": 13.8,
}

NETWORKS = {
    "efficientnet_b1": variants.VARIANTS["efficientnet_b1"],
    "efficientnet_lite3": variants.VARIANTS["efficientnet_lite3"],
    "compound": scaling.compound(-1.3, 1.3, 1.05, 1.1),
    # A size that no stage halves evenly.
    "odd": dataclasses.replace(
        variants.VARIANTS["efficientnet_b0"],
        width=0.6,
        depth=0.5,
        resolution=99,
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_counts_equal_those_of_the_network(name):
    counted = costs.count_costs(NETWORKS[name])
    built = profile.profile(NETWORKS[name])
    stages = {stage.name: stage for stage in built.stages}
    assert [stage.name for stage in counted.stages] == list(stages)
    for stage in counted.stages:
        for what in ("params", "multiply_adds", "activations"):
            found = getattr(stage, what)
            assert found == getattr(stages[stage.name], what), stage.name
    assert counted.params == built.params
    assert counted.multiply_adds == built.multiply_adds


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_those_of_pycls(name):
    assert (
        round(costs.count_costs(name).activations / 1e6, 1) == ACTIVATIONS[name]
    )


def test_stages_of_b0_are_the_rows_of_table_1():
    found = [
        (s.operator, s.kernel_size, s.resolution, s.filters, s.repeats)
        for s in costs.count_costs("efficientnet_b0").stages
    ]
    # Resolutions of the input, by the official code's strides.
    assert found == [
        ("Conv", 3, 224, 32, 1),
        ("MBConv1", 3, 112, 16, 1),
        ("MBConv6", 3, 112, 24, 2),
        ("MBConv6", 5, 56, 40, 2),
        ("MBConv6", 3, 28, 80, 3),
        ("MBConv6", 5, 14, 112, 3),
        ("MBConv6", 5, 14, 192, 4),
        ("MBConv6", 3, 7, 320, 1),
        ("Conv", 1, 7, 1280, 1),
        ("Dense", 1, 1, 1000, 1),
    ]


def test_resolution_and_classes_can_be_given():
    small = costs.count_costs("efficientnet_b0", resolution=112, classes=10)
    large = costs.count_costs("efficientnet_b0")
    assert large.params - small.params == 1281 * 990
    # Half of the last 7 x 7 are 4 x 4.
    assert 3.5 < large.multiply_adds / small.multiply_adds < 4.1


@pytest.mark.parametrize("name", published.VARIANTS)
def test_costs_are_those_published(name):
    counted, theirs = costs.count_costs(name), published.VARIANTS[name]
    # Published with one or two digits, and B4's 19M of 19.34M; the README of
    # Lite has 5 % more multiply-adds than its own graph.
    assert counted.params / 1e6 == pytest.approx(theirs.params, rel=0.025)
    tolerance = 0.06 if "lite" in name else 0.05
    found = counted.multiply_adds / 1e9
    assert found == pytest.approx(theirs.multiply_adds, rel=tolerance)
    cells = (
        f"`{name}`",
        f"{counted.params / 1e6:.2f}",
        f"{theirs.params:g}",
        f"{found:.3f}",
        f"{theirs.multiply_adds:g}",
        f"{counted.activations / 1e6:.1f}",
    )
    assert f"| {' | '.join(cells)} |" in SCALING_PAGE.read_text().splitlines()


def test_growth_is_exact_where_the_prediction_ignores_rounding():
    assert costs.growth(0) == scaling.Growth(1, 1, 1)
    # One factor at a time, where nothing rounds: twice the blocks, or twice
    # the sides of each map.
    deep = costs.growth(1, alpha=2, beta=1, gamma=1)
    large = costs.growth(1, alpha=1, beta=1, gamma=2)
    assert deep.multiply_adds == pytest.approx(2, rel=0.02)
    assert large.params == 1
    assert large.multiply_adds == pytest.approx(4, rel=0.015)
    assert large.activations == pytest.approx(4, rel=0.01)
    # Rounding repeats up makes a small step dearer than predicted.
    exact, predicted = costs.growth(1), scaling.growth(1)
    assert exact.multiply_adds > 1.2 * predicted.multiply_adds


def test_growth_of_another_base_is_relative_to_it():
    base = "efficientnet_lite0"
    found = costs.growth(2, base=base).params
    scaled = scaling.compound(2, base=base)
    assert (
        found
        == costs.count_costs(scaled).params / costs.count_costs(base).params
    )
