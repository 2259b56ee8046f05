"""The search for a baseline: spaces, objectives, searchers, its candidates."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

import paths
from efficientnet_tf.models import baselines, costs, variants
from efficientnet_tf.search import trials
from efficientnet_tf.search.architect import (
    contest,
    evaluators,
    flow,
    objectives,
    plans,
    proxies,
    runs,
    searchers,
    spaces,
    storages,
    tabular,
)
from efficientnet_tf.utils import files, workers

BENCHMARK = paths.ROOT.parent / "shared" / "data" / "nas_bench_macro.json.xz"
SMALL = {
    "base": "efficientnet_b0",
    "width": 0.25,
    "resolution": 32,
    "every_stage": {"kernel_size": [3, 5], "se_ratio": [0, 0.25]},
}
BUDGET = trials.Budget("folder:/nowhere", seeds=1)


@pytest.fixture
def plan():
    space = spaces.from_fields(SMALL)
    objective = objectives.Objective(5e6, "mnas_hard")
    return plans.Plan(
        space, space.sizes, objective, "random", "fake", BUDGET, trials=8
    )


@pytest.fixture
def scored(monkeypatch):
    """Records the genotypes that are scored; those with a 5x5 score higher."""
    made = []

    def evaluate(job):
        made.append(job.genotype)
        kernels = sum(stage.kernel_size for stage in job.variant.stages)
        if kernels % 4 == 1:
            raise FloatingPointError("The loss is NaN.")
        return {"score": kernels / 50}

    row = evaluators.Evaluator(evaluate, "accuracy")
    monkeypatch.setitem(evaluators.EVALUATORS, "fake", row)
    monkeypatch.setattr(workers, "POLL_SECONDS", 0.01)
    return made


def count(job):
    return float(costs.count_costs(job.variant).multiply_adds)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        # Of the first stage one block less is none, so it has two repeats.
        (
            "mnasnet",
            (2 * 2 * 2 * 3 * 3 * 4) ** 5 * (2 * 2 * 2 * 2 * 3 * 4) ** 2,
        ),
        ("efficientnet_v2", 288**5 * 192),
        ("elastic", (2 * 2 * 3) * (2 * 3 * 3 * 3) ** 5 * (2 * 2 * 3 * 3)),
    ],
)
def test_spaces_have_so_many_networks(name, number):
    space = spaces.get_space(name)
    assert space.count() == number
    rng = np.random.default_rng(0)
    for _ in range(20):
        genotype = spaces.sample(space.sizes, rng)
        variant = space.decode(genotype)
        assert space.encode(variant) == genotype
        other = spaces.mutate(genotype, space.sizes, rng)
        assert sum(a != b for a, b in zip(genotype, other, strict=True)) == 1
        assert space.decode(other) != variant


def test_a_space_starts_at_its_base():
    assert spaces.from_fields(SMALL).template.stages == variants.B0_STAGES
    base = baselines.BASELINES["mobilenet_v2"].stages
    assert spaces.get_space("mnasnet").template.stages == base


def test_illegal_strides_are_counted_out():
    space = spaces.from_fields(
        {
            "base": "efficientnet_b0",
            "resolution": 32,
            "every_stage": {"strides": [1, 2]},
        }
    )
    legal = [
        genotype
        for genotype in itertools.product(range(2), repeat=7)
        if space.is_legal(genotype)
    ]
    # 16 pixels after the stem can be halved four times.
    assert {sum(genotype) for genotype in legal} == set(range(5))
    assert space.count() == len(legal) == 1 + 7 + 21 + 35 + 35


BAD_SPACES = {
    "no base": ({}, '"base"'),
    "unknown base": ({"base": "b99"}, "Unknown model 'b99'"),
    "unknown field": ({**SMALL, "kernels": [3]}, "unknown field 'kernels'"),
    "unknown field of a stage": (
        {**SMALL, "every_stage": {"kernel": [3, 5]}},
        "stage 1: unknown field 'kernel'.*'kernel_size'",
    ),
    "wrong type": (
        {**SMALL, "every_stage": {"kernel_size": ["3"]}},
        "kernel_size='3' must be of type int",
    ),
    "no number": (
        {**SMALL, "every_stage": {"repeats_change": [0.5]}},
        "repeats_change=0.5 must be a number",
    ),
    "wrong value": (
        {**SMALL, "every_stage": {"block": ["mbconv", "mbcon"]}},
        "block='mbcon' must be one of .*'mbconv'",
    ),
    "no values": ({**SMALL, "every_stage": {"filters": []}}, "1 to 100 values"),
    "wrong number of stages": ({**SMALL, "stages": [{}]}, "list of 7 objects"),
    "twice": (
        {**SMALL, "every_stage": {"repeats": [1], "repeats_change": [0, 1]}},
        "both say what repeats is",
    ),
    "nothing to decide": (
        {"base": "efficientnet_b0"},
        "nothing to decide",
    ),
    "no legal network": (
        {
            "base": "efficientnet_b0",
            "resolution": 32,
            "every_stage": {"strides": [2], "kernel_size": [3, 5]},
        },
        "no legal network.*below one pixel of 32",
    ),
    "even kernels of another padding": (
        {
            "base": "efficientnet_b0",
            "padding": "symmetric",
            "every_stage": {"kernel_size": [3, 4]},
        },
        "needs odd kernels",
    ),
}


@pytest.mark.parametrize("name", BAD_SPACES)
def test_a_bad_space_is_refused_in_one_line(name, tmp_path):
    fields, message = BAD_SPACES[name]
    path = tmp_path / "space.json"
    path.write_text(json.dumps(fields))
    with pytest.raises(ValueError, match=message) as caught:
        spaces.get_space(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "cost", "expected"),
    [
        ("mnas", 100, 0.5),
        ("mnas", 200, 0.5 * 2**-0.07),
        ("mnas", 50, 0.5 * 2**0.07),
        ("mnas_hard", 50, 0.5),
        ("mnas_hard", 200, 0.25),
        ("abs", 150, 0.5 - 0.07 * 0.5),
        ("abs", 50, 0.5 - 0.07 * 0.5),
        ("front", 99, 0.5),
        ("front", 200, -2),
    ],
)
def test_rewards(kind, cost, expected):
    objective = objectives.Objective(100, kind)
    assert objective.reward(0.5, cost) == pytest.approx(expected)


def test_the_soft_reward_chooses_the_same_for_every_target():
    rows = [{"score": 0.5 + 0.1 * i, "cost": 10 * 4**i} for i in range(4)]
    for target in (1, 50, 5000):
        objective = objectives.Objective(target)
        rewards = [objective.reward(r["score"], r["cost"]) for r in rows]
        assert np.argmax(rewards) == 3
    text = objectives.Objective(1e6).warn(1.5e6)
    assert "50% above the target of 1 M multiply-adds" in text
    assert "cannot hit" in text
    assert objectives.Objective(1e6, "mnas_hard").warn(0.9e6) is None


def test_a_front_has_what_nothing_beats():
    points = [(1, 0.5), (2, 0.4), (2, 0.6), (3, 0.6), (4, 0.9)]
    rows = [{"cost": cost, "score": score} for cost, score in points]
    front = objectives.find_front(rows)
    assert [r["cost"] for r in front] == [1, 2, 4]


SIZES = (3, 2, 4, 3, 2)


def climb(name, number, seed=0):
    """Returns what a searcher asks where higher indices are better."""
    searcher = searchers.SEARCHERS[name](SIZES, seed=seed)
    asked = []
    for i in range(number):
        genotype, notes = searcher.ask(i)
        searcher.note(genotype)
        value = sum(genotype) / 10
        searcher.tell(genotype, (value, value, 0.5 + value), notes)
        asked.append(genotype)
    return asked


@pytest.mark.parametrize("name", searchers.SEARCHERS)
def test_searchers_repeat_themselves_by_their_seed(name):
    if name in searchers.OF_OPTUNA:
        pytest.importorskip("optuna")
    asked = climb(name, 45)
    assert asked == climb(name, 45)
    assert asked != climb(name, 45, seed=1)
    assert all(
        0 <= index < size
        for genotype in asked
        for index, size in zip(genotype, SIZES, strict=True)
    )


@pytest.mark.parametrize("name", ["evolution", "ppo"])
def test_searchers_learn_what_is_better(name):
    late = [sum(g) for seed in range(5) for g in climb(name, 70, seed)[40:]]
    early = [sum(g) for seed in range(5) for g in climb(name, 20, seed)]
    assert np.mean(late) > np.mean(early) + 0.8


def test_random_asks_nothing_twice():
    assert len(set(climb("random", 100))) == 100


def test_a_failure_is_recorded_and_the_search_goes_on(plan, scored, tmp_path):
    plans.start(plan, tmp_path)
    runs.work(plan, tmp_path, count)
    rows = runs.read_rows(plan, storages.Files(tmp_path))
    failed = [row for row in rows if "failed" in row]
    assert 0 < len(failed) < len(rows) == 8
    assert {row["failed"] for row in failed} == {"The loss is NaN."}
    best = flow.finish(plan, rows, [], tmp_path)
    assert best["score"] == max(row.get("score", 0) for row in rows)
    stored = json.loads((tmp_path / flow.FOUND_FILE).read_text())
    assert [s["kernel_size"] for s in stored["stages"]] == [
        s.kernel_size for s in plan.space.decode(best["genotype"]).stages
    ]
    text = (tmp_path / flow.REPORT_FILE).read_text()
    assert f"{plan.space.count():,} networks" in text


def test_a_search_resumes_as_if_it_had_not_stopped(plan, scored, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        plans.start(plan, folder)
    runs.work(plan, whole, count)
    runs.work(dataclasses.replace(plan, trials=3), parts, count)
    # A process that is killed leaves a candidate without an outcome.
    rows = files.read_json_lines(whole / storages.CANDIDATES_FILE)
    files.append_json_line(parts / storages.CANDIDATES_FILE, rows[3])
    runs.work(plan, parts, count)
    ends = [
        [
            (row["genotype"], row.get("score"))
            for row in runs.read_rows(plan, storages.Files(f))
        ]
        for f in (whole, parts)
    ]
    assert ends[0] == ends[1]
    assert runs.count(plan, storages.Files(parts)) == (8, 8)


def test_a_candidate_that_is_killed_again_and_again_fails(
    plan, scored, tmp_path
):
    plans.start(plan, tmp_path)
    row = {"number": 0, "genotype": (0,) * len(plan.sizes), "notes": {}}
    files.append_json_line(tmp_path / storages.CANDIDATES_FILE, row)
    for _ in range(trials.MAX_KILLS):
        attempt = {"number": 0, "count": 1}
        files.append_json_line(tmp_path / storages.ATTEMPTS_FILE, attempt)
    runs.work(dataclasses.replace(plan, trials=1), tmp_path, count)
    assert (
        "killed 3 times"
        in runs.read_rows(plan, storages.Files(tmp_path))[0]["failed"]
    )
    assert not scored


def test_what_another_process_tries_is_left_to_it(plan, scored, tmp_path):
    plans.start(plan, tmp_path)
    one = dataclasses.replace(plan, trials=2)
    row = {"number": 0, "genotype": (0,) * len(plan.sizes), "notes": {}}
    files.append_json_line(tmp_path / storages.CANDIDATES_FILE, row)
    held = workers.lock(tmp_path, "candidate00000")
    held.acquire()
    seen = []

    def end_it():
        seen.append(list(scored))
        held.release()

    runs.work(one, tmp_path, count, on_run=end_it)
    assert row["genotype"] not in seen[0]
    assert scored[-1] == row["genotype"]


def test_a_target_that_nothing_meets_names_the_nearest(plan):
    low = dataclasses.replace(plan, objective=objectives.Objective(1000))
    with pytest.raises(ValueError, match="nearest comes to (.*) M") as caught:
        plans.check_target(low, lambda v: plans.count(v)["multiply_adds"])
    # All kernels 3x3, and no squeeze-and-excitation.
    smallest = plan.space.decode((0,) * 14)
    least = costs.count_costs(smallest).multiply_adds
    assert f"{least / 1e6:.4g} M" in str(caught.value)


@pytest.mark.parametrize(
    ("searcher", "kind", "message"),
    [
        ("evolutoin", "mnas", "Unknown searcher .*'evolution'"),
        ("ppo", "front", "has two objectives, and ppo takes one"),
        ("nsga2", "mnas", "choose --objective=front"),
    ],
)
def test_searchers_that_do_not_fit(searcher, kind, message):
    with pytest.raises(ValueError, match=message):
        searchers.check(searcher, kind)


def test_naswot_is_the_determinant_of_what_images_share():
    # Of 4 units two images share 4 with themselves and 1 with one another.
    codes = [np.array([[1, 1], [1, 0]]) > 0, np.array([[1, 0], [0, 1]]) > 0]
    assert proxies.score_codes(codes) == pytest.approx(np.log(16 - 1))
    with pytest.raises(FloatingPointError, match="alike"):
        proxies.score_codes([np.ones((2, 3), bool)])


@pytest.fixture(scope="module")
def table():
    if not BENCHMARK.exists():
        pytest.skip("needs NAS-Bench-Macro in ../shared")
    return tabular.read(BENCHMARK)


def test_networks_of_the_benchmark_have_its_number_of_parameters(table):
    for key in ("22212220", "10002101"):
        genotype = tuple(map(int, key))
        network = tabular.build(genotype)
        counted = sum(np.prod(w.shape) for w in network.trainable_variables)
        assert counted == table.params[table.index[genotype]]


def test_evolution_and_ppo_beat_random_on_the_benchmark(table):
    # 92.17 % is the best mean of three trainings within 50 million.
    assert table.best(50e6) == pytest.approx(0.9217, abs=5e-5)
    regrets = contest.compare(
        ("random", "evolution", "ppo"), table, 50e6, runs=40, evaluations=200
    )
    rows = contest.summarize(regrets)
    assert rows[0]["regret_200"] == pytest.approx(0.0045, abs=0.001)
    for row in rows[1:]:
        assert row["regret_200"] < rows[0]["regret_200"]
        assert row["p"] < 0.05


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{}", "must have 6,561 networks, not 0"),
        (b"[1]", "must hold a JSON object"),
        (b"{", "is not JSON"),
    ],
)
def test_a_file_that_is_no_benchmark_is_refused(content, message, tmp_path):
    path = tmp_path / "table.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        tabular.read(path)
    with pytest.raises(ValueError, match="no .xz file|cut off"):
        packed = tmp_path / "table.json.xz"
        packed.write_bytes(content)
        tabular.read(packed)
