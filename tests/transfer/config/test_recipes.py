import dataclasses
import re
import typing

import numpy as np
import pytest

from efficientnet_tf.training import recipes as training_recipes, train_config
from efficientnet_tf.utils import configs
from transfer.config import (
    finetune_config,
    hyper_rule,
    protocols,
    recipes,
    schedules,
)

OUTSIDE = [
    ("epochs", -1),
    ("batch_size", 0),
    ("resolution", 31),
    ("resolution", -224),
    ("learning_rate", -0.1),
    ("learning_rate", float("nan")),
    ("warmup_epochs", -1.0),
    ("weight_decay", float("inf")),
    ("label_smoothing", 1.0),
    ("ema_decay", 1.0),
    ("dropout_rate", -0.1),
    ("drop_path_rate", 1.5),
    ("min_area", 0.0),
    ("min_area", 1.1),
    ("steps", -1),
    ("optimizer", "lion"),
    ("schedule", "linear"),
    ("decay_at", (0.5, 0.5)),
    ("decay_at", (0.5, 1.0)),
    ("decay_at", (0.5,)),
    ("warmup_steps", -1),
    ("rule", "vtab"),
    ("cutout", 1.0),
    ("cutout_fill", "black"),
    ("mixup_weight", "pair"),
    ("train_crop", "centre"),
    ("crop_from", 160),
    ("resize", "stretch"),
    ("width", 16),
    ("interpolation", "nearest"),
    ("deep_pixels", "half"),
    ("frozen_stages", 8),
    ("frozen_stages", -1),
    ("loss", "hinge"),
    ("layer_decay", 0.0),
    ("layer_decay", 1.1),
    ("unfreeze_epochs", -1.0),
    ("patience", -1),
    ("patience", 3),
    ("time_limit", -1.0),
    ("quantization", "int4"),
    ("crop", "left"),
    ("head", "none"),
    ("batch_norm", "thaw"),
    ("batch_norm_momentum", 1.0),
    ("class_weight", "equal"),
    ("class_weight", "a=0"),
    ("class_weight", "a=1,"),
    ("sampling", "equal"),
    ("train_on", "test"),
    ("evaluate_on", "train"),
    ("precision", "float8"),
    ("shots", -1),
    ("seed", -1),
    ("mixup_alpha", -0.1),
    ("cutmix_alpha", float("nan")),
    ("l2_sweep", ()),
    ("l2_sweep", (0.1, 0.0)),
]


@pytest.mark.parametrize("field,value", OUTSIDE)
def test_a_value_outside_its_range_is_refused_by_name(field, value):
    with pytest.raises(ValueError) as caught:
        dataclasses.replace(recipes.RECIPES["full"], **{field: value})
    assert field in str(caught.value)
    shown = f"{value}" if isinstance(value, str) else repr(value)
    assert shown in str(caught.value)


def test_every_field_is_checked():
    fields = {
        field.name for field in dataclasses.fields(recipes.FinetuneConfig)
    }
    assert {field for field, _ in OUTSIDE} == fields


def test_precisions_are_those_that_can_be_set():
    hints = typing.get_type_hints(recipes.FinetuneConfig, include_extras=True)
    (constraint,) = hints["precision"].__metadata__
    assert constraint.choices == configs.PRECISIONS


def test_recipes_differ_in_what_they_train():
    assert recipes.get_recipe("linear").epochs == 0
    assert recipes.get_recipe("full").epochs > 0
    assert recipes.get_recipe("full").evaluate_on == "test"
    assert recipes.get_recipe("tiny").resolution == 64


def test_an_unknown_recipe_names_the_choices():
    with pytest.raises(
        ValueError, match="'ful'; choose one of auto, linear, full.*'full'[?]"
    ):
        recipes.get_recipe("ful")


def test_overrides_change_only_their_fields():
    changed = recipes.get_recipe("full", ["epochs=3", "l2_sweep=1,2"])
    assert (changed.epochs, changed.l2_sweep) == (3, (1.0, 2.0))
    base = recipes.RECIPES["full"]
    assert (
        dataclasses.replace(changed, epochs=base.epochs, l2_sweep=base.l2_sweep)
        == base
    )


