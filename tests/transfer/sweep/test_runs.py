import dataclasses
import json
import pathlib
import subprocess
import sys

import filelock
import optuna
import pytest

import grid_cases
import paths
from efficientnet_tf.models import builder, variants
from efficientnet_tf.utils import files, run_folder, workers
from efficientnet_tf.weights import loading
from transfer import finetune, sweep
from transfer.sweep import (
    optuna_search,
    plan as plan_lib,
    runs as runs_lib,
    study_file,
)
from transfer.training import inputs


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tiny_row, tmp_path_factory):
    monkeypatch.setitem(variants.VARIANTS, "tiny", tiny_row)
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("EFFICIENTNET_TF_CACHE", str(cache))
    monkeypatch.setattr(workers, "POLL_SECONDS", 0.01)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_folder):
    return make_folder(tmp_path_factory.mktemp("images"), {"a": 10, "b": 10})


@pytest.fixture(scope="module")
def tiny_weights(tmp_path_factory, tiny_row):
    path = tmp_path_factory.mktemp("weights") / "tiny.weights.h5"
    loading.save(builder.build(tiny_row, classes=2, name="tiny"), path)
    return path


@pytest.fixture
def plan(folder, tiny_weights):
    return grid_cases.make_plan(folder, tiny_weights)


@pytest.fixture
def pruned_plan(plan):
    """A grid that needs Optuna; its runs report nothing to prune by."""
    return dataclasses.replace(plan, pruner="asha")


@pytest.fixture
def runs(monkeypatch):
    """Replaces fine-tuning by a record of it; scores depend on the rate."""
    made = []

    def run(task, model_name, *, config, workdir, watchers, **_):
        made.append((config, pathlib.Path(workdir), watchers))
        row = {
            "task": task,
            "model": model_name,
            "score": 1 - abs(config.learning_rate - 0.01),
            "evaluated_on": config.evaluate_on,
            "seed": config.seed,
            "curves": {"epoch": [1], "val_top1": [config.learning_rate]},
        }
        files.append_json_line(workdir / run_folder.RESULTS_FILE, row)
        return row

    monkeypatch.setattr(finetune, "finetune_and_evaluate", run)
    return made


def test_the_search_is_on_validation_and_each_seed_touches_test_once(
    plan, tmp_path, runs
):
    run_folder.start_study(plan, tmp_path)
    runs_lib.run_sweep(plan, tmp_path)
    used = [
        (c.learning_rate, c.train_on, c.evaluate_on, c.seed) for c, *_ in runs
    ]
    assert used == [
        (0.001, "train", "validation", 0),
        (0.01, "train", "validation", 0),
        (0.01, "train+validation", "test", 0),
        (0.01, "train+validation", "test", 1),
    ]
    assert runs_lib.count_runs(plan, tmp_path) == (4, 4)
    rows = runs_lib.read_results(plan, tmp_path)
    assert [row["seed"] for row in rows] == [0, 1]
    assert files.read_json_lines(tmp_path / run_folder.RESULTS_FILE) == rows
    for row in rows:
        assert (tmp_path / row["folder"] / run_folder.RESULTS_FILE).exists()
        # Of the rate that was chosen.
        assert row["search_curves"] == {"epoch": [1], "val_top1": [0.01]}
        assert row["searched"] == ["learning_rate"]
    runs_lib.run_sweep(plan, tmp_path)
    assert len(runs) == 4


def test_what_a_kill_after_a_result_left_undone_is_made_up_for(
    plan, tmp_path, runs
):
    run_folder.start_study(plan, tmp_path)
    runs_lib.run_sweep(plan, tmp_path)
    (cell,) = plan.cells
    run = runs_lib._final(tmp_path, cell, 1)
    (shown,) = (run / "tensorboard").glob("*.hparams")
    shown.unlink()
    left = run / "checkpoints"
    left.mkdir(exist_ok=True)
    runs_lib.run_sweep(plan, tmp_path)
    assert len(runs) == 4  # Nothing is run again.
    assert len(list(shown.parent.glob("*.hparams"))) == 1
    assert not left.exists()


@pytest.mark.slow
def test_the_test_images_are_read_by_final_runs_alone(
    plan, tmp_path, monkeypatch
):
    read = []
    real = inputs.make_eval_dataset

    def watch(examples, result):
        read.append(examples.fingerprint)
        return real(examples, result)

    monkeypatch.setattr(inputs, "make_eval_dataset", watch)
    run_folder.start_study(plan, tmp_path)
    runs_lib.run_sweep(plan, tmp_path)
    task = finetune.tasks.get_task(plan.tasks[0])
    test = finetune.tasks.load_examples(task)["test"].fingerprint
    assert read.count(test) == plan.seeds
    assert test not in read[: -plan.seeds]


