"""Studies of several networks: which runs are trained, and their results."""

import dataclasses
import pathlib

import filelock
import numpy as np
import pytest

from efficientnet_tf.data import examples
from efficientnet_tf.data.archives import tfrecords
from efficientnet_tf.data.sets import sources
from efficientnet_tf.measure import cache
from efficientnet_tf.models import costs, registry
from efficientnet_tf.search import (
    compound_search,
    compound_study,
    directions,
    reports,
    trials,
)
from efficientnet_tf.training import train
from efficientnet_tf.utils import files, run_folder, workers

BUDGET = trials.Budget("folder:/nowhere", seeds=2)
SMALL = trials.base_variant(
    "efficientnet_lite0", BUDGET, width=0.25, resolution=32
)


@pytest.fixture
def plan():
    # (2, 1, 1), (1, 1.5, 1) and (1, 1, 1.5), within 0.3 of 2.
    return compound_search.Plan(
        base=SMALL, budget=BUDGET, step=0.5, tolerance=0.3
    )


@pytest.fixture
def runs(monkeypatch):
    """Records runs instead of training; deeper networks score higher."""
    made = []
    monkeypatch.setattr(workers, "POLL_SECONDS", 0.01)

    def run(model, dataset, *, config, workdir, **_):
        made.append((pathlib.Path(model).stem, config.seed, config.resolution))
        variant = registry.get_variant(model)
        score = variant.depth / 4 + variant.width / 8 + config.seed / 100
        row = {"top1": 0.0, "ema_top1": score}
        curve = {"val_top1": 0.0, "val_ema_top1": score}
        for epoch in (1, 2):
            line = {"epoch": epoch, **curve}
            files.append_json_line(workdir / run_folder.METRICS_FILE, line)
        (workdir / "checkpoints").mkdir(exist_ok=True)
        (workdir / "model.keras").write_text("")
        files.append_json_line(workdir / run_folder.RESULTS_FILE, row)
        return row

    monkeypatch.setattr(train, "train_and_evaluate", run)
    return made


@pytest.fixture
def deep_fails(runs, monkeypatch):
    """Makes the deepest network diverge with every seed."""
    whole = train.train_and_evaluate

    def run(model, *arguments, **options):
        if "alpha=2" in model:
            raise FloatingPointError("loss is nan")
        return whole(model, *arguments, **options)

    monkeypatch.setattr(train, "train_and_evaluate", run)


def _work(plan, tmp_path):
    compound_search.start_search(plan, tmp_path)
    names = list(compound_search.candidates(plan))
    trials.run_trials(names, plan.budget, tmp_path)
    return names


def test_every_network_trains_once_per_seed_at_its_own_resolution(
    plan, tmp_path, runs
):
    names = _work(plan, tmp_path)
    assert runs == [(name, seed, 0) for seed in (0, 1) for name in names]
    assert trials.count_runs(names, BUDGET, tmp_path) == (6, 6)
    trials.run_trials(names, BUDGET, tmp_path)
    assert len(runs) == 6
    assert not list(tmp_path.glob("runs/*/*/checkpoints"))
    assert not list(tmp_path.glob("runs/*/*/model.keras"))


def test_the_recipes_resolution_is_the_bases():
    budget = dataclasses.replace(BUDGET, settings=("resolution=48",))
    assert trials.base_variant("resnet50", budget).resolution == 48
    budget = dataclasses.replace(BUDGET, settings=("resolution=0",))
    assert trials.base_variant("efficientnet_b3", budget).resolution == 300


