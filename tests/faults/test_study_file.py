"""The database of a grid's searches: locked, damaged, or gone."""

import dataclasses
import json
import os
import pathlib
import random
import shutil
import sqlite3
import time

import keras
import pytest

import grid_cases
from efficientnet_tf.models import variants
from efficientnet_tf.utils import files, run_folder, workers
from transfer import finetune
from transfer.sweep import optuna_search, runs as runs_lib, study_file

RATES = "learning_rate=0.001,0.003,0.01"


@pytest.fixture(autouse=True)
def made(monkeypatch, tiny_row):
    """Replaces fine-tuning by a record of it; all scores are equal."""
    monkeypatch.setitem(variants.VARIANTS, "tiny", tiny_row)
    monkeypatch.setattr(workers, "POLL_SECONDS", 0.01)
    # It takes longer than all else.
    monkeypatch.setattr(keras.backend, "clear_session", lambda: None)
    folders = []

    def run(*_, config, workdir, watchers, **__):
        finished = run_folder.last_result(workdir)
        if finished:
            return finished
        folders.append(pathlib.Path(workdir).name)
        for watcher in watchers:
            watcher.on_epoch_end(0, {"val_top1": config.learning_rate})
        row = {"score": 0.5, "evaluated_on": "test", "seed": config.seed}
        files.append_json_line(workdir / run_folder.RESULTS_FILE, row)
        return row

    monkeypatch.setattr(finetune, "finetune_and_evaluate", run)
    return folders