class _Kill(BaseException):
    pass


# What the killed process was just about to do.
MOMENTS = [
    (optuna_search, "suggest"),
    (optuna.Study, "enqueue_trial"),
    (optuna.Study, "set_user_attr"),
    (optuna.Study, "tell"),
    (runs_lib, "_write_results"),
]


def _assert_complete(plan, workdir, runs, repeats=0):
    """Checks that each run has ended, and how often a result is there again."""
    folders = sorted(folder.name for _, folder, _ in runs)
    assert folders[-2:] == ["seed=0", "seed=1"]
    searched = {"learning_rate=0.001", "learning_rate=0.01"}
    assert set(folders[:-2]) == searched
    for path in workdir.glob("search/*/*/results.jsonl"):
        assert len(files.read_json_lines(path)) <= 1 + repeats
    assert runs_lib.count_runs(plan, workdir) == (4, 4)
    rows = files.read_json_lines(workdir / run_folder.RESULTS_FILE)
    assert [row["seed"] for row in rows] == [0, 1]


@pytest.mark.parametrize("place, name", MOMENTS)
def test_a_kill_at_any_moment_loses_and_repeats_nothing(
    place, name, pruned_plan, tmp_path, runs, monkeypatch
):
    plan = pruned_plan
    real = getattr(place, name)

    def kill(*args, skip_if_exists=False, **__):
        if skip_if_exists:  # A study that is opened fills its queue.
            return real(*args, skip_if_exists=True)
        raise _Kill

    run_folder.start_study(plan, tmp_path)
    optuna_search.open_study(plan, tmp_path, plan.cells[0])
    if place is optuna.Study:  # These replace a trial whose process is dead.
        with monkeypatch.context() as patch, pytest.raises(_Kill):
            patch.setattr(finetune, "finetune_and_evaluate", kill)
            runs_lib.run_sweep(plan, tmp_path)
    for _ in range(2):
        with monkeypatch.context() as patch, pytest.raises(_Kill):
            patch.setattr(place, name, kill)
            runs_lib.run_sweep(plan, tmp_path)
    runs_lib.run_sweep(plan, tmp_path)
    # One that ended before its trial did returns its result once more.
    _assert_complete(plan, tmp_path, runs, repeats=name == "tell")


# The same, of a plain grid.
PLAIN_MOMENTS = [
    (finetune, "finetune_and_evaluate"),
    (runs_lib._Grid, "_tidy"),
    (runs_lib, "_show"),
    (files, "remove"),
    (runs_lib, "_best_point"),
    (runs_lib, "_write_results"),
]


@pytest.mark.parametrize("calls", range(4))
@pytest.mark.parametrize("place, name", PLAIN_MOMENTS)
def test_a_plain_grid_killed_at_any_moment_loses_and_repeats_nothing(
    place, name, calls, plan, tmp_path, runs, monkeypatch
):
    run_folder.start_study(plan, tmp_path)
    real = getattr(place, name)
    left = calls

    def kill(*args, **settings):
        nonlocal left
        left -= 1
        if left < 0:
            raise _Kill
        return real(*args, **settings)

    with monkeypatch.context() as patch, pytest.raises(_Kill):
        patch.setattr(place, name, kill)
        runs_lib.run_sweep(plan, tmp_path)
        raise _Kill  # It was called less often.
    runs_lib.run_sweep(plan, tmp_path)
    assert len(runs) == 4
    _assert_complete(plan, tmp_path, runs)
    assert not list(tmp_path.glob("*/*/*/checkpoints"))
    assert len(list(tmp_path.rglob("*.hparams"))) == 4
    assert len(list(tmp_path.rglob("tensorboard"))) == 4


def test_a_plain_grid_runs_where_optuna_is_not_installed(
    plan, tmp_path, runs, monkeypatch
):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.setitem(sys.modules, optuna_search.__name__, None)
    monkeypatch.delattr(sweep, "optuna_search")
    run_folder.start_study(plan, tmp_path)
    runs_lib.run_sweep(plan, tmp_path)
    _assert_complete(plan, tmp_path, runs)
    assert not list(tmp_path.glob("study.db*"))
    with pytest.raises(ImportError, match="optuna"):
        runs_lib.run_sweep(dataclasses.replace(plan, pruner="asha"), tmp_path)