def test_the_best_mean_over_seeds_is_chosen_and_becomes_a_family(
    plan, tmp_path, runs
):
    names = _work(plan, tmp_path)
    rows = compound_search.read_results(plan, tmp_path)
    chosen = compound_search.choose(rows)
    assert [chosen[key] for key in ("alpha", "beta", "gamma")] == [2, 1, 1]
    assert chosen["accuracy"] == pytest.approx(0.5 + 0.25 / 8 + 0.005)
    assert chosen["spread"] == pytest.approx(0.01 / np.sqrt(2))
    family = compound_search.write_family(plan, chosen, tmp_path, (0, 1, 2.5))
    assert [row["depth"] for row in family] == [1, 2, 2**2.5]
    base = registry.get_variant(tmp_path / "family" / "phi0.json")
    assert base == SMALL
    grown = registry.get_variant(tmp_path / "family" / "phi2.5.json")
    assert costs.count_costs(grown).multiply_adds == family[2]["multiply_adds"]
    # The family's dropout rises from 0.2 at phi 0 to 0.5 at 7.
    assert grown.dropout == pytest.approx(0.2 + 0.3 * 2.5 / 7)
    agreement = compound_search.check_ranking(plan, names, tmp_path)
    assert agreement["rho"] == 1.0
    text = reports.write_search(plan, rows, agreement, tmp_path, family)
    assert "ρ = 1.00" in text and "| 2 | 1 | 1 | 2.00 | 32 |" in text
    assert (tmp_path / "report.md").read_text() == text
    for name in ("grid.png", "curves.png"):
        assert (tmp_path / name).stat().st_size > 5_000


def test_objectives_weigh_cost(plan, tmp_path, runs):
    _work(plan, tmp_path)
    plain = compound_search.read_results(plan, tmp_path)
    weighted = dataclasses.replace(
        plan, objective="weighted", cost_exponent=-90.0
    )
    rows = compound_search.read_results(weighted, tmp_path)
    cheapest = min(rows, key=lambda row: row["multiply_adds"])
    assert compound_search.choose(rows)["name"] == cheapest["name"]
    assert compound_search.choose(plain)["name"] != cheapest["name"]
    target = 2 * costs.count_costs(SMALL).multiply_adds
    assert cheapest["objective"] == pytest.approx(
        cheapest["accuracy"] * (cheapest["multiply_adds"] / target) ** -90
    )
    front = {row["name"] for row in rows if row["on_front"]}
    assert {cheapest["name"], compound_search.choose(plain)["name"]} <= front


def test_only_the_best_train_with_the_next_seed(plan, tmp_path, runs):
    budget = dataclasses.replace(BUDGET, seeds=3, keep=0.5)
    plan = dataclasses.replace(plan, budget=budget)
    names = _work(plan, tmp_path)
    deep, wide = "alpha=2,beta=1,gamma=1", "alpha=1,beta=1.5,gamma=1"
    kept = [name for name in names if name in (deep, wide)]
    expected = [(name, 0) for name in names] + [(name, 1) for name in kept]
    assert [run[:2] for run in runs] == [*expected, (deep, 2)]
    assert trials.count_runs(names, budget, tmp_path) == (6, 6)
    rows = compound_search.read_results(plan, tmp_path)
    assert compound_search.choose(rows)["name"] == deep
    assert [row["name"] for row in rows if row["on_front"]] == [deep]
    assert "(2 of 3 seeds)" in reports.search_table(rows)
    assert "best 50%" in budget.text()
    assert compound_search.check_ranking(plan, names, tmp_path) is None


def test_who_was_left_out_stays_out_whatever_else_it_has(plan, tmp_path, runs):
    """A check of the ranking has trained some with all seeds before."""
    compound_search.start_search(plan, tmp_path)
    checked = "alpha=1,beta=1,gamma=1.5"  # The least accurate.
    whole = dataclasses.replace(BUDGET, seeds=3)
    trials.run_trials([checked], whole, tmp_path)
    assert len(runs) == 3
    budget = dataclasses.replace(whole, keep=0.5)
    names = list(compound_search.candidates(plan))
    assert trials.count_runs(names, budget, tmp_path) == (1, 6)
    trials.run_trials(names, budget, tmp_path)
    assert [run[:2] for run in runs[-3:]] == [
        ("alpha=1,beta=1.5,gamma=1", 1),
        ("alpha=2,beta=1,gamma=1", 1),
        ("alpha=2,beta=1,gamma=1", 2),
    ]
    assert trials.count_runs(names, budget, tmp_path) == (6, 6)


def test_who_fails_does_not_go_on_while_others_can(
    plan, tmp_path, runs, deep_fails
):
    budget = dataclasses.replace(BUDGET, keep=0.5)
    plan = dataclasses.replace(plan, budget=budget)
    _work(plan, tmp_path)
    again = [name for name, seed, _ in runs if seed == 1]
    assert len(again) == 2 and not any("alpha=2" in name for name in again)


