"""Rounding of width and depth, and compound scaling for a real φ."""

import dataclasses

import pytest

import paths
from efficientnet_tf.models import (
    builder,
    costs,
    plan as plan_lib,
    scaling,
    variants,
)

# Filters of the seven stages: the official code's round_filters, as its
# checkpoints have them.
STAGE_FILTERS = {
    "efficientnet_b0": (16, 24, 40, 80, 112, 192, 320),
    "efficientnet_b1": (16, 24, 40, 80, 112, 192, 320),
    "efficientnet_b2": (16, 24, 48, 88, 120, 208, 352),
    "efficientnet_b3": (24, 32, 48, 96, 136, 232, 384),
    "efficientnet_b4": (24, 32, 56, 112, 160, 272, 448),
    "efficientnet_b5": (24, 40, 64, 128, 176, 304, 512),
    "efficientnet_b6": (32, 40, 72, 144, 200, 344, 576),
    "efficientnet_b7": (32, 48, 80, 160, 224, 384, 640),
    "efficientnet_b8": (32, 56, 88, 176, 248, 424, 704),
}

STAGE_REPEATS = {
    "efficientnet_b0": (1, 2, 2, 3, 3, 4, 1),
    "efficientnet_b1": (2, 3, 3, 4, 4, 5, 2),
    "efficientnet_b2": (2, 3, 3, 4, 4, 5, 2),
    "efficientnet_b3": (2, 3, 3, 5, 5, 6, 2),
    "efficientnet_b4": (2, 4, 4, 6, 6, 8, 2),
    "efficientnet_b5": (3, 5, 5, 7, 7, 9, 3),
    "efficientnet_b6": (3, 6, 6, 8, 8, 11, 3),
    "efficientnet_b7": (4, 7, 7, 10, 10, 13, 4),
    "efficientnet_b8": (4, 8, 8, 11, 11, 15, 4),
}


@pytest.mark.parametrize("name", STAGE_FILTERS)
def test_filters_round_as_in_the_official_code(name):
    variant = variants.VARIANTS[name]
    found = tuple(
        scaling.round_filters(stage.filters, variant.width)
        for stage in variant.stages
    )
    assert found == STAGE_FILTERS[name]


@pytest.mark.parametrize("name", STAGE_REPEATS)
def test_repeats_round_up_as_in_the_official_code(name):
    variant = variants.VARIANTS[name]
    found = tuple(
        scaling.round_repeats(stage.repeats, variant.depth)
        for stage in variant.stages
    )
    assert found == STAGE_REPEATS[name]


@pytest.mark.parametrize(
    ("filters", "width", "expected"),
    [
        (32, 1.0, 32),
        (32, 1.1, 32),  # 35.2: nearer to 32, which is 9 % less.
        (40, 1.1, 48),  # 44.0: a tie rounds up.
        (24, 0.7, 16),  # 16.8: 16 is only 5 % less.
        (16, 0.7, 16),  # 11.2: 8 would lose 29 %, so one step up.
        (16, 0.1, 8),  # Never below the divisor.
        (20, 1.0, 20),  # Unscaled filters stay, multiple of 8 or not.
    ],
)
def test_filters_never_lose_more_than_a_tenth(filters, width, expected):
    assert scaling.round_filters(filters, width) == expected


def test_compound_grows_each_dimension_by_its_own_power():
    variant = scaling.compound(2)
    # 1.2 ** 2, 1.1 ** 2, 224 * 1.15 ** 2 = 296.24, 0.2 + 0.3 * 2 / 7.
    assert variant.depth == pytest.approx(1.44)
    assert variant.width == pytest.approx(1.21)
    assert variant.resolution == 296
    assert variant.dropout == pytest.approx(0.285714, abs=1e-6)


def test_compound_zero_is_the_base_itself():
    for base in ("efficientnet_b0", "efficientnet_lite0"):
        assert scaling.compound(0, base=base) == variants.VARIANTS[base]


def test_compound_takes_own_coefficients_and_fractions():
    variant = scaling.compound(0.5, alpha=1.44, beta=1.0, gamma=1.0)
    assert variant.depth == pytest.approx(1.2)
    assert (variant.width, variant.resolution) == (1.0, 224)