def test_a_plain_grid_that_an_earlier_version_began_with_optuna_goes_on(
    plan, tmp_path, runs
):
    run_folder.start_study(plan, tmp_path)
    (cell,) = plan.cells
    # It had ended one run, and was killed in the other.
    study = optuna_search.open_study(plan, tmp_path, cell)
    for rate in ("0.001", "0.01"):
        trial = study.ask()
        point = optuna_search.suggest(plan, cell, trial)
        trial.set_user_attr("point", point)
        assert point == {"learning_rate": rate}
    row = {"score": 0.5, "evaluated_on": "validation", "curves": {}}
    ended = tmp_path / "search" / cell.slug / "learning_rate=0.001"
    files.append_json_line(ended / run_folder.RESULTS_FILE, row)
    study.tell(0, 0.5)
    assert runs_lib.count_runs(plan, tmp_path) == (1, 4)
    runs_lib.run_sweep(plan, tmp_path)
    assert [folder.name for _, folder, _ in runs] == [
        "learning_rate=0.01",
        "seed=0",
        "seed=1",
    ]
    assert runs_lib.count_runs(plan, tmp_path) == (4, 4)


def test_a_point_that_diverged_is_neither_repeated_nor_chosen(
    plan, tmp_path, runs, monkeypatch
):
    record, tries = finetune.finetune_and_evaluate, []

    def diverge(*args, config, **settings):
        if config.learning_rate == 0.01:
            tries.append(config)
            raise FloatingPointError("loss is nan")
        return record(*args, config=config, **settings)

    monkeypatch.setattr(finetune, "finetune_and_evaluate", diverge)
    run_folder.start_study(plan, tmp_path)
    for _ in range(2):
        runs_lib.run_sweep(plan, tmp_path)
    rates = [config.learning_rate for config, *_ in runs]
    assert rates == [0.001, 0.001, 0.001] and len(tries) == 1
    assert runs_lib.count_runs(plan, tmp_path) == (4, 4)


def test_of_equal_scores_the_first_point_is_chosen(plan, tmp_path, runs):
    (cell,) = plan.cells
    for rate, score in (("0.1", 0.5), ("0.01", 0.7), ("0.001", 0.7)):
        folder = runs_lib._searched(tmp_path, cell, {"learning_rate": rate})
        row = {"score": score}
        files.append_json_line(folder / run_folder.RESULTS_FILE, row)
    plan = dataclasses.replace(plan, search=("learning_rate=0.1,0.01,0.001",))
    best = runs_lib._best_point(plan, tmp_path, cell)
    assert best == {"learning_rate": "0.01"}


def test_the_search_is_over_only_if_that_is_so_under_its_lock(
    pruned_plan, tmp_path, runs, monkeypatch
):
    plan = pruned_plan
    (cell,) = plan.cells
    held, get_trials = [], optuna.Study.get_trials

    def watch(study, deepcopy=True, states=None):
        if states == optuna_search.RUNNING:
            lock = filelock.FileLock(tmp_path / "locks" / f"{cell.slug}.lock")
            try:
                with lock.acquire(timeout=0):
                    held.append(False)
            except filelock.Timeout:
                held.append(True)
        return get_trials(study, deepcopy, states)

    monkeypatch.setattr(optuna.Study, "get_trials", watch)
    run_folder.start_study(plan, tmp_path)
    runs_lib.run_sweep(plan, tmp_path)
    assert held and all(held)


def test_a_run_that_ends_while_it_is_looked_at_is_not_taken_for_dead(
    pruned_plan, tmp_path, runs, monkeypatch
):
    plan = pruned_plan
    (cell,) = plan.cells
    study, lock = optuna_search.open_study(plan, tmp_path, cell), workers.lock
    theirs = study.ask()
    theirs.set_user_attr("point", optuna_search.suggest(plan, cell, theirs))

    def end_first(workdir, name, *timeout):
        if name == f"{cell.slug}-{theirs.number}":
            outcome = {"state": "COMPLETE", "value": 0.5, "rounds": {}}
            study_file.log_end(tmp_path, cell.slug, theirs, **outcome)
            study.tell(theirs, 0.5)
        return lock(workdir, name, *timeout)

    monkeypatch.setattr(workers, "lock", end_first)
    run_folder.start_study(plan, tmp_path)
    runs_lib.run_sweep(plan, tmp_path)
    assert [folder.name for _, folder, _ in runs] == [
        "learning_rate=0.01",
        "seed=0",
        "seed=1",
    ]


