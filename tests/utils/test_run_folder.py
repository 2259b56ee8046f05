"""A folder belongs to one run or study, and shows whether it has ended."""

import dataclasses
import json
import os

import pytest

from efficientnet_tf.utils import files, run_folder

RUN = {"model": "b0", "config": {"epochs": 1, "sizes": (2, 3)}}


def test_a_run_that_has_ended_gives_its_newest_result(tmp_path):
    assert run_folder.start_run(tmp_path / "new", RUN) is None
    assert not (tmp_path / "new").exists()
    for score in (0.1, 0.2):
        path = tmp_path / run_folder.RESULTS_FILE
        files.append_json_line(path, {"score": score})
    assert run_folder.start_run(tmp_path, RUN) == {"score": 0.2}


def test_another_run_is_refused_and_what_differs_is_named(tmp_path):
    files.write_json(tmp_path / run_folder.CONFIG_FILE, RUN)
    run_folder.start_run(tmp_path, RUN)  # Tuples are lists in JSON.
    other = {**RUN, "config": {**RUN["config"], "epochs": 5}}
    with pytest.raises(ValueError, match="config's epochs=1 there, 5 here"):
        run_folder.start_run(tmp_path, other)
    with pytest.raises(ValueError, match="model='b0' there, 'b1' here"):
        run_folder.start_run(tmp_path, {**RUN, "model": "b1"})


def test_a_run_says_how_its_folder_was_grouped(tmp_path):
    run = {"task": "folder:scans", "group_by": r"p\d+"}
    files.write_json(tmp_path / run_folder.CONFIG_FILE, run)
    assert run_folder.read_group_by(tmp_path, "folder:scans") == r"p\d+"
    for same in ("folder:./scans", f"folder:{os.getcwd()}/x/../scans/"):
        assert run_folder.read_group_by(tmp_path, same) == r"p\d+"
    assert run_folder.read_group_by(tmp_path, "folder:others") is None
    assert run_folder.read_group_by(tmp_path, "scans") is None
    assert run_folder.read_group_by(None, "folder:scans") is None


@dataclasses.dataclass(frozen=True)
class Plan:
    seeds: int = 2


def test_a_studys_folder_keeps_its_plan_and_refuses_another(tmp_path):
    path = tmp_path / "study" / run_folder.PLAN_FILE
    for _ in range(2):
        run_folder.start_study(Plan(), path.parent)
        assert json.loads(path.read_text()) == {"seeds": 2}
    with pytest.raises(ValueError, match="seeds=2 there, 3 here"):
        run_folder.start_study(Plan(3), path.parent)


def test_a_plan_of_an_earlier_version_has_the_defaults_of_later_fields(
    tmp_path,
):
    files.write_json(tmp_path / run_folder.PLAN_FILE, {})
    run_folder.start_study(Plan(), tmp_path)
    with pytest.raises(ValueError, match="seeds=2 there, 3 here"):
        run_folder.start_study(Plan(3), tmp_path)
