"""The table of variants compared with the official code, and its errors."""

import dataclasses

import pytest

from efficientnet_tf.models import registry, variants

# EfficientNetV2's rows are in tests/conformance/test_v2.py.
NAMES = tuple(name for name in variants.VARIANTS if "_v2_" not in name)

# width, depth, resolution, dropout: efficientnet_builder.py and
# lite/efficientnet_lite_builder.py of the official code.
COEFFICIENTS = {
    "efficientnet_b0": (1.0, 1.0, 224, 0.2),
    "efficientnet_b1": (1.0, 1.1, 240, 0.2),
    "efficientnet_b2": (1.1, 1.2, 260, 0.3),
    "efficientnet_b3": (1.2, 1.4, 300, 0.3),
    "efficientnet_b4": (1.4, 1.8, 380, 0.4),
    "efficientnet_b5": (1.6, 2.2, 456, 0.4),
    "efficientnet_b6": (1.8, 2.6, 528, 0.5),
    "efficientnet_b7": (2.0, 3.1, 600, 0.5),
    "efficientnet_b8": (2.2, 3.6, 672, 0.5),
    "efficientnet_l2": (4.3, 5.3, 800, 0.5),
    "efficientnet_lite0": (1.0, 1.0, 224, 0.2),
    "efficientnet_lite1": (1.0, 1.1, 240, 0.2),
    "efficientnet_lite2": (1.1, 1.2, 260, 0.3),
    "efficientnet_lite3": (1.2, 1.4, 280, 0.3),
    "efficientnet_lite4": (1.4, 1.8, 300, 0.3),
}

# The block strings of efficientnet_builder.py, e.g. r2_k5_s22_e6_i24_o40.
BLOCKS = (
    "r1_k3_s1_e1_o16",
    "r2_k3_s2_e6_o24",
    "r2_k5_s2_e6_o40",
    "r3_k3_s2_e6_o80",
    "r3_k5_s1_e6_o112",
    "r4_k5_s2_e6_o192",
    "r1_k3_s1_e6_o320",
)


def test_every_variant_has_golden_coefficients():
    assert set(COEFFICIENTS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_coefficients_are_the_official_ones(name):
    row = variants.VARIANTS[name]
    found = (row.width, row.depth, row.resolution, row.dropout)
    assert found == COEFFICIENTS[name]


@pytest.mark.parametrize("name", NAMES)
def test_stages_are_the_official_ones(name):
    found = tuple(
        f"r{s.repeats}_k{s.kernel_size}_s{s.strides}_e{s.expand_ratio}"
        f"_o{s.filters}"
        for s in variants.VARIANTS[name].stages
    )
    assert found == BLOCKS


@pytest.mark.parametrize("name", NAMES)
def test_lite_differs_where_the_official_code_says(name):
    row = variants.VARIANTS[name]
    lite = "lite" in name
    assert row.activation == ("relu6" if lite else "silu")
    assert row.normalization == ("lite" if lite else "imagenet")
    assert row.interpolation == ("bilinear" if lite else "legacy_bicubic")
    assert row.fixed_ends == lite
    assert {s.se_ratio for s in row.stages} == {0.0 if lite else 0.25}
    # survival_prob 0.8 in both.
    assert row.drop_path == 0.2


# preprocessing.py of the official code; AdvProp's from its paper's release.
@pytest.mark.parametrize(
    ("name", "black", "white"),
    [
        ("imagenet", -0.485 / 0.229, (1 - 0.485) / 0.229),
        ("advprop", -1.0, 1.0),
        ("lite", -127 / 128, 1.0),
        ("v2", -1.0, 127 / 128),
    ],
)
def test_normalization_maps_the_ends_of_the_range(name, black, white):
    row = variants.get_normalization(name)
    assert (0 - row.mean[0]) / row.std[0] == pytest.approx(black)
    assert (255 - row.mean[0]) / row.std[0] == pytest.approx(white)


def test_a_variant_and_a_normalization_pass_through():
    variant = dataclasses.replace(
        variants.VARIANTS["efficientnet_b0"], width=1.05
    )
    assert registry.get_variant(variant) is variant
    normalization = variants.NORMALIZATIONS["lite"]
    assert variants.get_normalization(normalization) is normalization


def test_an_unknown_model_is_named_beside_the_choices():
    with pytest.raises(ValueError, match="'b0'.*efficientnet_b0.*_lite4"):
        registry.get_variant("b0")


def test_an_unknown_normalization_is_named_beside_the_choices():
    with pytest.raises(ValueError, match="'caffe'.*imagenet, advprop, lite"):
        variants.get_normalization("caffe")


@pytest.mark.parametrize(
    "name,changes,message",
    [
        ("efficientnet_b0", {"padding": "symetric"}, "mean 'symmetric'"),
        ("efficientnet_b0", {"padding": None}, "must be of type str"),
        ("vit", {"padding": "symmetric"}, "a transformer pads no convolution"),
        (
            "efficientnet_b0",
            {
                "padding": "symmetric",
                "stages": (variants.Stage("mbconv", 4, 1, 16, 1, 1),),
            },
            "needs odd kernels; stage 1 has kernel_size=4",
        ),
    ],
)
def test_a_padding_that_cannot_be_is_refused(name, changes, message):
    with pytest.raises(ValueError, match=message):
        registry.get_variant(name, **changes)
