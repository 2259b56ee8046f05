"""The scalable baselines: their size, Table 3, and that they train."""

import keras
import numpy as np
import pytest

import paths
from efficientnet_tf.models import (
    baselines,
    builder,
    profile as profile_lib,
    published,
    registry,
)

SCALING_PAGE = paths.DOCS / "scaling.md"


# keras.applications' networks, counted beside ours in the test.
PEERS = {
    "mobilenet_v1": keras.applications.MobileNet,
    "mobilenet_v2": keras.applications.MobileNetV2,
    "resnet50": keras.applications.ResNet50,
}

# (parameters, billions of multiply-adds) by width: ViT-Ti/16, ViT-S/16 and
# ViT-B/16 of Table 1 in https://arxiv.org/abs/2012.12877, parameters to the
# unit as timm counts them.
VITS = {
    0.5: (5_717_416, 1.3),
    1.0: (22_050_664, 4.6),
    2.0: (86_567_656, 17.6),
}


def test_every_baseline_has_a_golden_and_a_row_in_table_3():
    assert {*PEERS, "vit"} == set(baselines.BASELINES)
    assert {row.baseline for row in published.TABLE_3} == set(PEERS)


@pytest.mark.parametrize("name", PEERS)
def test_parameters_at_scale_one_are_those_of_keras_applications(name):
    ours, theirs = builder.build(name), PEERS[name](weights=None)
    assert ours.count_params() == theirs.count_params()
    profile = profile_lib.profile(ours)
    assert profile.params == profile_lib.profile(theirs).params
    assert profile.params + profile.statistics == ours.count_params()


@pytest.mark.parametrize("width", VITS)
def test_transformers_of_the_known_widths_have_the_known_costs(width):
    profile = profile_lib.profile(
        builder.build(registry.get_variant("vit", width=width))
    )
    params, multiply_adds = VITS[width]
    assert profile.params == params
    assert round(profile.multiply_adds / 1e9, 1) == multiply_adds


def _id(row):
    return f"{row.baseline}-{row.depth}-{row.width}-{row.resolution}"


@pytest.mark.parametrize("row", published.TABLE_3, ids=_id)
def test_a_row_of_table_3_costs_what_the_paper_says(row):
    network = builder.build(
        registry.get_variant(
            row.baseline,
            depth=row.depth,
            width=row.width,
            resolution=row.resolution,
        )
    )
    found = profile_lib.profile(network).multiply_adds / 1e9
    cells = (
        f"`{row.baseline}`",
        f"{row.depth:g}",
        f"{row.width:g}",
        f"{row.resolution}",
        f"{row.multiply_adds:g}",
        f"{found:.3f}",
        row.note,
    )
    assert f"| {' | '.join(cells)} |" in SCALING_PAGE.read_text().splitlines()
    if row.counted is not None:
        assert row.note
        assert found == pytest.approx(row.counted, rel=0.001)
        # Such a row is an exception only while it is one.
        assert abs(found / row.multiply_adds - 1) > 0.02
    elif row.multiply_adds < 1:
        # One digit: 2 % would be finer than what is published.
        assert round(found, 1) == row.multiply_adds
    else:
        assert found == pytest.approx(row.multiply_adds, rel=0.02)


def test_the_swapped_rows_of_table_3_fit_each_other():
    rows = [row for row in published.TABLE_3 if row.baseline == "resnet50"]
    deep, wide = rows[1], rows[2]
    assert (deep.depth, wide.width) == (4, 2)
    assert deep.counted == pytest.approx(wide.multiply_adds, rel=0.02)
    assert wide.counted == pytest.approx(deep.multiply_adds, rel=0.02)


@pytest.mark.parametrize("name", baselines.BASELINES)
def test_depth_width_and_resolution_each_add_to_the_cost(name):
    def count(**scale):
        fields = {"resolution": 64, "width": 0.5, **scale}
        variant = registry.get_variant(name, **fields)
        network = builder.build(variant, classes=7)
        assert network.output_shape == (None, 7)
        return profile_lib.profile(network)

    base = count()
    deep, wide, large = count(depth=2), count(width=1.0), count(resolution=128)
    # Strided blocks do not repeat.
    assert 1.2 < deep.multiply_adds / base.multiply_adds < 2.6
    assert 2 < wide.multiply_adds / base.multiply_adds < 4.1
    assert 3.5 < large.multiply_adds / base.multiply_adds < 4.6
    # Positions are the only weights that grow with the image.
    grows = name == "vit"
    assert (large.params > base.params) is grows


@pytest.mark.parametrize(
    "name",
    [
        # Its blocks are those of EfficientNet, which learns elsewhere.
        pytest.param(name, marks=pytest.mark.slow)
        if name == "mobilenet_v2"
        else name
        for name in baselines.BASELINES
    ],
)
def test_a_small_one_learns_its_images_and_survives_saving(name, tmp_path):
    network = builder.build(
        registry.get_variant(name, depth=0.1, width=0.25, resolution=32),
        classes=4,
        dropout_rate=0.1,
        classifier_activation=None,
    )
    network.compile(
        optimizer=keras.optimizers.Adam(2e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    labels = np.arange(8) % 4
    colours = np.eye(4, 3)[labels] * 200
    images = colours[:, None, None] + np.zeros((1, 32, 32, 1))
    losses = [network.train_on_batch(images, labels) for _ in range(25)]
    assert losses[-1] < 0.5 * losses[0]
    network.save(tmp_path / "baseline.keras")
    again = keras.saving.load_model(tmp_path / "baseline.keras")
    np.testing.assert_allclose(
        again.predict_on_batch(images),
        network.predict_on_batch(images),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "resnet18"}, "Unknown model 'resnet18'.*mobilenet_v1"),
        ({"model": "resnet5"}, "did you mean 'resnet50'"),
        ({"model": "vit", "depth": 0}, "depth=0 must be above 0"),
        ({"model": "vit", "width": float("nan")}, "width=nan must be"),
        (
            {"model": "vit", "resolution": 16},
            "resolution=16 must be between 32 and 16384",
        ),
        (
            {"model": "vit", "heads": 3},
            "unknown field 'heads'; did you mean 'head'\\? Choose one of",
        ),
    ],
)
def test_a_size_that_makes_no_network_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        registry.get_variant(**arguments)


def test_layer_names_are_paths_as_in_the_family():
    half = registry.get_variant("resnet50", depth=0.5)
    names = [x.name for x in builder.build(half).layers]
    assert {"stem_conv", "block1a_reduce_conv", "block4b_add"} <= set(names)
    assert "block1c_add" not in names