def test_costs_can_be_measured_here(plan, tmp_path, runs, monkeypatch):
    asked = []

    def measure(part, job, bench):
        asked.append((part, pathlib.Path(job.model).stem, bench.path))
        variant = registry.get_variant(job.model)
        if variant.resolution > SMALL.resolution:
            raise RuntimeError("no memory")
        return {"latency_p50_ms": 10 * variant.width, "latency_p95_ms": 0}

    monkeypatch.setattr(cache, "measure", measure)
    plan = dataclasses.replace(
        plan,
        objective="weighted",
        costs=("latency_ms", "multiply_adds"),
        cost_exponent=-1.0,
    )
    names = _work(plan, tmp_path)
    measured = compound_search.measure(plan, tmp_path)
    path = tmp_path / cache.CACHE_FILE
    assert asked == [("measure_latency", n, path) for n in ("base", *names)]
    assert measured["base"] == {"latency_ms": 2.5}
    rows = compound_search.read_results(plan, tmp_path, measured)
    found = {row["name"]: row for row in rows}
    wide = found["alpha=1,beta=1.5,gamma=1"]
    # Twice the base's is the target, and it is half as wide again.
    assert wide["latency_ms"] == 10 * 0.375
    assert wide["objective"] == pytest.approx(wide["accuracy"] / 0.75)
    unknown = found["alpha=1,beta=1,gamma=1.5"]
    assert unknown["latency_ms"] is unknown["objective"] is None
    assert not unknown["on_front"] and wide["accuracy"] is not None
    assert "| latency, ms |" in reports.search_table(rows)
    # By default nothing is.
    assert (
        compound_search.measure(
            dataclasses.replace(plan, costs=("params",)), ""
        )
        == {}
    )


def test_memory_is_what_training_adds_at_the_recipes_batch(
    plan, tmp_path, monkeypatch
):
    def measure(part, job, bench):
        assert (part, job.batch_size) == ("measure_training_memory", 32)
        return {"training_memory_mb": 900.0, "runtime_memory_mb": 800.0}

    monkeypatch.setattr(cache, "measure", measure)
    plan = dataclasses.replace(plan, costs=("memory_mb",))
    compound_search.start_search(plan, tmp_path)
    measured = compound_search.measure(plan, tmp_path)
    assert len(measured) == 4
    assert all(row == {"memory_mb": 100.0} for row in measured.values())


def test_without_the_bases_cost_there_is_no_search(plan, tmp_path, monkeypatch):
    def measure(*_):
        raise RuntimeError("no memory")

    monkeypatch.setattr(cache, "measure", measure)
    plan = dataclasses.replace(plan, costs=("latency_ms",))
    compound_search.start_search(plan, tmp_path)
    with pytest.raises(RuntimeError, match="no memory"):
        compound_search.measure(plan, tmp_path)


def test_what_is_chosen_by_may_change_later(plan, tmp_path, runs):
    _work(plan, tmp_path)
    budget = dataclasses.replace(BUDGET, keep=0.5)
    compound_search.start_search(
        dataclasses.replace(plan, budget=budget), tmp_path
    )
    other = dataclasses.replace(
        plan, objective="weighted", costs=("params",), cost_exponent=-90.0
    )
    compound_search.start_search(other, tmp_path)
    rows = compound_search.read_results(other, tmp_path)
    fewest = min(rows, key=lambda row: row["params"])
    assert compound_search.choose(rows)["name"] == fewest["name"]
    unknown = [{**row, "objective": None} for row in rows]
    with pytest.raises(RuntimeError, match="No candidate's cost"):
        compound_search.choose(unknown)


def test_a_network_that_fails_is_recorded_and_the_search_goes_on(
    plan, tmp_path, runs, deep_fails
):
    names = _work(plan, tmp_path)
    assert trials.count_runs(names, BUDGET, tmp_path) == (6, 6)
    rows = {
        row["name"]: row for row in compound_search.read_results(plan, tmp_path)
    }
    assert rows["alpha=2,beta=1,gamma=1"]["scores"] == [None, None]
    assert rows["alpha=2,beta=1,gamma=1"]["accuracy"] is None
    assert compound_search.choose(rows.values())["beta"] == 1.5
    assert (
        compound_search.check_ranking(plan, names, tmp_path)["candidates"] == 2
    )