@pytest.fixture(scope="module")
def plan(tmp_path_factory, make_folder):
    place = tmp_path_factory.mktemp("images")
    weights = place / "tiny.weights.h5"
    weights.touch()  # Nobody reads them.
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            variants.VARIANTS, "tiny", variants.VARIANTS["efficientnet_b0"]
        )
        return grid_cases.make_plan(
            make_folder(place / "images", {"a": 1, "b": 1}),
            weights,
            seeds=1,
            pruner="median",
            search=(RATES,),
        )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Where the first test puts a grid that has ended."""
    return tmp_path_factory.mktemp("grid")


@pytest.fixture
def grid(plan, whole, tmp_path, made):
    """A copy of a grid that has ended: its folder."""
    if not any(whole.iterdir()):
        run_folder.start_study(plan, whole)
        runs_lib.run_sweep(plan, whole)
        assert len(made) == 4
        made.clear()
    return pathlib.Path(shutil.copytree(whole, tmp_path / "grid"))


def _read_trials(plan, workdir):
    study = optuna_search.open_study(plan, workdir, plan.cells[0])
    return sorted(
        (t.state.name, t.value, t.params["point"], t.intermediate_values[1])
        for t in study.trials
    )


def _flip_score(path):
    """Another score, in a database that is whole."""
    with sqlite3.connect(path) as base:
        base.execute("UPDATE trial_values SET value = 0.9 WHERE trial_id = 3")
    base.close()


def _become_folder(path):
    path.unlink()
    path.mkdir()
    (path / "x").write_text("")


def _become_pipe(path):
    path.unlink()
    os.mkfifo(path)


def _cut(path):
    path.write_bytes(path.read_bytes()[:10_000])


def _flip_header(path):
    data = bytearray(path.read_bytes())
    data[100] ^= 0xFF  # The kind of the first page.
    path.write_bytes(data)


DAMAGE = {
    "gone": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"nonsense" * 1000),
    "truncated": _cut,
    "flipped": _flip_header,
    "flipped score": _flip_score,
    "folder": _become_folder,
    "pipe": _become_pipe,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_study_is_rebuilt_from_the_log(damage, plan, grid, caplog):
    path = grid / study_file.STUDY_FILE
    before = _read_trials(plan, grid)
    assert len(before) == 3
    DAMAGE[damage](path)
    caplog.clear()
    assert _read_trials(plan, grid) == before
    assert optuna_search.count_ended(plan, grid, plan.cells[0]) == 3
    if damage not in ("gone", "empty"):
        (line,) = [r.message for r in caplog.records]
        assert line.startswith(f"{path} is damaged (")
        assert "\n" not in line
        assert path.with_name("study.db.damaged").exists()


def test_after_that_nothing_is_run_again(plan, grid, made):
    (grid / study_file.STUDY_FILE).write_bytes(b"nonsense" * 1000)
    runs_lib.run_sweep(plan, grid)
    assert made == []


def test_any_flipped_bits_are_mended_or_do_not_matter(plan, grid):
    path = grid / study_file.STUDY_FILE
    before, whole = _read_trials(plan, grid), path.read_bytes()
    noise = random.Random(0)
    for _ in range(10):
        data = bytearray(whole)
        for _ in range(20):
            data[noise.randrange(len(data))] ^= 1 << noise.randrange(8)
        path.write_bytes(data)
        assert _read_trials(plan, grid) == before


def test_a_study_of_an_earlier_version_gets_a_log(plan, grid):
    before = _read_trials(plan, grid)
    shutil.rmtree(grid / study_file.LOG_FOLDER)
    for _ in range(2):
        assert _read_trials(plan, grid) == before
        (grid / study_file.STUDY_FILE).unlink()


def test_a_locked_database_is_named_in_time(plan, grid, monkeypatch, caplog):
    monkeypatch.setattr(study_file, "QUIET_SECONDS", 0.1)
    monkeypatch.setattr(study_file, "MORE_SECONDS", 0.2)
    other = sqlite3.connect(grid / study_file.STUDY_FILE)
    other.execute("BEGIN EXCLUSIVE")
    begin = time.monotonic()
    with pytest.raises(
        RuntimeError, match="is locked by another program, such"
    ):
        runs_lib.run_sweep(plan, grid)
    assert time.monotonic() - begin < 5
    assert "is locked by another program; waiting" in caplog.text
    other.close()
    assert len(_read_trials(plan, grid)) == 3


def test_a_run_goes_on_while_the_database_is_lost(
    plan, tmp_path, made, monkeypatch, caplog
):
    run, lost = finetune.finetune_and_evaluate, []

    def lose(*args, **settings):
        if not lost:
            lost.append(True)
            for path in tmp_path.glob("study.db*"):
                path.write_bytes(b"nonsense" * 1000)
        return run(*args, **settings)

    monkeypatch.setattr(finetune, "finetune_and_evaluate", lose)
    run_folder.start_study(plan, tmp_path)
    runs_lib.run_sweep(plan, tmp_path)
    assert "This run goes on unjudged: " in caplog.text
    assert len(made) == 4 and len(set(made)) == 4
    study = optuna_search.open_study(plan, tmp_path, plan.cells[0])
    assert [t.value for t in study.trials] == [0.5] * 3


FOREIGN = [
    "nonsense",
    "[]",
    '{"id": "x", "state": "RUNNING", "params": {}, "point": {}}',
    '{"id": "x", "state": "COMPLETE", "params": {}, "point": {}}',
    '{"id": "x", "state": "COMPLETE", "params": {"point": 0}, "point": {}, '
    '"value": "high", "rounds": {}, "distributions": {"point": "{"}}',
    '{"id": "x", "state": "COMPLETE", "params": {"point": 7}, "point": {}, '
    '"value": 0.1, "rounds": {"y": 1}, "distributions": {}}',
]


def test_foreign_trials_in_the_log_are_left_out(plan, grid, caplog):
    before = _read_trials(plan, grid)
    (log,) = (grid / study_file.LOG_FOLDER).iterdir()
    log.write_text("\n".join([*FOREIGN, log.read_text()]))
    caplog.clear()
    assert _read_trials(plan, grid) == before
    assert caplog.text.count("is left out") >= len(FOREIGN)


def test_a_kill_changes_neither_choice_nor_later_trials(plan, tmp_path, made):
    """Of equal scores the first point wins, whatever its trial's number is."""
    study = optuna_search.open_study(plan, tmp_path, plan.cells[0])
    run_folder.start_study(plan, tmp_path)
    dead = study.ask()  # By a process that is no more.
    dead.set_user_attr(
        "point", optuna_search.suggest(plan, plan.cells[0], dead)
    )
    runs_lib.run_sweep(plan, tmp_path)
    config = json.loads((tmp_path / "results.jsonl").read_text())
    assert config["search_curves"] == {}
    best = optuna_search.best_point(plan, tmp_path, plan.cells[0])
    assert best == {"learning_rate": "0.001"}


def test_tpe_goes_on_with_the_same_points_after_a_kill(plan, tmp_path, made):

    plan = dataclasses.replace(plan, sampler="tpe", trials=2)
    run_folder.start_study(plan, tmp_path / "whole")
    runs_lib.run_sweep(plan, tmp_path / "whole")
    whole = list(made)
    made.clear()
    run_folder.start_study(plan, tmp_path / "killed")
    (cell,) = plan.cells
    study = optuna_search.open_study(plan, tmp_path / "killed", cell)
    study.sampler = optuna_search.optuna.samplers.TPESampler(seed=0)
    dead = study.ask()
    dead.set_user_attr("point", optuna_search.suggest(plan, cell, dead))
    runs_lib.run_sweep(plan, tmp_path / "killed")
    assert made == whole