def test_scores_on_images_that_were_trained_on_are_refused():
    with pytest.raises(ValueError, match="needs train_on='train'"):
        recipes.get_recipe(
            "full", ["evaluate_on=validation", "train_on=train+validation"]
        )


def test_a_run_that_trains_nothing_is_refused():
    with pytest.raises(ValueError, match="trains nothing"):
        recipes.get_recipe("linear", ["head=random"])


@pytest.mark.parametrize(
    "change",
    [
        "head=linear",
        "resolution=64",
        "dropout_rate=0.2",
        "precision=mixed_bfloat16",
        "interpolation=bilinear",
    ],
)
def test_what_the_start_of_qat_decides_cannot_be_set(change):
    with pytest.raises(ValueError, match=f"{change.split('=')[0]}=.* must be"):
        recipes.get_recipe("qat", [change])


def test_qat_needs_a_run_and_a_kept_head_needs_qat():
    with pytest.raises(ValueError, match="starts from a finished run"):
        recipes.get_recipe("qat", pretrained=False)
    for name in ("full", "linear"):
        with pytest.raises(ValueError, match="needs quantization='int8'"):
            recipes.get_recipe(name, ["head=kept"])


# What the recipes' own codes do to images: input_pipeline_tf2_or_jax.py of
# google-research/big_transfer, preprocess_for_finetune of google/automl. The
# papers of the others name flips and cutout, and crops and flips.
PIXELS = {
    # interpolation, mixup's weights, cutout and its fill
    "bit": ("bilinear", "batch", 0.0, "grey"),
    "v2": ("bilinear", "image", 0.5, "noise"),
    "v2_imagenet": ("bilinear", "image", 0.5, "noise"),
    "gpipe": ("model", "image", 0.5, "grey"),
    "kornblith": ("model", "image", 0.0, "grey"),
}


@pytest.mark.parametrize("name", PIXELS)
def test_published_protocols_prepare_images_as_their_codes_do(name):
    row = recipes.RECIPES[name]
    assert PIXELS[name] == (
        row.interpolation,
        row.mixup_weight,
        row.cutout,
        row.cutout_fill,
    )


def test_v2_goes_from_imagenet_21k_to_imagenet_as_its_code_does():
    # datasets.py of google/automl, "ImagenetFt": 0.0005 per 256 images.
    row = recipes.RECIPES["v2_imagenet"]
    assert row.learning_rate == pytest.approx(0.0005 * row.batch_size / 256)
    assert (row.epochs, row.steps, row.batch_size) == (15, 0, 512)
    assert (row.schedule, row.warmup_epochs) == ("constant", 1)
    assert (row.ema_decay, row.weight_decay) == (0.9996, 1e-5)
    assert (row.dropout_rate, row.drop_path_rate) == (0.0, 0.2)
    assert (row.label_smoothing, row.mixup_alpha) == (0.1, 0.0)


def test_kornblith_chooses_from_seven_rates_and_eight_decays():
    grid = protocols.kornblith_grid()
    assert len(grid) == len(set(grid)) == 56
    rates = sorted({rate for rate, _ in grid})
    np.testing.assert_allclose(
        rates,
        [1e-4, 3.1623e-4, 1e-3, 3.1623e-3, 1e-2, 3.1623e-2, 0.1],
        rtol=1e-4,
    )
    products = sorted({round(rate * decay, 9) for rate, decay in grid})
    np.testing.assert_allclose(
        products,
        [0, 1e-6, 3.162e-6, 1e-5, 3.1623e-5, 1e-4, 3.16228e-4, 1e-3],
        rtol=1e-3,
    )


# Steps, warm-up, where the rate falls, mixup: bit_hyperrule.py of
# google-research/big_transfer, its schedules and thresholds.
BIT = [
    (19_999, 500, 100, (200, 300, 400), 0.0),
    (20_000, 10_000, 500, (3_000, 6_000, 9_000), 0.1),
    (499_999, 10_000, 500, (3_000, 6_000, 9_000), 0.1),
    (500_000, 20_000, 500, (6_000, 12_000, 18_000), 0.1),
]


