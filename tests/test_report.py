import json

import pytest

from transfer import report

ROW = {
    "task": "cifar10",
    "model": "efficientnet_lite0",
    "recipe": "full",
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


def test_a_row_shows_ours_published_and_the_difference():
    table = report.render(report.summarize([ROW])).splitlines()
    assert table[0] == (
        "| task | model | recipe | metric | ours | published | Δ "
        "| train / test images | note |"
    )
    assert set(table[1]) <= set("|- ")
    # 95.0 - 98.9.
    assert table[2] == (
        "| cifar10 | efficientnet_lite0 | full | top1 | 95.0% "
        "| 98.9% (efficientnet_b7) | -3.9 | 50,000 / 10,000 |  |"
    )


def test_seeds_give_one_row_with_their_mean_and_best():
    rows = [{**ROW, "seed": i, "score": s} for i, s in enumerate([0.9, 0.94])]
    (summary,) = report.summarize(rows)
    assert summary["mean"] == pytest.approx(0.92)
    assert summary["best"] == 0.94
    assert summary["seeds"] == 2
    table = report.render([summary])
    assert "92.0% (mean of 2, best 94.0%)" in table
    assert "| -6.9 |" in table


@pytest.mark.parametrize(
    "field", ["task", "model", "recipe", "epochs", "evaluated_on"]
)
def test_runs_of_other_conditions_are_not_averaged(field):
    rows = [ROW, {**ROW, field: "other", "score": 0.5}]
    assert len(report.summarize(rows)) == 2


def test_a_subset_and_validation_images_are_noted():
    row = {**ROW, "complete": False, "evaluated_on": "validation"}
    note = report.render(report.summarize([row])).splitlines()[-1]
    assert "subset: not the paper's images; on validation images |" in note


def test_a_task_that_the_paper_lacks_has_no_difference():
    row = {**ROW, "task": "digits", "published": None, "complete": False}
    assert "| – | – |" in report.render(report.summarize([row]))
    assert "subset" not in report.render(report.summarize([row]))


def test_files_are_joined_and_a_torn_last_line_is_left_out(tmp_path):
    one = _write(tmp_path / "one.jsonl", ROW)
    two = _write(tmp_path / "two.jsonl", {**ROW, "task": "cars196"})
    with two.open("a") as file:
        file.write('{"task": "cif')
    rows = report.read_results([one, two])
    assert [row["task"] for row in rows] == ["cifar10", "cars196"]


WRONG = {
    "lacking": ({"task": "a", "score": 1}, "row 1 lacks model, recipe, metric"),
    "null": ({**ROW, "score": None}, "row 1 lacks score"),
    "text": ({**ROW, "score": "good"}, "row 1: score is 'good', not a number"),
    "number": (3, "row 1 is not a result: 3"),
}


@pytest.mark.parametrize("row,message", WRONG.values(), ids=WRONG)
def test_a_row_that_is_no_result_is_named(tmp_path, row, message):
    path = _write(tmp_path / "rows.jsonl", row)
    with pytest.raises(ValueError, match=message) as caught:
        report.read_results([path])
    assert str(path) in str(caught.value)


def test_missing_and_empty_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.jsonl"):
        report.read_results([tmp_path / "nowhere.jsonl"])
    with pytest.raises(ValueError, match="empty.jsonl holds no results"):
        report.read_results([_write(tmp_path / "empty.jsonl")])