def test_without_a_choice_nothing_is_searched(plan, tmp_path, runs):
    plan = dataclasses.replace(plan, search=())
    run_folder.start_study(plan, tmp_path)
    assert runs_lib.count_runs(plan, tmp_path) == (0, 2)
    runs_lib.run_sweep(plan, tmp_path)
    assert [c.evaluate_on for c, *_ in runs] == ["test", "test"]
    assert not (tmp_path / study_file.STUDY_FILE).exists()


def test_kornbliths_own_grid_has_56_points(plan):
    assert (
        len(plan_lib.points(dataclasses.replace(plan, search=()), "kornblith"))
        == 56
    )
    assert plan_lib.points(plan, "kornblith") == [
        {"learning_rate": "0.001"},
        {"learning_rate": "0.01"},
    ]


def test_tpe_tries_as_many_as_it_may_between_the_ends(plan, tmp_path, runs):
    plan = dataclasses.replace(plan, sampler="tpe", trials=5, seeds=1)
    run_folder.start_study(plan, tmp_path)
    runs_lib.run_sweep(plan, tmp_path)
    rates = [config.learning_rate for config, *_ in runs]
    assert len(rates) == 6 and len(set(rates[:5])) == 5
    assert all(0.001 <= rate <= 0.01 for rate in rates)
    assert rates[5] == max(rates[:5])


def test_tpe_takes_whole_numbers_where_a_field_needs_them(plan, tmp_path, runs):
    search = ("batch_size=4,64", "learning_rate=0.001,0.01")
    plan = dataclasses.replace(
        plan, search=search, sampler="tpe", trials=4, seeds=1
    )
    run_folder.start_study(plan, tmp_path)
    runs_lib.run_sweep(plan, tmp_path)
    sizes = [config.batch_size for config, *_ in runs]
    assert len(set(sizes)) > 1 and all(4 <= size <= 64 for size in sizes)


@pytest.mark.slow
def test_tpe_keeps_kornblith_decays_to_their_rates(plan, tmp_path, runs):
    plan = dataclasses.replace(
        plan,
        recipes=("kornblith",),
        search=(),
        settings=(),
        sampler="tpe",
        trials=12,
        seeds=1,
    )
    run_folder.start_study(plan, tmp_path)
    runs_lib.run_sweep(plan, tmp_path)
    for config, *_ in runs:
        product = config.learning_rate * config.weight_decay
        assert 1e-6 * 0.999 <= product <= 1e-3 * 1.001
        assert 1e-4 <= config.learning_rate <= 0.1
    assert len({config.weight_decay for config, *_ in runs}) == 12


def test_a_hopeless_run_is_pruned_and_a_diverged_one_is_not_chosen(
    plan, tmp_path, monkeypatch
):
    plan = dataclasses.replace(
        plan,
        search=("learning_rate=0.01,0.02,0.03,0.04",),
        pruner="median",
        seeds=1,
    )
    rounds = {}

    def run(*_, config, workdir, watchers, **__):
        rate = config.learning_rate
        if rate == 0.02:
            raise FloatingPointError("loss is nan")
        for epoch in range(8):
            rounds[rate] = epoch + 1
            for watcher in watchers:
                score = 0.9 if rate < 0.035 else 0.1
                watcher.on_epoch_end(epoch, {"val_top1": score})
        row = {"score": rate, "evaluated_on": config.evaluate_on}
        files.append_json_line(workdir / run_folder.RESULTS_FILE, row)
        return row

    monkeypatch.setattr(finetune, "finetune_and_evaluate", run)
    # The median rule judges after five runs by default.
    monkeypatch.setattr(
        optuna_search,
        "_make_pruner",
        lambda _: optuna.pruners.MedianPruner(1, optuna_search.MIN_ROUNDS),
    )
    run_folder.start_study(plan, tmp_path)
    runs_lib.run_sweep(plan, tmp_path)
    assert rounds == {0.01: 8, 0.03: 8, 0.04: optuna_search.MIN_ROUNDS}
    assert runs_lib.count_runs(plan, tmp_path) == (5, 5)
    (row,) = runs_lib.read_results(plan, tmp_path)
    assert row["score"] == 0.03


def test_a_search_without_any_score_says_so(plan, tmp_path, monkeypatch):
    def run(*_, **__):
        raise FloatingPointError("loss is nan")

    monkeypatch.setattr(finetune, "finetune_and_evaluate", run)
    run_folder.start_study(plan, tmp_path)
    with pytest.raises(RuntimeError, match="tiny.*: no run of the search"):
        runs_lib.run_sweep(plan, tmp_path)