@pytest.mark.parametrize("phi", [-20, 35])
def test_compound_dropout_stays_between_none_and_that_of_b7(phi):
    variant = scaling.compound(phi, gamma=1.0)
    assert variant.dropout == (0.0 if phi < 0 else 0.5)


@pytest.mark.parametrize("argument", ["alpha", "beta", "gamma"])
@pytest.mark.parametrize("value", [0.9, float("nan")])
def test_a_coefficient_below_one_is_refused_by_name(argument, value):
    with pytest.raises(ValueError, match=f"{argument} must be.*{value}"):
        scaling.compound(1, **{argument: value})


def test_coefficients_far_from_twice_the_cost_a_step_are_told(caplog):
    with caplog.at_level("WARNING", logger="absl"):
        scaling.compound(1)
        assert not caplog.records
        scaling.compound(1, 2, 2, 2)
    assert "alpha * beta^2 * gamma^2 = 32, the growth" in caplog.text


def test_a_phi_that_leaves_no_pixels_is_refused():
    with pytest.raises(ValueError, match="phi=-20.*14 pixels"):
        scaling.compound(-20)


def test_an_unknown_base_is_refused():
    with pytest.raises(ValueError, match="'resnet18'.*efficientnet_b0"):
        scaling.compound(1, base="resnet18")


def test_a_network_that_no_memory_holds_is_refused():
    with pytest.raises(ValueError, match="depth=.* at most 1000"):
        scaling.compound(50, gamma=1.0)


def test_what_has_no_dropout_gets_none():
    grown = scaling.compound(2, base="resnet50")
    assert grown.dropout == 0 and grown.depth == pytest.approx(1.44)


def test_a_scaled_variant_builds():
    variant = scaling.compound(-2.5, gamma=1.2)
    network = builder.build(variant, classes=5)
    assert network.input_shape[1] == variant.resolution
    assert network.output_shape == (None, 5)
    blocks = [x for x in network.layers if x.name.endswith("project_conv")]
    assert len(blocks) == len(plan_lib.plan_network(variant).blocks)


def test_a_variant_of_ones_own_builds():
    base = variants.VARIANTS["efficientnet_lite0"]
    variant = dataclasses.replace(base, width=0.5, resolution=64)
    network = builder.build(variant, classes=3)
    # Lite's head does not scale with the width.
    assert network.get_layer("top_conv").filters == 1280
    assert network.get_layer("block7a_project_conv").filters == 160


def test_growth_is_predicted_as_in_section_3_3():
    growth = scaling.growth(1)
    # 1.2 * 1.1 ** 2 * 1.15 ** 2: "about 2".
    assert growth.multiply_adds == pytest.approx(1.92027)
    assert growth.params == pytest.approx(1.2 * 1.1**2)
    assert growth.activations == pytest.approx(1.2 * 1.1 * 1.15**2)
    double = scaling.growth(2.5)
    assert double.multiply_adds == pytest.approx(1.92027**2.5)
    assert scaling.growth(0) == scaling.Growth(1, 1, 1)


@pytest.mark.parametrize(
    ("resolution", "factor", "divisor", "expected"),
    [
        (224, 1.3, 1, 291),  # 291.2
        (224, 1.3, 16, 288),
        (224, 1.3, 32, 288),
        (224, 1.3225, 16, 304),  # 296.24: 18.5 times 16.
    ],
)
def test_resolutions_go_to_the_nearest_multiple(
    resolution, factor, divisor, expected
):
    found = scaling.round_resolution(resolution, factor, divisor)
    assert found == expected


# Blocks of each stage by α^φ = 1.2^3 = 1.728 to the power of the weights: 1 all
# over; 0, 1/3, 2/3, 1, 4/3, 5/3, 2 of B0's seven stages; half of that way. The
# ends of Lite do not grow.
LATE = [
    ("efficientnet_b0", 0.0, (2, 4, 4, 6, 6, 7, 2)),
    ("efficientnet_b0", 1.0, (1, 3, 3, 6, 7, 10, 3)),
    ("efficientnet_b0", 0.5, (2, 3, 4, 6, 6, 9, 3)),
    ("efficientnet_lite0", 1.0, (1, 3, 3, 6, 7, 10, 1)),
    # Weights of six stages: 0, 0.4, 0.8, 1.2, 1.6, 2.
    ("efficientnet_v2_s", 1.0, (2, 5, 7, 12, 22, 45)),
]