@pytest.mark.parametrize("images,steps,warmup,falls,mixup", BIT)
def test_bits_rule_goes_by_the_number_of_images(
    images, steps, warmup, falls, mixup
):
    config = hyper_rule.resolve(recipes.RECIPES["bit"], images, 96**2)
    assert (config.steps, config.mixup_alpha) == (steps, mixup)
    assert (config.crop_from, config.resolution) == (512, 480)
    rounds, round_steps = schedules.plan_rounds(config, 39)
    assert rounds * round_steps == steps
    rate = schedules.make_schedule(config, 39)
    assert float(rate(0)) == 0
    assert float(rate(warmup // 2)) == pytest.approx(0.0015)
    assert float(rate(warmup)) == pytest.approx(0.003)
    for i, fall in enumerate(falls):
        assert float(rate(fall)) == pytest.approx(0.003 / 10**i)
        assert float(rate(fall + 1)) == pytest.approx(0.0003 / 10**i)


def test_bits_rule_enlarges_small_images():
    config = hyper_rule.resolve(recipes.RECIPES["bit"], 100, 96**2 - 1)
    assert (config.crop_from, config.resolution) == (160, 128)
    assert config.rule == "none"
    full = recipes.RECIPES["full"]
    assert hyper_rule.resolve(full, 100, 1) is full


def test_random_crops_need_an_image_at_least_as_large():
    for pixels in (0, 100):
        with pytest.raises(ValueError, match=f"crop_from={pixels} must be"):
            recipes.FinetuneConfig(
                train_crop="random",
                resize="squash",
                resolution=128,
                crop_from=pixels,
            )


def test_tasks_of_small_images_have_rows_of_their_own():
    row = recipes.get_recipe("full", ["epochs=3"], task="cifar100")
    assert row.frozen_stages == 4 and row.epochs == 3
    for task in ("", "cars196", "folder:cifar100"):
        assert recipes.get_recipe("full", task=task).frozen_stages == 0
    assert (
        recipes.get_recipe("linear", task="cifar10")
        == recipes.RECIPES["linear"]
    )
    assert set(recipes.FOR_SMALL_IMAGES) <= set(recipes.RECIPES)
    fields = dataclasses.asdict(row)
    assert recipes.list_changes("full", fields, task="cifar100") == {
        "epochs": 3
    }
    assert "frozen_stages" in recipes.list_changes("full", fields)


def test_a_length_that_would_be_ignored_is_refused():
    with pytest.raises(ValueError, match="epochs=1 and steps=20000 exclude"):
        recipes.get_recipe("kornblith", ["epochs=1"])
    for field in ("epochs=3", "steps=100", "resolution=64"):
        with pytest.raises(ValueError, match="rule='bit' decides"):
            recipes.get_recipe("bit", [field])
    for field in ("schedule=constant", "train_crop=random"):
        with pytest.raises(ValueError, match="decides (schedule|train_crop)"):
            recipes.get_recipe("bit", [field])


def test_what_a_search_chose_is_no_change_of_the_recipe():
    found = recipes.list_changes(
        "kornblith",
        dataclasses.asdict(
            recipes.get_recipe(
                "kornblith", ["learning_rate=0.1", "batch_size=64", "seed=3"]
            )
        ),
    )
    assert found == {"batch_size": 64}
    assert recipes.list_changes("elsewhere", {}) == {}


def test_a_config_without_a_recipe_differs_from_the_defaults():
    config = recipes.FinetuneConfig(learning_rate=0.1, seed=3)
    found = recipes.list_changes("", dataclasses.asdict(config))
    assert found == {"learning_rate": 0.1}


SHAPES = [
    # recipe, overrides, what is said
    ("linear", ["image_size=16"], "image_size=16: sides must be between 32"),
    ("linear", ["image_size=160x20"], "160x20: sides must be between 32"),
    ("linear", ["image_size=64x20000"], "between 32 and 16384 pixels"),
    ("linear", ["image_size=160x"], "must be HEIGHTxWIDTH in pixels, e.g."),
    ("linear", ["image_size=-5x64"], "must be HEIGHTxWIDTH in pixels, e.g."),
    ("linear", ["image_size=160,320"], "must be HEIGHTxWIDTH in pixels, e.g."),
    ("linear", ["resize=leterbox"], "Did you mean 'letterbox'"),
    ("linear", ["width=64"], "width=64 needs a resolution"),
    ("kornblith", ["resize=letterbox"], "leaves nothing to crop='padded'"),
    ("bit", ["resize=letterbox"], "must be 'squash' and 0 with rule='bit'"),
    ("bit", ["image_size=64x96"], "rule='bit' decides resolution"),
    ("qat", ["resize=squash"], "resize='squash' must be 'task'"),
]


@pytest.mark.parametrize("recipe,overrides,message", SHAPES)
def test_shapes_that_cannot_be_are_refused(recipe, overrides, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        recipes.get_recipe(recipe, overrides)


def test_a_size_sets_height_and_width():
    for text, expected in (("64x96", (64, 96)), ("64", (64, 0))):
        config = recipes.get_recipe("linear", [f"image_size={text}"])
        assert (config.resolution, config.width) == expected


def test_the_task_says_how_images_are_resized_unless_the_recipe_does():
    for overrides, task, expected in (
        ([], "squash", ("squash", None)),
        ([], "crop", ("crop", 0)),
        (["crop=padded"], "squash", ("crop", 32)),
        (["resize=crop"], "squash", ("crop", 0)),
        (["resize=letterbox"], "squash", ("letterbox", None)),
    ):
        config = recipes.get_recipe("linear", overrides)
        assert config.frame(task) == expected


def test_configs_of_earlier_versions_have_the_present_names():
    former = {"resize": 160, "crop": "whole", "epochs": 3}
    assert finetune_config.upgrade(former) == {
        "crop_from": 160, "crop": "task", "resize": "squash", "epochs": 3,
    }  # fmt: skip
    now = {"resize": "crop", "crop": "padded"}
    assert finetune_config.upgrade(now) == now


@pytest.mark.parametrize(
    "override, ours",
    [
        # As fastai, torchvision, timm, ultralytics, Keras, scikit-learn write.
        ("crop=whole", "Write resize=squash."),
        ("resize=Squish", "Write resize=squash."),
        ("resize=stretch", "Write resize=squash."),
        ("resize=pad", "Write resize=letterbox."),
        ("resize=pad_to_aspect_ratio", "Write resize=letterbox."),
        ("resize=CenterCrop", "Write resize=crop."),
        ("resize=224", "Write image_size=224."),
        ("resize=160x320", "Write image_size=160x320."),
        ("optimizer=Adam", "Write optimizer=adamw and weight_decay=0."),
        ("optimizer=adamw_", "Did you mean 'adamw'?"),
        ("schedule=OneCycleLR", "Write schedule=cosine."),
        ("schedule=none", "Write schedule=constant."),
        ("loss=mse", "Write loss=squared."),
        ("precision=float16", "Write precision=mixed_float16."),
        ("class_weight=balanced", "Write class_weight=auto."),
        ("train_on=trainval", "Write train_on=train+validation."),
        ("evaluate_on=val", "Write evaluate_on=validation and train_on=train."),
        ("lr=0.1", "write learning_rate=0.1."),
        ("imgsz=160x320", "write image_size=160x320."),
        ("bs=8", "write batch_size=8."),
        ("sched=one_cycle", "write schedule=cosine."),
        ("amp=1", "write precision=mixed_float16."),
        # Ours has none of these.
        ("optimizer=lion", "one of adamw, sgd, momentum, rmsprop."),
        ("loss=focal", "one of standard, asymmetric, squared."),
    ],
)
def test_words_of_other_libraries_are_answered_by_ours(override, ours):
    with pytest.raises(ValueError) as error:
        recipes.get_recipe("full", [override])
    assert str(error.value).endswith(ours)


@pytest.mark.parametrize(
    "known, get_recipe",
    [
        (
            recipes.FinetuneConfig.SYNONYMS,
            lambda settings: recipes.get_recipe("full", settings),
        ),
        (
            train_config.TrainConfig.SYNONYMS,
            lambda settings: training_recipes.get_recipe("paper", settings),
        ),
    ],
)
def test_what_is_written_for_a_word_of_another_library_is_taken(
    known, get_recipe
):
    for word, ours in known.items():
        settings = re.findall(r"\w+=[^ ]*[\w#]", ours.replace("#", "64"))
        if "=" in word:
            assert settings and get_recipe(settings), word
        elif ours != "image_size":
            fields = {
                field.name for field in dataclasses.fields(get_recipe([]))
            }
            assert ours in fields and word not in fields