def test_what_diverges_does_not_keep_the_rest_from_being_done(
    plan, tmp_path, monkeypatch
):
    done = []

    def run(*_, config, workdir, recipe, **__):
        if recipe == "full" and config.seed == 0:
            raise FloatingPointError("loss is nan")
        done.append((recipe, config.seed))
        row = {"score": 1.0, "evaluated_on": config.evaluate_on}
        files.append_json_line(workdir / run_folder.RESULTS_FILE, row)
        return row

    monkeypatch.setattr(finetune, "finetune_and_evaluate", run)
    plan = dataclasses.replace(
        plan, recipes=("full", "linear"), search=(), settings=(), seeds=3
    )
    run_folder.start_study(plan, tmp_path)
    for _ in range(2):  # The second time, nothing is left to be done.
        with pytest.raises(
            RuntimeError, match="^1 diverged.*full seed 0: loss"
        ):
            runs_lib.run_sweep(plan, tmp_path)
    with pytest.raises(RuntimeError, match="^1 diverged.*full seed 0: loss"):
        runs_lib.check(plan, tmp_path)
    rows = runs_lib.read_results(plan, tmp_path)
    assert [row.get("diverged") for row in rows] == [1, 1, None]
    assert {row["chosen_from"] for row in rows} == {0}
    # Nothing is random in "linear", so one seed is enough.
    assert sorted(done) == [("full", 1), ("full", 2), ("linear", 0)]
    assert runs_lib.count_runs(plan, tmp_path) == (4, 4)


def test_a_run_that_has_just_ended_is_not_repeated(
    plan, tmp_path, runs, monkeypatch
):
    plan = dataclasses.replace(plan, search=(), seeds=1)
    run_folder.start_study(plan, tmp_path)
    (cell,) = plan.cells
    path = runs_lib._final(tmp_path, cell, 0) / run_folder.RESULTS_FILE
    files.append_json_line(path, {"failed": "loss is nan"})
    # Another process writes it after this one has looked.
    answers = iter([False])
    ended = workers.has_ended
    monkeypatch.setattr(
        workers, "has_ended", lambda f: next(answers, None) is None and ended(f)
    )
    assert runs_lib._Grid(plan, tmp_path, None).step(cell) == "done"
    assert not runs


def test_a_run_that_another_process_is_at_is_left_to_it(plan, tmp_path, runs):
    plan = dataclasses.replace(plan, search=())
    run_folder.start_study(plan, tmp_path)
    (cell,) = plan.cells
    theirs = filelock.FileLock(tmp_path / "locks" / f"{cell.slug}-seed0.lock")
    worker = runs_lib._Grid(plan, tmp_path, None)
    with theirs:
        assert worker.step(cell) == "ran"
        assert worker.step(cell) == "busy"
    assert [config.seed for config, *_ in runs] == [1]
    assert worker.step(cell) == "ran"
    assert worker.step(cell) == "done"


