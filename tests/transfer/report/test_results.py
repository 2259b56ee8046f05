import json

import pytest

from transfer.report import results

ROW = {
    "task": "cifar10",
    "model": "efficientnet_lite0",
    "recipe": "gpipe",
    "metric": "top1",
    "score": 0.95,
    "seed": 0,
    "epochs": 12,
    "evaluated_on": "test",
    "train_images": 50_000,
    "test_images": 10_000,
    "complete": True,
    "published": 0.989,
    "published_model": "efficientnet_b7",
}


def _write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_scores_over_seeds_are_text_with_their_interval():
    rows = [ROW, {**ROW, "seed": 1, "score": 0.97}]
    header, line = results.to_text(rows).splitlines()
    assert header.split()[:5] == ["task", "model", "recipe", "metric", "%"]
    low, high = results.summarize(rows)[0]["interval"]
    assert line.split() == [
        *("cifar10", "efficientnet_lite0", "gpipe", "top1", "96.0"),
        *(f"{100 * low:.1f}", "to", f"{100 * high:.1f}", "2"),
    ]


def test_a_row_shows_ours_published_and_the_difference():
    table = results.render(results.summarize([ROW])).splitlines()
    assert table[0] == (
        "| task | model | recipe | metric | ours | published | Δ "
        "| train / test images | note |"
    )
    assert set(table[1]) <= set("|- ")
    # 95.0 - 98.9.
    assert table[2] == (
        "| cifar10 | efficientnet_lite0 | gpipe | top1 | 95.0% "
        "| 98.9% (efficientnet_b7) | -3.9 | 50,000 / 10,000 |  |"
    )


def test_seeds_give_one_row_with_their_mean_and_best():
    rows = [{**ROW, "seed": i, "score": s} for i, s in enumerate([0.9, 0.94])]
    (summary,) = results.summarize(rows)
    assert summary["mean"] == pytest.approx(0.92)
    assert summary["best"] == 0.94
    assert summary["seeds"] == 2
    table = results.render([summary])
    assert "92.0% (mean of 2, best 94.0%)" in table
    assert "| -6.9 |" in table


def test_the_spread_of_seeds_is_the_sample_standard_deviation():
    scores = [0.90, 0.92, 0.97]
    rows = [{**ROW, "seed": i, "score": s} for i, s in enumerate(scores)]
    (summary,) = results.summarize(rows)
    # Mean 0.93; ((-3)^2 + (-1)^2 + 4^2) / 2 = 13 points squared.
    assert summary["sd"] == pytest.approx(0.13**0.5 / 10)
    assert results.summarize(rows[:1])[0]["sd"] is None
    assert [row["score"] for row in summary["runs"]] == scores


def test_seeds_of_a_grid_and_of_a_run_of_its_own_are_joined():
    grids, own = {**ROW, "seed": 0, "chosen_from": 0}, {**ROW, "seed": 1}
    (summary,) = results.summarize([grids, own])
    assert summary["seeds"] == 2
    searched = {**ROW, "seed": 2, "chosen_from": 3}
    assert len(results.summarize([grids, own, searched])) == 2


def test_a_seed_that_ran_twice_counts_once():
    (summary,) = results.summarize([ROW, {**ROW, "score": 0.5}])
    assert (summary["seeds"], summary["mean"]) == (1, 0.5)


def test_top1_has_the_interval_of_one_test_set_however_many_seeds():
    row = {**ROW, "score": 81 / 263, "test_images": 263}
    runs = [{**row, "seed": seed} for seed in range(3)]
    for rows in (runs[:1], runs):
        (summary,) = results.summarize(rows)
        # Newcombe, 1998, table I.
        assert summary["interval"] == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_the_mean_per_class_has_an_interval_where_there_are_counts():
    row = {**ROW, "metric": "mean_per_class"}
    assert results.summarize([row])[0]["interval"] is None
    counts = {"class_names": ["a", "b"], "confusion": [[0, 0, 50], [0, 1, 50]]}
    counts["confusion"] += [[1, 1, 100]]
    runs = [{**row, **counts, "seed": seed} for seed in range(2)]
    for rows in (runs[:1], runs):
        low, high = results.summarize(rows)[0]["interval"]
        # Class b is always right: half of a's 0.5 +- 1.96 * 0.05.
        assert (low, high) == pytest.approx((0.701, 0.799), abs=0.004)