def test_bad_data_stop_the_search_at_once(plan, tmp_path, monkeypatch):
    def run(*_, **__):
        raise RuntimeError("the data cannot be read")

    monkeypatch.setattr(train, "train_and_evaluate", run)
    with pytest.raises(RuntimeError, match="cannot be read"):
        _work(plan, tmp_path)


def test_without_any_accuracy_nothing_is_chosen(plan, tmp_path):
    compound_search.start_search(plan, tmp_path)
    with pytest.raises(
        RuntimeError, match="No candidate finished with all seeds"
    ):
        compound_search.choose(compound_search.read_results(plan, tmp_path))


def test_a_run_that_another_process_is_at_is_left_to_it(
    plan, tmp_path, runs, monkeypatch
):
    compound_search.start_search(plan, tmp_path)
    names = list(compound_search.candidates(plan))
    theirs = filelock.FileLock(tmp_path / "locks" / f"{names[0]}-seed0.lock")
    (tmp_path / "locks").mkdir()
    theirs.acquire()
    # Everything else is done before the first wait, in which it is let go.
    monkeypatch.setattr(workers.time, "sleep", lambda _: theirs.release())
    trials.run_trials(names, BUDGET, tmp_path)
    assert runs[-1] == (names[0], 0, 0) and len(runs) == 6


def test_the_check_of_the_ranking_is_part_of_the_search(plan, tmp_path, runs):
    names = compound_search.sample(plan, 2)
    assert names == [list(compound_search.candidates(plan))[i] for i in (0, 2)]
    compound_search.start_search(plan, tmp_path)
    trials.run_trials(names, BUDGET, tmp_path)
    _work(plan, tmp_path)
    assert len(runs) == len(set(runs)) == 6


def test_another_plan_in_the_same_folder_is_refused(plan, tmp_path):
    compound_search.start_search(plan, tmp_path)
    compound_search.start_search(plan, tmp_path)
    with pytest.raises(ValueError, match="step=0.5 there, 0.25 here"):
        compound_search.start_search(
            dataclasses.replace(plan, step=0.25), tmp_path
        )


def test_the_papers_grid_holds_the_papers_choice():
    plan = compound_search.Plan(base=SMALL, budget=BUDGET, step=0.05)
    rows = compound_search.coefficients(plan)
    assert (1.2, 1.1, 1.15) in rows
    for alpha, beta, gamma in rows:
        assert min(alpha, beta, gamma) >= 1
        assert abs(alpha * beta**2 * gamma**2 - 2) <= 0.1 + 1e-9
    assert len(rows) == len(set(rows)) == 111


WRONG_PLANS = [
    ({"step": 0.7, "tolerance": 0.01}, "The grid is empty"),
    ({"step": 0.0}, "step=0.0 must be above 0"),
    ({"growth": 0.5}, "growth=0.5 must be at least 1"),
    ({"tolerance": -1.0}, "tolerance=-1.0 must be finite and not negative"),
    ({"objective": "best"}, "objective='best' must be one of accuracy"),
    (
        {
            "budget": dataclasses.replace(BUDGET, keep=0.5),
            "objective": "pareto",
        },
        "keep=0.5 drops candidates by accuracy alone",
    ),
    ({"resolution_divisor": 0}, "resolution_divisor=0 must be at least 1"),
    ({"costs": ()}, "costs= must be one or more of multiply_adds"),
    (
        {"costs": ("time",)},
        "costs=time must be one or more of multiply_adds, params, lat",
    ),
]