def _work(plan, workdir, killed_at):
    return subprocess.Popen(
        [
            sys.executable,
            paths.SUPPORT / "grid_cases.py",
            workdir,
            plan.tasks[0].removeprefix("folder:"),
            plan.weights,
            str(killed_at),
        ],
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.slow  # Kills at any moment are above.
def test_two_workers_of_which_one_is_killed_repeat_no_finished_run(
    plan, tmp_path
):
    # 14 images are 3 steps of 4, so step 8 is in the second run's second epoch
    # of a worker that is alone, and in its first two runs of one that is not.
    first, second = (_work(plan, tmp_path, at) for at in (8, 0))
    codes = [worker.wait() for worker in (first, second)]
    assert codes in ([-9, 0], [0, 0])
    assert runs_lib.count_runs(plan, tmp_path) == (4, 4)
    for path in tmp_path.glob("*/*/*/metrics.jsonl"):
        epochs = [row["epoch"] for row in files.read_json_lines(path)]
        assert epochs == [1, 2], path
        assert len(files.read_json_lines(path.parent / "results.jsonl")) == 1
    assert len(list(tmp_path.glob("*/*/*/metrics.jsonl"))) == 4
    assert len(files.read_json_lines(tmp_path / run_folder.RESULTS_FILE)) == 2


@pytest.mark.slow  # Kills at any moment are above.
def test_killed_alone_it_goes_on_where_it_was(plan, tmp_path):
    worker = _work(plan, tmp_path, 5)
    assert worker.wait() == -9
    assert runs_lib.count_runs(plan, tmp_path) == (0, 4)
    (killed,) = tmp_path.glob("search/*/*/metrics.jsonl")
    before = files.read_json_lines(killed)
    assert [row["epoch"] for row in before] == [1]
    worker = _work(plan, tmp_path, 0)
    assert worker.wait() == 0
    after = files.read_json_lines(killed)
    assert after[0] == before[0] and len(after) == 2
    assert runs_lib.count_runs(plan, tmp_path) == (4, 4)


def test_tensorboard_gets_the_hyper_parameters_and_the_score(
    plan, tmp_path, runs
):
    from tensorboard.backend.event_processing import event_accumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    run_folder.start_study(plan, tmp_path)
    runs_lib.run_sweep(plan, tmp_path)
    found = {}
    for path in tmp_path.rglob("tensorboard"):
        events = event_accumulator.EventAccumulator(str(path)).Reload()
        content = events.SummaryMetadata(
            "_hparams_/session_start_info"
        ).plugin_data.content
        data = plugin_data_pb2.HParamsPluginData.FromString(content)
        rate = data.session_start_info.hparams["learning_rate"].number_value
        scores = [t for t in events.Tags()["tensors"] if t.endswith("/score")]
        found[path.parent.name] = (rate, scores)
    assert found == {
        "learning_rate=0.001": (0.001, ["validation/score"]),
        "learning_rate=0.01": (0.01, ["validation/score"]),
        "seed=0": (0.01, ["test/score"]),
        "seed=1": (0.01, ["test/score"]),
    }


def test_another_plan_in_the_same_folder_is_refused(plan, tmp_path):
    run_folder.start_study(plan, tmp_path)
    before = (tmp_path / run_folder.PLAN_FILE).read_text()
    with pytest.raises(ValueError, match="seeds=2 there, 3 here"):
        run_folder.start_study(dataclasses.replace(plan, seeds=3), tmp_path)
    assert (tmp_path / run_folder.PLAN_FILE).read_text() == before
    assert json.loads(before)["seeds"] == 2


WRONG = [
    ({"tasks": ("cifar11",)}, "Unknown task 'cifar11'"),
    ({"recipes": ("fool",)}, "Unknown recipe 'fool'"),
    ({"recipes": ("full", "full")}, "must be different names"),
    ({"models": ()}, "must be different names"),
    ({"sampler": "random"}, "sampler='random' must be one of grid, tpe"),
    ({"pruner": "asah"}, "pruner='asah' must be one of"),
    ({"seeds": 0}, "seeds=0 must be between 1 and"),
    ({"search": ("learning_rate",)}, "Expected field=value,value"),
    ({"search": ("rate=1,2",)}, "Unknown field 'rate'"),
    ({"search": ("seed=1,2",)}, "seed is set by the grid"),
    ({"search": ("train_on=train,test",)}, "train_on is set by the grid"),
    ({"settings": ("seed=1",)}, "seed is set by the grid"),
    ({"models": ("tinny",)}, "Unknown model 'tinny'"),
    ({"weights": "imagenet22k"}, "Unknown weights 'imagenet22k' for 'tiny'"),
    ({"search": ("epochs=1,1",)}, "has a field or a value twice"),
    ({"search": ("epochs=1", "epochs=2")}, "has a field or a value twice"),
    (
        {"tasks": ("folder:a/b", "folder:a_b")},
        "'folder:a/b', 'folder:a_b'.*share a folder",
    ),
    (
        {"search": ("mixup_alpha=0", "epochs=1,2"), "sampler": "tpe"},
        "mixup_alpha=0 cannot be searched by TPE, which needs numbers above 0",
    ),
    ({"settings": ("epochs=many",)}, "epochs must be of type int"),
    (
        {"search": ("head=linear,random",), "sampler": "tpe"},
        "head=linear,random cannot be searched by TPE",
    ),
]


@pytest.mark.parametrize("changes,message", WRONG)
def test_a_plan_is_checked_before_any_work(plan, changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(plan, **changes)


def test_names_of_cells_are_names_of_files(plan):
    slugs = [cell.slug for cell in plan.cells]
    assert len(slugs) == len(set(slugs)) == 1
    assert not set("/: ") & set(slugs[0])
    assert runs_lib._name({"learning_rate": 1e-4, "head": "zero"}) == (
        "learning_rate=0.0001,head=zero"
    )