CONDITIONS = {
    "as the paper": ({"resolution": 224, "weights": "imagenet"}, []),
    "pixels": ({"resolution": 160}, ["at 160 px, not 224"]),
    "noise": ({"weights": None}, ["from random weights"]),
    "others": ({"weights": "noisy-student"}, ["from noisy-student weights"]),
    "subset": ({"complete": False}, ["subset: not the paper's images"]),
    "split": ({"evaluated_on": "validation"}, ["on validation images"]),
    "ours": (
        {"recipe": "fast"},
        ["not the paper's recipe, kornblith or gpipe"],
    ),
    "nothing chosen": (
        {"recipe": "kornblith"},
        ["learning_rate and weight_decay not chosen on validation"],
    ),
    "few to choose from": (
        {"recipe": "kornblith", "chosen_from": 20},
        ["learning_rate and weight_decay chosen from 20, not 56"],
    ),
    "all to choose from": ({"recipe": "kornblith", "chosen_from": 56}, []),
    "in two splits": (
        {"exact_duplicates": 1, "near_duplicates": 2},
        ["3 test images are nearly in another split"],
    ),
    "diverged": ({"diverged": 1}, ["1 more seeds diverged"]),
    "no paper": ({"published": None, "resolution": 64, "complete": False}, []),
}


@pytest.mark.parametrize("change,found", CONDITIONS.values(), ids=CONDITIONS)
def test_other_conditions_than_the_papers_are_found(change, found):
    assert results.find_conditions({**ROW, **change}) == found


@pytest.mark.parametrize(
    "field",
    ["task", "model", "recipe", "epochs", "evaluated_on", "learning_rate"],
)
def test_runs_of_other_conditions_are_not_averaged(field):
    rows = [ROW, {**ROW, field: "other", "score": 0.5}]
    assert len(results.summarize(rows)) == 2


def test_seeds_of_auto_are_averaged_whatever_each_has_kept():
    rows = [
        {**ROW, "recipe": "auto", "seed": seed, "kept": kept, "epochs": epochs}
        | {"resolution": pixels}
        for seed, (kept, epochs, pixels) in enumerate(
            [("linear", 0, 224), ("training", 12, 160), ("training", 20, 160)]
        )
    ]
    (summary,) = results.summarize(rows)
    assert summary["seeds"] == 3
    (other,) = results.summarize([{**rows[0], "weights": "x.h5"}])
    assert len(results.summarize([*rows, other["runs"][0]])) == 2


def test_a_subset_and_validation_images_are_noted():
    row = {**ROW, "complete": False, "evaluated_on": "validation"}
    note = results.render(results.summarize([row])).splitlines()[-1]
    assert "subset: not the paper's images; on validation images |" in note


def test_a_task_that_the_paper_lacks_has_no_difference():
    row = {**ROW, "task": "digits", "published": None, "complete": False}
    assert "| – | – |" in results.render(results.summarize([row]))
    assert "subset" not in results.render(results.summarize([row]))


def test_files_are_joined_and_a_torn_last_line_is_left_out(tmp_path, caplog):
    one = _write(tmp_path / "one.jsonl", ROW)
    two = _write(tmp_path / "two.jsonl", {**ROW, "task": "cars196"})
    with two.open("a") as file:
        file.write('{"task": "cif')
    rows = results.read_results([one, two])
    assert [row["task"] for row in rows] == ["cifar10", "cars196"]
    (record,) = caplog.records
    assert record.getMessage() == f"{two}, row 2 is incomplete; skipping it."
    assert {row["folder"] for row in rows} == {str(tmp_path)}


