import io

import numpy as np
import pytest
from PIL import Image

from transfer.config import published as published_lib
from transfer.report import figures, results

ROW = {
    "task": "cifar10",
    "model": "efficientnet_lite0",
    "recipe": "gpipe",
    "metric": "top1",
    "score": 0.95,
    "test_images": 10_000,
    "parameters": 3_400_000,
    "complete": True,
    "published": 0.989,
}


def _decode(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def _points(*changes):
    rows = [{**ROW, **change} for change in changes]
    return figures.accuracy_points(results.summarize(rows))


def test_the_points_are_ours_by_parameters_and_the_papers():
    big = {"model": "efficientnet_b0", "parameters": 4_000_000, "score": 0.9}
    ours, published = _points(big, {"complete": False})["cifar10"]
    labels = [(*point[:3], point[4]) for point in ours["gpipe", ""]]
    assert labels == [("lite0", 3.4, 0.95, False), ("b0", 4.0, 0.9, True)]
    low, high = ours["gpipe", ""][0][3]
    assert low < 0.95 < high
    # Table 5, both halves.
    assert published == [
        ("efficientnet_b0", 4, 0.981),
        ("NASNet-A", 85, 0.980),
        ("efficientnet_b7", 64, 0.989),
        ("GPipe", 556, 0.990),
    ]


def test_no_point_is_made_up():
    assert _points({"parameters": None}) == {}
    points = _points({"task": "digits"}, {"task": "cars196"})
    assert points["digits"][1] == []
    # The right half of Table 5 has no parameters for DAT.
    entry = published_lib.BEST_PUBLIC["cars196"]
    assert [point[0] for point in points["cars196"][1]] == [
        entry.model,
        entry.peer,
    ]


def test_recipes_are_lines_of_their_own():
    ours, _ = _points({}, {"recipe": "linear", "score": 0.9})["cifar10"]
    assert {name: len(line) for name, line in ours.items()} == {
        ("gpipe", ""): 1,
        ("linear", ""): 1,
    }


def test_runs_under_unlike_conditions_are_not_joined():
    part = {"complete": False, "train_images": 6_000}
    small = {"parameters": 1_000_000, "model": "efficientnet_lite1"}
    ours, _ = _points(
        {},
        part,
        part | small,
        {"changed": {"min_area": 0.5}, "weights": None},
        {"evaluated_on": "validation"},
    )["cifar10"]
    assert {kind: len(line) for (_, kind), line in ours.items()} == {
        "": 1,
        "6,000 images": 2,
        "min_area=0.5, from random weights": 1,
        "on validation": 1,
    }


def test_networks_that_a_search_chose_differently_for_are_joined():
    searched = {"searched": ["learning_rate"], "chosen_from": 3}
    ours, _ = _points(
        {**searched, "changed": {"learning_rate": 0.01}},
        {
            **searched,
            "changed": {"learning_rate": 0.1},
            "model": "efficientnet_b0",
            "parameters": 4_000_000,
        },
        {"changed": {"learning_rate": 0.1}},
    )["cifar10"]
    assert {kind: len(line) for (_, kind), line in ours.items()} == {
        "best of 3": 2,
        "learning_rate=0.1": 1,
    }


def _red(image):
    """Counts the pixels in the first colour of our recipes."""
    return (np.abs(image.astype(int) - [214, 39, 40]).sum(-1) < 30).sum()


def test_a_point_under_other_conditions_is_hollow():
    same, other = (
        _decode(figures.draw_accuracy(_points({"complete": complete})))
        for complete in (True, False)
    )
    assert _red(same) > _red(other) + 15


def test_every_task_has_a_panel():
    tasks = [f"folder:{i}" for i in range(5)]
    one = _decode(figures.draw_accuracy(_points(*({"task": tasks[0]},))))
    five = _points(*({"task": task} for task in tasks))
    many = _decode(figures.draw_accuracy(five))
    assert many.shape[0] == 2 * one.shape[0]
    assert _red(many) > 3 * _red(one)


def test_mistakes_are_drawn_at_their_place(tmp_path):
    red, blue = (tmp_path / f"{name}.png" for name in ("red", "blue"))
    Image.new("RGB", (96, 48), "red").save(red)
    Image.new("RGB", (8, 8), "blue").save(blue)
    pairs = [("a → b", [red]), ("b → a", [red, blue])]
    image = _decode(figures.draw_mistakes(pairs))
    # Centres of the tiles; before each row stands its title.
    centers = [
        [tuple(image[y, x]) for x in (48, 160, 272)]
        for y in (24 + 48, 168 + 24)
    ]
    red, blue, white = (255, 0, 0), (0, 0, 255), (255, 255, 255)
    assert centers == [[red, white, white], [red, blue, white]]
    assert image.shape[0] < 2 * 96 + 3 * 24


def test_maps_stand_beside_their_mistakes(tmp_path):
    with_maps, without = tmp_path / "0__1__0.png", tmp_path / "0__1__1.png"
    for path in (with_maps, without):
        Image.new("RGB", (96, 96), "red").save(path)
    both = np.zeros((48, 192, 3), "uint8")
    both[:, :96, 1] = both[:, 96:, 2] = 255  # Green, then blue.
    Image.fromarray(both).save(tmp_path / f"maps_{with_maps.name}")
    image = _decode(figures.draw_mistakes([("a", [with_maps, without])]))
    y = 2 * 24 + 48
    tiles = [tuple(image[y, x]) for x in (48, 148, 248, 360, 460)]
    red, green, blue = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    assert tiles == [red, green, blue, red, (255, 255, 255)]
    assert (image[:24] < 100).any()  # What the columns are.


CURVES = {"epoch": [1, 2, 3], "top1": [0.1, 0.5, 0.9]}


def _blue(image):
    """Counts the pixels of the right half in the first colour of curves."""
    right = image[:, image.shape[1] // 2 :].astype(int)
    return (np.abs(right - [31, 119, 180]).sum(-1) < 30).sum()


@pytest.mark.parametrize("name", ["val_top1", "val_ema_top1"])
def test_validation_is_drawn_where_it_was_recorded(name):
    row = {**ROW, "mean": 0.9, "curves": CURVES}
    more = {**row, "curves": {**CURVES, name: [0.2, 0.3, 0.4]}}
    assert _blue(_decode(figures.draw_curves([row]))) == 0
    assert _blue(_decode(figures.draw_curves([more]))) > 200


def test_validation_is_drawn_from_the_search_where_the_run_had_none():
    row = {**ROW, "mean": 0.9, "curves": CURVES}
    searched = {"epoch": [1, 2, 3], "val_top1": [0.2, 0.3, 0.4]}
    same = figures.draw_curves([{**row, "curves": CURVES | searched}])
    assert figures.draw_curves([{**row, "search_curves": searched}]) == same


def test_of_two_validations_the_averages_is_drawn():
    curves = {**CURVES, "val_ema_top1": [0.2, 0.3, 0.4]}
    both = {**curves, "val_top1": [0.9, 0.1, 0.9]}
    one, two = (
        figures.draw_curves([{**ROW, "mean": 0.9, "curves": each}])
        for each in (curves, both)
    )
    assert one == two


def test_only_the_best_lines_are_drawn():
    rows = [
        {**ROW, "mean": i / 100, "curves": CURVES, "model": f"m{i:02}"}
        for i in range(figures.MAX_LINES + 3)
    ]
    best = figures.draw_curves(rows[3:])
    assert figures.draw_curves(rows) == best
    assert figures.draw_curves(rows[:-3]) != best
