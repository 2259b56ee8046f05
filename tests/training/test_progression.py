import dataclasses

import pytest

from efficientnet_tf.models import registry
from efficientnet_tf.training import progression, recipes


def fill(recipe, model, *overrides):
    config = recipes.get_recipe(recipe, overrides)
    return progression.fill(config, model, registry.get_variant(model))


# Sizes, and the ends of RandAugment, mixup, CutMix and dropout: Table 6 of
# https://arxiv.org/abs/2104.00298; effnetv2_configs.py and main.py of
# google/automl, whose sizes are int(128 + (train - 128) * (stage + 1) / 4).
PUBLISHED = {
    ("v2_paper", "s"): (
        (128, 185, 243, 300),
        (5, 15),
        (0, 0),
        (0, 0),
        (0.1, 0.3),
    ),
    ("v2_paper", "m"): (
        (128, 212, 296, 380),
        (5, 20),
        (0, 0.2),
        (0, 0),
        (0.1, 0.4),
    ),
    ("v2_paper", "l"): (
        (128, 212, 296, 380),
        (5, 25),
        (0, 0.5),
        (0, 0),
        (0.1, 0.5),
    ),
    ("v2", "s"): ((171, 214, 257, 300), (5, 10), (0, 0), (0, 0), None),
    ("v2", "m"): ((192, 256, 320, 384), (5, 15), (0, 0.2), (0, 0.2), None),
    ("v2", "l"): ((192, 256, 320, 384), (5, 20), (0, 0.5), (0, 0.5), None),
    ("v2", "xl"): ((192, 256, 320, 384), (5, 20), (0, 0.5), (0, 0.5), None),
}


@pytest.mark.parametrize(("recipe", "size"), PUBLISHED)
def test_stages_are_those_of_the_paper_and_of_the_code(recipe, size):
    sizes, *ends = PUBLISHED[recipe, size]
    name = f"efficientnet_v2_{size}"
    filled = fill(recipe, name)
    stages = progression.stages(filled)
    assert tuple(stage.resolution for stage in stages) == sizes
    for field, wanted in zip(
        ("magnitude", "mixup", "cutmix", "dropout"), ends, strict=True
    ):
        values = [getattr(stage, field) for stage in stages]
        if wanted is None:  # As the network is built: not ramped.
            assert values == [None] * 4
            continue
        low, high = wanted
        # Algorithm 1 of the paper, and `np.linspace` of the code.
        expected = [low + (high - low) * i / 3 for i in range(4)]
        assert values == pytest.approx(expected), field
    assert filled.augment == "randaugment"
    assert filled.eval_resolution == registry.get_variant(name).resolution


# Networks without a row: from 128 pixels, or half, to their own.
OTHERS = {
    "efficientnet_v2_b0": (144, 160, 176, 192),
    "efficientnet_v2_b3": (156, 184, 212, 240),
    "efficientnet_b0": (152, 176, 200, 224),
    "efficientnet_lite4": (171, 214, 257, 300),
    "mobilenet_v2": (152, 176, 200, 224),
}


@pytest.mark.parametrize("model", OTHERS)
def test_other_networks_grow_to_their_own_size_with_autoaugment(model):
    filled = fill("v2", model)
    assert filled.stage_resolutions == OTHERS[model]
    assert (filled.augment, filled.stage_magnitudes) == ("autoaugment", ())
    assert (filled.mixup_alpha, filled.cutmix_alpha) == (0, 0)


@pytest.mark.parametrize(
    ("last", "sizes"),
    [
        (256, (160, 192, 224, 256)),
        (128, (80, 96, 112, 128)),
        (64, (40, 48, 56, 64)),
        (48, (36, 40, 44, 48)),
        (32, (32, 32, 32, 32)),
    ],
)
def test_small_images_never_shrink(last, sizes):
    filled = fill("v2", "efficientnet_b0", f"resolution={last}")
    assert filled.stage_resolutions == sizes
    assert filled.eval_resolution == last


def test_what_is_set_is_kept():
    filled = fill(
        "v2_paper",
        "efficientnet_v2_m",
        "stage_resolutions=32,64",
        "mixup_alpha=0.4",
        "dropout_rate=0.05",
        "cutmix_alpha=1",
    )
    assert filled.stage_resolutions == (32, 64)
    assert filled.stage_mixups == (0, 0.4)
    assert filled.stage_cutmixes == (0, 1)
    # No stage is above the last.
    assert filled.stage_dropouts == (0.05, 0.05)
    # Evaluated at the size of the last one, as without a rule.
    assert filled.eval_resolution == 0
    assert progression.fill(filled, "efficientnet_v2_m", None) == filled
    plain = fill("v2", "efficientnet_v2_s", "augment=none")
    assert (plain.randaugment_magnitude, plain.stage_magnitudes) == (0, ())
    for name in ("paper", "smoke", "timm_ra4"):
        row = recipes.RECIPES[name]
        assert progression.fill(row, "efficientnet_v2_s", None) == row


@pytest.mark.parametrize(
    "model", ["efficientnet_v2_b0", "efficientnet_b0", "efficientnet_v2_xl"]
)
def test_the_paper_has_no_row_for_others(model):
    with pytest.raises(
        ValueError, match=f"'{model}' for .*='paper'; choose one of .*v2_s"
    ):
        progression.fill(
            recipes.RECIPES["v2_paper"], model, registry.get_variant(model)
        )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("randaugment_magnitude=9",), "=9.0 .* need augment='randaugment'"),
        (("stage_magnitudes=5,9",), "need augment='randaugment', not 'auto"),
        (("augment=randaugment",), "needs randaugment_magnitude or"),
        (("epochs=3", "warmup_epochs=1"), "epochs=3 must be .* stages, 4"),
    ],
)
def test_what_a_network_cannot_have_is_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        fill("v2", "efficientnet_b0", *overrides)


def test_the_recipe_of_v2_is_its_codes():
    # hparams.py and datasets.py of google/automl.
    row = recipes.RECIPES["v2"]
    assert (row.optimizer, row.schedule, row.epochs) == (
        "rmsprop",
        "stairs",
        350,
    )
    assert (row.decay_rate, row.decay_epochs, row.warmup_epochs) == (
        0.97,
        2.4,
        5,
    )
    assert (row.weight_decay, row.decayed) == (1e-5, "kernels")
    assert (row.ema_decay, row.label_smoothing) == (0.9999, 0.1)
    paper = dataclasses.replace(row, progression="paper")
    assert recipes.RECIPES["v2_paper"] == paper
    large = recipes.RECIPES["v2_21k"]
    assert (large.schedule, large.resolution, large.warmup_epochs) == (
        "cosine",
        224,
        1,
    )
    assert (large.augment, large.label_smoothing) == ("none", 0)
    assert (large.dropout_rate, large.drop_path_rate) == (0, 0)