def test_rows_of_a_grid_name_their_runs_folders(tmp_path):
    path = tmp_path / "results.jsonl"
    _write(path, {**ROW, "folder": "final/cell/seed=0"})
    (row,) = results.read_results([path])
    assert row["folder"] == f"{tmp_path}/final/cell/seed=0"
    _write(path, {**ROW, "folder": 3})
    with pytest.raises(ValueError, match="row 1: folder is 3, not a string"):
        results.read_results([path])


def test_a_whole_last_line_needs_no_end(tmp_path, caplog):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROW))
    assert len(results.read_results([path])) == 1
    assert not caplog.records


NOT_JSON = {
    "in the middle": b'{"task": "cif\n' + json.dumps(ROW).encode() + b"\n",
    # A killed writer leaves a line without an end.
    "whole last": b'{"task": "cif\n',
    "bytes": b"\xff\xfe\x00\n",
}


@pytest.mark.parametrize("content", NOT_JSON.values(), ids=NOT_JSON)
def test_any_other_line_that_is_not_json_is_named(tmp_path, content):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(json.dumps(ROW).encode() + b"\n\n" + content)
    with pytest.raises(ValueError, match="rows.jsonl, row 3 is not JSON"):
        results.read_results([path])


WRONG = {
    "lacking": ({"task": "a", "score": 1}, "row 1 lacks model, recipe, metric"),
    "null": ({**ROW, "score": None}, "row 1 lacks score"),
    "text": ({**ROW, "score": "good"}, "row 1: score is 'good', not a number"),
    "number": (3, "row 1 is not a result: 3"),
    "nan": ({**ROW, "score": float("nan")}, "NaN is not a finite number"),
    "percent": ({**ROW, "score": 95.0}, r"score is 95.0, not in \[0, 1\]"),
    "task": ({**ROW, "task": 7}, "task is 7, not a string"),
    "images": ({**ROW, "test_images": 0}, "test_images is 0, not a count"),
    "pixels": ({**ROW, "resolution": "224"}, "resolution is '224', not a"),
    "seconds": ({**ROW, "seconds": "1 h"}, "seconds is '1 h', not a number"),
    "curves": ({**ROW, "curves": []}, "curves is not a dict"),
    "seed": ({**ROW, "seed": [0]}, "row 1: unhashable type"),
    "cell": (
        {**ROW, "class_names": ["a"], "confusion": [[0, 1, 1]]},
        r"row 1: confusion holds \[0, 1, 1\], not .* of 1 classes\.",
    ),
}


@pytest.mark.parametrize("row,message", WRONG.values(), ids=WRONG)
def test_a_row_that_is_no_result_is_named(tmp_path, row, message):
    path = _write(tmp_path / "rows.jsonl", row)
    with pytest.raises(ValueError, match=message) as caught:
        results.read_results([path])
    assert str(path) in str(caught.value)


def test_missing_and_empty_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.jsonl"):
        results.read_results([tmp_path / "nowhere.jsonl"])
    with pytest.raises(ValueError, match="empty.jsonl holds no results"):
        results.read_results([_write(tmp_path / "empty.jsonl")])


def test_runs_on_other_classes_under_one_name_are_rows_of_their_own():
    two = {**ROW, "task": "folder:photos", "class_names": ["a", "b"]}
    # The same classes in another order are the same data.
    turned = {**two, "seed": 1, "class_names": ["b", "a"]}
    four = {**two, "seed": 2, "class_names": ["a", "b", "c", "d"]}
    pair, other = sorted(
        results.summarize([two, turned, four]), key=lambda row: -row["seeds"]
    )
    assert (pair["seeds"], other["seeds"]) == (2, 1)
    assert any("2 classes: " in text for text in pair["conditions"])
    assert "4 classes: a, b, c, ..." in other["conditions"]
