import dataclasses

import pytest

from efficientnet_tf import distribution
from transfer import recipes

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
    ("crop", "left"),
    ("head", "none"),
    ("batch_norm", "thaw"),
    ("train_on", "test"),
    ("evaluate_on", "train"),
    ("precision", "float8"),
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
    assert recipes.CHOICES["precision"] == distribution.PRECISIONS


def test_the_three_recipes_differ_in_what_they_train():
    assert set(recipes.RECIPES) == {"linear", "full", "quickstart"}
    assert recipes.get_recipe("linear").epochs == 0
    assert recipes.get_recipe("full").epochs > 0
    assert recipes.get_recipe("full").evaluate_on == "test"
    assert recipes.get_recipe("quickstart").resolution >= 32


def test_an_unknown_recipe_names_the_choices():
    with pytest.raises(ValueError, match="'ful'; choose one of linear, full"):
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