@pytest.mark.parametrize("changes,message", WRONG_PLANS)
def test_a_search_is_checked_before_any_work(plan, changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(plan, **changes)


def test_a_step_that_makes_too_large_a_grid_is_refused(plan):
    with pytest.raises(ValueError, match="step=0.001 makes 1,300 values"):
        dataclasses.replace(plan, step=0.001)


def test_a_phi_that_makes_no_network_is_refused_before_any_work(plan):
    compound_search.check_phis(plan, compound_search.PHIS)
    with pytest.raises(ValueError, match="phi=5000.* is too large"):
        compound_search.check_phis(plan, [1, 5000])
    with pytest.raises(ValueError, match="between 32 and 16384"):
        compound_search.check_phis(plan, [30])
    base = dataclasses.replace(SMALL, resolution=64)
    with pytest.raises(
        ValueError, match="phi=-3 gives .* pixels, below the .* stride"
    ):
        compound_search.check_phis(dataclasses.replace(plan, base=base), [-3])


def test_more_seeds_may_follow_in_the_same_folder(plan, tmp_path, runs):
    _work(plan, tmp_path)
    assert len(runs) == 6
    more = dataclasses.replace(BUDGET, seeds=3)
    _work(dataclasses.replace(plan, budget=more), tmp_path)
    assert len(runs) == 9
    other = dataclasses.replace(BUDGET, recipe="paper")
    with pytest.raises(
        ValueError, match="budget's recipe='smoke' there, 'paper' here"
    ):
        compound_search.start_search(
            dataclasses.replace(plan, budget=other), tmp_path
        )


@pytest.mark.parametrize(("begun", "trains"), [(2, True), (3, False)])
def test_a_network_that_is_killed_again_and_again_has_failed(
    plan, tmp_path, runs, begun, trains
):
    compound_search.start_search(plan, tmp_path)
    name, *_ = compound_search.candidates(plan)
    folder = tmp_path / "runs" / name / "seed=0"
    (folder / "checkpoints" / "step_000000007").mkdir(parents=True)
    # Those before it came further than where they began.
    for step in [""] * 5 + ["step_000000007"] * begun:
        files.append_json_line(
            folder / trials.ATTEMPTS_FILE, {"checkpoint": step}
        )
    _work(plan, tmp_path)
    assert ((name, 0) in [run[:2] for run in runs]) == trains
    row = run_folder.last_result(folder)
    assert ("killed 3 times" in row.get("failed", "")) != trains
    assert (folder / trials.ATTEMPTS_FILE).exists() != trains
    assert len(runs) == 6 - (not trains)


def test_a_study_names_variant_files_by_their_stem(tmp_path):
    paths = [tmp_path / "small.json", tmp_path / "other" / "small.json"]
    for path in paths:
        registry.write_file(path, SMALL)
    plan = compound_study.Plan(
        BUDGET, bases=(str(paths[0]), "resnet50"), resolution=64
    )
    names = [case.name for case in compound_study.cases(plan)]
    assert names[:2] == ["small", "small-depth-4"]
    rows = compound_study.read_results(plan, tmp_path / "study")
    assert {row["base"] for row in rows} == {"small", "resnet50"}
    with pytest.raises(ValueError, match="must have different names"):
        compound_study.Plan(BUDGET, bases=tuple(map(str, paths)), resolution=64)


def test_networks_are_not_scored_on_what_they_train_on(monkeypatch):
    def load(name, split, data_dir):
        skip, take = {"all": (0, 100), "end": (90, 10), "new": (100, 5)}[split]
        shard = tfrecords.Shard("file", skip, take)
        source = tfrecords.Sharded((shard,), None)
        return examples.Examples(source, ("a",), split)

    monkeypatch.setattr(sources, "load", load)
    trials.check_splits(dataclasses.replace(BUDGET, splits=("all", "new")))
    with pytest.raises(
        ValueError, match="10 of the 10 images of end are also in a"
    ):
        trials.check_splits(dataclasses.replace(BUDGET, splits=("all", "end")))


WRONG_BUDGETS = [
    ({"seeds": 0}, "seeds=0 must be between 1 and"),
    ({"recipe": "fool"}, "Unknown recipe 'fool'"),
    ({"keep": 0.0}, "keep=0.0 must be above 0 and at most 1"),
    (
        {"splits": ("train",)},
        "must be two: one to train on, and one to score on",
    ),
    ({"settings": ("stage_resolutions=32,64",)}, "stage_resolutions=.*own"),
]


@pytest.mark.parametrize("changes,message", WRONG_BUDGETS)
def test_a_budget_is_checked_before_any_work(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(BUDGET, **changes)


@pytest.fixture
def grown():
    return compound_study.Plan(
        BUDGET, bases=("efficientnet_b0", "resnet50"), width=0.5, resolution=64
    )


def test_a_study_grows_each_base_in_each_direction_at_one_cost(
    grown, tmp_path, runs
):
    compound_study.start_study(grown, tmp_path)
    names = [case.name for case in compound_study.cases(grown)]
    assert len(names) == len(set(names)) == 2 * (1 + 4)
    trials.run_trials(names, BUDGET, tmp_path)
    assert len(runs) == 20
    rows = compound_study.read_results(grown, tmp_path)
    for row in rows:
        near = pytest.approx(row["growth"], rel=0.1)
        assert row["exact_growth"] == near, row["name"]
        assert row["accuracy"] is not None
    text = reports.write_study(grown, rows, tmp_path)
    assert "| resnet50 | width | 1 | 2 | 224 | 14.7 | 16.12 | 77.7 |" in text
    assert (tmp_path / "study.png").stat().st_size > 5_000


def test_tables_3_and_7_have_every_base_and_direction():
    rows = compound_study.published_rows()
    found = {(row["base"], row["direction"]) for row in rows}
    expected = {
        (base, direction)
        for base in compound_study.BASES
        for direction in (compound_study.BASE, *directions.UNIFORM)
    }
    # The paper has no deeper MobileNetV1.
    assert expected - found == {("mobilenet_v1", "depth")}
    b0 = [
        row["accuracy"]
        for row in rows
        if row["base"] == compound_study.BASES[0]
    ]
    assert b0 == pytest.approx([0.773, 0.79, 0.789, 0.791, 0.811])


WRONG_STUDIES = [
    ({"growths": (1.0,)}, "must be above 1"),
    ({"growths": ()}, "must be different values"),
    ({"bases": ("b0",)}, "Unknown model 'b0'"),
    ({"directions": ("hight",)}, "Unknown direction 'hight'"),
    ({"alpha": 0.9}, "alpha must be at least 1"),
    (
        {"alpha": 1.0, "beta": 1.0, "gamma": 1.0},
        "alpha=1.0, beta=1.0 and gamma=1.0 grow nothing",
    ),
]


@pytest.mark.parametrize("changes,message", WRONG_STUDIES)
def test_a_study_is_checked_before_any_work(grown, changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(grown, **changes)


@pytest.mark.slow
def test_a_real_network_is_trained_by_the_trainer(tmp_path, make_folder):
    folder = make_folder(tmp_path / "images", {"a": 10, "b": 10})
    settings = ("epochs=1", "batch_size=7", "warmup_epochs=0")
    budget = trials.Budget(f"folder:{folder}", settings=settings, seeds=1)
    base = trials.base_variant(
        "mobilenet_v1", budget, width=0.1, depth=0.1, resolution=32
    )
    plan = compound_search.Plan(
        base=base, budget=budget, step=1.0, tolerance=0.0
    )
    names = _work(plan, tmp_path / "search")
    assert names == ["alpha=2,beta=1,gamma=1"]
    (row,) = compound_search.read_results(plan, tmp_path / "search")
    assert 0 <= row["accuracy"] <= 1 and row["spread"] is None
    (curve,) = [trials.read_curve(names[0], budget, tmp_path / "search")]
    assert curve == [pytest.approx(row["accuracy"])]


def test_a_study_times_each_network_once(grown, tmp_path, monkeypatch):
    timed = []

    def run_apart(function, job):
        timed.append((function, job.batch_size, job.model))
        return {"step_ms": 10.0 * len(timed), "device": "here"}

    monkeypatch.setattr(compound_study.jobs, "run_apart", run_apart)
    plan = dataclasses.replace(
        grown, step_batch=8, directions=("compound", "weighted")
    )
    compound_study.start_study(plan, tmp_path)
    for _ in range(2):
        compound_study.measure_steps(plan, tmp_path)
    names = [case.name for case in compound_study.cases(plan)]
    assert [model for *_, model in timed] == [
        str(trials.variant_file(tmp_path, name)) for name in names
    ]
    assert {batch for _, batch, _ in timed} == {8}
    rows = compound_study.read_results(plan, tmp_path)
    expected = [10.0 * (i + 1) for i in range(len(names))]
    assert [row["step_ms"] for row in rows] == expected
    text = reports.study_table(rows)
    assert "step, ms" in text and f" {expected[-1]:.1f} " in text
    for row in rows:
        assert f" {' '.join(map(str, row['blocks']))} " in text
