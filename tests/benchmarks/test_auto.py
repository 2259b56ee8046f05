"""The comparison of `auto` with other recipes: its table and its folders."""

import numpy as np
import pytest

from efficientnet_tf.data.sets import sources


@pytest.fixture(scope="module")
def auto(load_benchmark):
    return load_benchmark("auto")


def _rows(recipe, scores, **fields):
    return [
        {"name": "cars20", "recipe": recipe, "top1": score, "seconds": 90.0}
        | {"train_images": 200, "test_images": 80, **fields}
        for score in scores
    ]


def test_the_table_has_means_minutes_and_what_was_kept(auto):
    rows = _rows("auto", [0.5, 0.6, 0.7], kept="linear") + _rows("full", [0.9])
    *_, line = auto.make_table(rows).splitlines()
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == [
        "cars20",
        "200 / 80",
        "0.600 (0.500, 0.600, 0.700), 1.5 min",
        "–",
        "0.900, 1.5 min",
        "–",
        "linear 3",
        "yes (-0.300, chance ±0.126)",
        "?",
    ]


# Newcombe's simple asymptotic interval, as any textbook has it: 100 images.
DIFFERENCES = [(0.9, 0.96, "no"), (0.8, 0.95, "yes"), (0.9, 0.8, "no")]


@pytest.mark.parametrize("own,other,below", DIFFERENCES)
def test_below_is_by_more_than_chance(auto, own, other, below):
    rows = {"auto": _rows("auto", [own]), "linear": _rows("linear", [other])}
    for text in auto.compare(rows, 100):
        assert text.startswith(f"{below} ({own - other:+.3f}, ")


def test_linear_runs_once_and_others_by_seed(auto):
    runs = auto.list_runs(["digits"], auto.RECIPES, 3)
    assert len(runs) == len(set(runs)) == 10


def test_folders_hold_the_first_classes_of_each_split(auto, tmp_path):
    images = np.arange(6 * 12, dtype=np.uint8).reshape(6, 2, 2, 3)
    labels = np.array([0, 1, 2, 2, 1, 0])
    part = sources.from_arrays(images, labels, ["a", "b", "c"])
    auto.write_folders({"train": part, "test": part}, 2, tmp_path)
    found = sorted(
        path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")
    )
    expected = [f"{part}/000/0.png" for part in ("test", "train")]
    expected += [f"{part}/000/5.png" for part in ("test", "train")]
    expected += [f"{part}/001/1.png" for part in ("test", "train")]
    expected += [f"{part}/001/4.png" for part in ("test", "train")]
    assert found == sorted(expected)