@pytest.mark.parametrize(("base", "late", "blocks"), LATE)
def test_later_stages_can_grow_more_than_earlier_ones(base, late, blocks):
    grown = scaling.compound(3, base=base, late=late)
    plan = plan_lib.plan_network(grown)
    assert tuple(map(len, plan.stages)) == blocks
    # Width and resolution grow as ever, and the costs are those of the blocks.
    uniform = scaling.compound(3, base=base)
    assert (grown.width, grown.resolution) == (
        uniform.width,
        uniform.resolution,
    )
    rows = costs.count_costs(grown).stages[1 : 1 + len(blocks)]
    assert tuple(row.repeats for row in rows) == blocks
    assert (grown == uniform) == (late == 0)


def test_a_weighted_network_scales_on_from_its_own_depth():
    base = dataclasses.replace(variants.VARIANTS["efficientnet_b0"], depth=2.0)
    grown = scaling.compound(0, base=base, late=1.0)
    assert plan_lib.plan_network(grown) == plan_lib.plan_network(base)
    again = scaling.compound(1, alpha=2.0, beta=1, gamma=1, base=grown, late=1)
    # ceil(2^(i/3) * (2, 4, 4, 6, 6, 8, 2)), i from 0.
    counts = tuple(map(len, plan_lib.plan_network(again).stages))
    assert counts == (2, 6, 7, 12, 16, 26, 8)


def test_a_cap_holds_the_resolution():
    assert scaling.compound(7).resolution == 596
    assert scaling.compound(7, max_resolution=480).resolution == 480
    assert scaling.compound(2, max_resolution=480).resolution == 296
    for cap, message in ((200, "is below the base's 224"), (31, "be 0, or at")):
        with pytest.raises(
            ValueError, match=f"max_resolution={cap} .*{message}"
        ):
            scaling.compound(1, max_resolution=cap)
    with pytest.raises(ValueError, match="late must be from 0 to 1, got 1.5"):
        scaling.compound(1, late=1.5)


def test_compound_rounds_the_resolution_as_asked():
    assert scaling.compound(2, resolution_divisor=32).resolution == 288
    with pytest.raises(ValueError, match="resolution_divisor.*got 0"):
        scaling.compound(1, resolution_divisor=0)


@pytest.mark.parametrize("phi", [float("nan"), float("inf")])
def test_a_phi_that_is_no_number_is_refused(phi):
    with pytest.raises(ValueError, match="phi must be a finite number"):
        scaling.compound(phi)


@pytest.mark.parametrize("alpha,most", [(1.2, 3893), (2.0, 1023)])
def test_a_phi_that_is_too_large_names_the_bound(alpha, most):
    message = f"phi={most + 1} is too large; .* {alpha:g} .* at most {most}[.]"
    with pytest.raises(ValueError, match=message):
        scaling.factors(most + 1, alpha)
    assert scaling.factors(most, alpha).depth == alpha**most


def test_the_documented_table_of_coefficients_is_computed():
    page = paths.DOCS / "scaling.md"
    shown = [
        line for line in page.read_text().splitlines() if line.startswith("| B")
    ]
    assert shown == [_coefficients_row(i) for i in range(1, 8)]


def _coefficients_row(number):
    name = f"efficientnet_b{number}"
    variant, implied = variants.VARIANTS[name], scaling.implied_phi(name)
    # B1 is at 0.5; from B2 on the published names count φ.
    phi = 0.5 if number == 1 else number - 1
    formula = scaling.factors(phi)
    pixels = scaling.round_resolution(224, formula.resolution)
    cells = (
        f"B{number}",
        f"{phi:g}",
        f"{variant.depth:.1f} / {formula.depth:.2f}",
        f"{variant.width:.1f} / {formula.width:.2f}",
        f"{variant.resolution} / {pixels}",
        f"{implied.depth:.1f}",
        f"{implied.width:.1f}",
        f"{implied.resolution:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def test_published_coefficients_stay_near_the_curve():
    for number in range(1, 8):
        name = f"efficientnet_b{number}"
        found = scaling.implied_phi(name)
        implied = found.depth, found.width, found.resolution
        # Within one step of φ, and none beyond the table's own name.
        assert max(implied) - min(implied) < 1.3
        assert number - 1.3 < sum(implied) / 3 < number
