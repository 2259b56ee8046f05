"""What is chosen for a time limit, by paces that are given."""

import dataclasses
import json
import pathlib
import time
import types

import pytest

from transfer.choice import time_budget
from transfer.config import recipes
from transfer.training import deadlines, fitting

# Of a network of 224 pixels: seconds per image, and until it trains.
PACE = time_budget.Pace(scoring=0.01, training=0.05, start=10.0)
TRAIN, VALIDATION, TEST = 400, 100, 500


@pytest.fixture
def measured(monkeypatch):
    """The configs that were timed; frozen stages halve the time."""
    found = []

    def measure(setup, config):
        found.append(config)
        pixels = config.resolution or 224
        pace = PACE.scale(pixels / 224)
        if config.frozen_stages:
            pace = dataclasses.replace(pace, training=pace.training / 2)
        return pace

    monkeypatch.setattr(time_budget, "_measure", measure)
    return found


def make_setup(workdir, minutes, recipe="full", **changes):
    config = dataclasses.replace(
        recipes.RECIPES[recipe], time_limit=minutes, **changes
    )
    examples = {
        name: types.SimpleNamespace(size=size)
        for name, size in (
            ("train", TRAIN),
            ("validation", VALIDATION),
            ("test", TEST),
        )
    }
    return fitting.Setup(
        *(None, "efficientnet_lite0", {"weights": "imagenet"}, config),
        *(examples, pathlib.Path(workdir)),
        end=time.perf_counter() + 60 * minutes,
    )


# 500 images: 25 s an epoch at 224 pixels, 30 s for start and end.
@pytest.mark.parametrize(
    "minutes,pixels,epochs,frozen,timed",
    [
        (20, 224, 20, 0, 1),
        (8.5, 192, 20, 0, 2),
        (6.5, 160, 20, 0, 2),
        (4.5, 160, (12, 19), 0, 2),
        (2.5, 160, (8, 11), 0, 2),
        (1.4, 128, (8, 12), 4, 2),
        (0.9, 96, (3, 8), 4, 2),
    ],
)
def test_the_best_that_ends_in_time_is_chosen(
    tmp_path, measured, minutes, pixels, epochs, frozen, timed
):
    setup = make_setup(tmp_path, minutes)
    chosen = time_budget.choose(setup)
    low, high = epochs if isinstance(epochs, tuple) else (epochs, epochs)
    assert (chosen.resolution, chosen.frozen_stages) == (pixels, frozen)
    assert low <= chosen.epochs <= high
    assert len(measured) <= timed
    config = chosen.apply(setup.config)
    pace = PACE.scale(pixels / 224)
    training = pace.training / (2 if frozen else 1)
    seconds = pace.start + config.epochs * 500 * training
    seconds += TEST * pace.scoring + 2 * pace.start
    assert seconds <= 60 * minutes
    assert config.warmup_epochs <= config.epochs / 4
    # Another process finds it, whatever time is left.
    late = dataclasses.replace(setup, end=time.perf_counter() + 1)
    assert time_budget.choose(late) == chosen


@pytest.mark.parametrize(
    "fixed,minutes,value",
    [("resolution", 2.5, 224), ("epochs", 3.4, 20), ("frozen_stages", 1.4, 0)],
)
def test_what_was_set_stays(tmp_path, measured, fixed, minutes, value):
    setup = make_setup(tmp_path, minutes)
    chosen = time_budget.choose(setup, fixed=[fixed])
    assert getattr(chosen, fixed) == value


def test_a_limit_that_is_too_short_says_what_would_do(tmp_path, measured):
    with pytest.raises(time_budget.TooShort) as error:
        time_budget.choose(make_setup(tmp_path, 0.5))
    text = str(error.value)
    assert "time_limit=0.5 minutes are too short" in text
    assert "one epoch at 96 pixels would take" in text
    assert "Allow about" in text and "\n" not in text
    assert not list(tmp_path.iterdir())


def test_several_trainings_share_the_time_and_are_held_to_it(
    tmp_path, measured
):
    setup = make_setup(tmp_path, 20)
    chosen = time_budget.choose(setup, trainings=4)
    # Each has its validation images scored after each epoch.
    assert (chosen.resolution, chosen.epochs) == (160, (20))
    assert chosen.round == pytest.approx(
        VALIDATION * PACE.scoring * (160 / 224) ** 2, abs=0.01
    )
    now = time.perf_counter()
    held = time_budget.hold(setup, trainings=4)
    whole = setup.end - chosen.after - now
    assert held.pacing.end - now == pytest.approx(whole / 4, abs=0.5)
    text = json.loads((tmp_path / time_budget.CHOICE_FILE).read_text())
    assert text["epochs"] == chosen.epochs


@pytest.mark.parametrize(
    "minutes,pixels", [(5, 0), (0.16, 192), (0.11, 160), (0.05, 96)]
)
def test_features_of_a_linear_classifier_end_in_time(
    tmp_path, measured, minutes, pixels
):
    setup = make_setup(tmp_path, minutes, "linear")
    config = time_budget.limit_features(setup, alone=True)
    assert config.resolution == pixels
    with pytest.raises(time_budget.TooShort, match="the features of 1,000"):
        time_budget.limit_features(
            make_setup(tmp_path, 0.01, "linear"), alone=True
        )


@pytest.mark.parametrize(
    "recipe,override",
    [("bit", None), ("gpipe", None), ("kornblith", None), ("v2", None)],
)
def test_published_protocols_have_no_limit(recipe, override):
    with pytest.raises(ValueError, match="time_limit"):
        recipes.get_recipe(recipe, ["time_limit=5"])


def test_the_fit_of_a_linear_head_is_part_of_the_plan(
    tmp_path, measured, monkeypatch
):
    whole = time_budget.choose(make_setup(tmp_path / "a", 8.5, head="linear"))
    slow = dataclasses.replace(PACE, head=0.3)  # 150 s for 500 images.
    monkeypatch.setattr(
        time_budget, "_measure", lambda setup, config: slow.scale(1.0)
    )
    less = time_budget.choose(make_setup(tmp_path / "b", 8.5, head="linear"))
    seconds = [
        choice.epochs * (choice.resolution / 224) ** 2
        for choice in (whole, less)
    ]
    assert seconds[1] < seconds[0] - 5
    setup = make_setup(tmp_path, 1.0, "linear")
    with pytest.raises(time_budget.TooShort):
        time_budget.limit_features(setup, alone=True)


def test_a_row_tells_of_steps_that_there_was_no_time_for(tmp_path, measured):
    setup = make_setup(tmp_path, 20)
    time_budget.choose(setup)
    assert time_budget.describe(setup) == "20 epochs at 224 pixels"
    (tmp_path / deadlines.SHORTENED_FILE).write_text(
        json.dumps({"planned": 6248, "done": 1})
    )
    assert time_budget.describe(setup) == (
        "20 epochs at 224 pixels; the time was over after 1 of 6,248 steps"
    )
