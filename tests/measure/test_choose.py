"""Choosing: what is measured and chosen, and the message if nothing fits."""

import json
import subprocess
import sys

import pytest

import paths
from efficientnet_tf.measure import cache, choose as choose_lib
from efficientnet_tf.models import costs, published, variants


class Clock:
    """Replaces measuring: derives milliseconds and megabytes from the costs."""

    def __init__(self, failing=()):
        self.calls = []
        self.failing = failing

    def __call__(self, part, job, bench):
        self.calls.append((part, job.model, job.size))
        if job.model in self.failing:
            raise RuntimeError(f"{part} failed: out of memory.")
        billions = costs.count_costs(job.model, job.size).multiply_adds / 1e9
        return {
            **{f"latency_p{p}_ms": (1 + p / 100) * billions for p in (50, 95)},
            "training_memory_mb": 1000 * billions,
        }


@pytest.fixture
def bench(tmp_path):
    return cache.Bench(cache=str(tmp_path / "cache.jsonl"))


def survey(bench, clock=None, candidates=None, **limits):
    limits = choose_lib.Limits(**limits)
    candidates = candidates or choose_lib.published_candidates()
    rows = choose_lib.survey(candidates, limits, bench, clock or Clock())
    return {row["label"]: row for row in rows}, limits


def choose(rows, limits):
    return choose_lib.choose(list(rows.values()), limits)["label"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "at least one of max_params, max_latency_ms, max_memory"),
        ({"min_top1": 80.0}, "at least one of max_params"),
        ({"max_params": -1.0}, "max_params must be above 0, got -1.0"),
        ({"max_latency_ms": float("nan")}, "max_latency_ms must be above 0"),
        ({"max_memory": 1.0, "min_top1": 100.0}, "in percent, below 100"),
    ],
)
def test_limits_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        choose_lib.Limits(**fields)


def test_candidates_are_what_is_published():
    found = choose_lib.published_candidates()
    top1 = {(c.model, c.resolution): c.top1 for c in found}
    for name, row in published.VARIANTS.items():
        assert top1.pop((name, variants.VARIANTS[name].resolution)) == row.top1
    # Table 7: B0 with larger images only.
    assert top1 == {("efficientnet_b0", 448): 79.1}


@pytest.mark.parametrize(
    ("limits", "label"),
    [
        # B0 has 5.3, Lite1 5.4, Lite2 6.1 million; B0 also has 79.1 at 448.
        ({"max_params": 5.0e6}, "Lite0"),
        ({"max_params": 6.0e6}, "B0 at 448"),
        ({"max_params": 8.0e6}, "B1"),  # As accurate, but faster.
        ({"max_params": 1e9}, "V2-L"),
        # 1.5 ms a billion: B2 has 0.99, V2-B1 1.20, B3 1.83 of them.
        ({"max_latency_ms": 2.0}, "B2"),
        # As accurate as Lite3, which has 1.38.
        ({"max_latency_ms": 2.2, "max_params": 9e6}, "V2-B1"),
        ({"max_latency_ms": 2.8, "min_top1": 81.0}, "B3"),
        # Lite2 has 0.86 billion and 77.6 %, B1 0.69 and 79.1.
        ({"max_memory": 900.0}, "B1"),
    ],
)
def test_the_most_accurate_within_the_limits_is_chosen(bench, limits, label):
    assert choose(*survey(bench, **limits)) == label


def test_nothing_is_measured_for_what_is_counted(bench):
    clock = Clock()
    survey(bench, clock, max_params=6e6)
    assert clock.calls == []


def test_what_cannot_fit_is_not_measured_and_the_rest_cheapest_first(bench):
    clock = Clock()
    rows, _ = survey(bench, clock, max_latency_ms=1.0, max_params=7e6)
    # B1 has too many parameters, Lite1 0.9 ms, Lite2 1.3 ms; what is larger
    # than Lite2, or B0 at 448 pixels with 2.3 ms, cannot be faster.
    assert [call[1:] for call in clock.calls] == [
        ("efficientnet_lite0", 224),
        ("efficientnet_b0", 224),
        ("efficientnet_lite1", 240),
        ("efficientnet_lite2", 260),
        ("efficientnet_b0", 448),
    ]
    assert rows["B1"]["note"] == "parameters 7,794,184 of 7,000,000"
    assert rows["B1"]["latency_ms"] is None
    assert rows["Lite2"]["verdict"] == "over"
    clock = Clock()
    rows, _ = survey(bench, clock, max_latency_ms=1.0)
    assert rows["Lite4"]["verdict"] == rows["B7"]["verdict"] == "skipped"
    assert rows["Lite4"]["note"] == "no smaller than Lite2"
    assert rows["B7"]["note"] == "no smaller than B1"
    assert ("measure_latency", "efficientnet_b2", 260) not in clock.calls


def test_only_what_has_a_limit_is_measured(bench):
    clock = Clock()
    rows, _ = survey(bench, clock, max_memory=500.0)
    assert {part for part, *_ in clock.calls} == {"measure_training_memory"}
    assert rows["Lite0"]["memory_mb"] == pytest.approx(384.7, rel=0.01)
    assert rows["Lite0"]["latency_ms"] is None


def test_the_percentile_of_latency_is_the_bench_s(tmp_path):
    slow = cache.Bench(cache=str(tmp_path / "c.jsonl"), percentile=95)
    rows, _ = survey(slow, max_latency_ms=10.0)
    found = rows["B0"]["latency_ms"] / rows["B0"]["multiply_adds"] * 1e9
    assert found == pytest.approx(1.95)


def test_the_front_is_of_what_is_known(bench):
    rows, _ = survey(bench, max_latency_ms=2.0)
    front = [label for label, row in rows.items() if row["on_front"]]
    # B1 is faster than Lite2 and more accurate; so is B2 than Lite3. The last
    # three are measured too, and over the limit; V2-M contains V2-S.
    assert front == ["Lite0", "B0", "B1", "B2", "V2-B2", "B3", "V2-S"]
    assert (
        rows["V2-M"]["note"] == rows["V2-L"]["note"] == "no smaller than V2-S"
    )


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (
            {"max_params": 1e6},
            "The nearest is efficientnet_lite0 at 224 pixels: parameters "
            "4,652,008 of 1,000,000.",
        ),
        (
            {"max_latency_ms": 0.4},
            "nearest is efficientnet_lite0 at 224 pixels: latency 0.6 ms of "
            "0.4 ms.",
        ),
        # B1's 1.03 ms are nearer to 0.95 than B0's error of 22.9 to 21.
        (
            {"max_latency_ms": 0.95, "min_top1": 79.0},
            "nearest is efficientnet_b1 at 240 pixels: latency 1.0 ms of "
            "0.95 ms, top-1 79.1 of 79.",
        ),
        # Lite0 is measured; of what has too many parameters no more is known.
        (
            {"max_params": 5e6, "max_latency_ms": 0.1},
            "nearest is efficientnet_lite0 at 224 pixels: parameters "
            "4,652,008 of 5,000,000, latency 0.6 ms of 0.1 ms.",
        ),
    ],
)
def test_limits_that_nothing_meets_name_the_nearest(bench, limits, message):
    rows, limits = survey(bench, **limits)
    with pytest.raises(RuntimeError, match="No network meets") as caught:
        choose(rows, limits)
    assert message in str(caught.value)


def test_what_fails_is_told_and_the_rest_goes_on(bench):
    rows, limits = survey(bench, Clock(["efficientnet_b1"]), max_latency_ms=2.0)
    assert rows["B1"]["verdict"] == "failed"
    assert "out of memory" in rows["B1"]["note"]
    assert choose(rows, limits) == "B2"
    broken = Clock(variants.VARIANTS)
    rows, limits = survey(bench, broken, max_latency_ms=2.0, max_params=9e6)
    with pytest.raises(RuntimeError, match="Nothing could be measured: .*out"):
        choose(rows, limits)


def row(model="efficientnet_b0", mean=0.9, **fields):
    return {"task": "digits", "model": model, "mean": mean, **fields}


def test_own_results_give_accuracy_resolution_and_classes():
    rows = [
        row(mean=0.91, resolution=160),
        row(mean=0.93, resolution=160, recipe="full"),
        row(mean=0.95, resolution=224, class_names=["a", "b"]),
        row("efficientnet_lite0", 0.5),
        row("efficientnet_lite0", 0.99, evaluated_on="validation"),
    ]
    found = choose_lib.own_candidates(rows)
    assert sorted((c.label, c.top1, c.classes) for c in found) == [
        ("B0", 95.0, 2),
        ("B0 at 160", 93.0, 1000),
        ("Lite0", 50.0, 1000),
    ]


def test_own_results_count_the_classifier_of_their_classes(bench):
    candidates = choose_lib.own_candidates([row(class_names=["a", "b"])])
    rows, _ = survey(bench, candidates=candidates, max_params=5e6)
    # B0's 5,288,548 less 998 rows of 1,280 weights and an offset.
    assert rows["B0"]["params"] == 5_288_548 - 998 * 1281
    assert rows["B0"]["verdict"] == "meets"


def test_results_of_other_networks_and_files_are_candidates(tmp_path):
    path = tmp_path / "phi1.json"
    path.write_text('{"base": "efficientnet_b0", "width": 0.5}')
    found = choose_lib.own_candidates([row("resnet50"), row(str(path))])
    assert {c.model for c in found} == {"resnet50", str(path)}
    assert {c.label for c in found} == {"Resnet50", "phi1"}


@pytest.mark.parametrize(
    ("rows", "task", "message"),
    [
        (
            [row(), {**row(), "task": "pets"}],
            None,
            "several tasks; choose one of digits, pets",
        ),
        ([row()], "pets", "No results of task 'pets'; choose one of digits"),
        (
            [row("resnet18")],
            None,
            "Unknown model 'resnet18'; did you mean 'resnet50'",
        ),
    ],
)
def test_results_that_do_not_say_what_counts_are_refused(rows, task, message):
    with pytest.raises(ValueError, match=message):
        choose_lib.own_candidates(rows, task)


# name: (arguments, exit code, what the last line says)
SCRIPT = {
    "no limit": ([], 2, "Give at least one of max_params"),
    "negative": (["--max_params=-5"], 2, "max_params must be above 0"),
    "mistyped": (["--max_latency_ms=fast"], 2, "fast"),
    "percentile": (
        ["--max_latency_ms=60", "--percentile=90"],
        2,
        "Unknown percentile 90; choose one of 50, 95, 99",
    ),
    "precision": (
        ["--max_latency_ms=60", "--precision=int8"],
        2,
        "Unknown precision 'int8'",
    ),
    "no results": (
        ["--max_params=1e7", "--results={tmp}/none.jsonl"],
        1,
        "none.jsonl",
    ),
    "task alone": (["--max_params=1e7", "--task=digits"], 2, "--results"),
    "output": (["--max_params=1e7", "--output={tmp}/a.txt"], 2, "end in .png"),
    "no such network": (
        ["--max_params=1e6"],
        1,
        "The nearest is efficientnet_lite0 at 224 pixels: parameters 4,652,008",
    ),
    "good": (["--max_params=6e6"], 0, '"model": "efficientnet_b0"'),
    "own": (
        ["--max_params=6e6", "--results={tmp}/rows.jsonl"],
        0,
        '"label": "Lite0 at 64", "top1": 95.0',
    ),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    tmp = tmp_path_factory.mktemp("choose")
    result = {"task": "digits", "model": "efficientnet_lite0", "seed": 0}
    result |= {"recipe": "full", "metric": "top1", "score": 0.95}
    result |= {"resolution": 64}
    (tmp / "rows.jsonl").write_text(json.dumps(result) + "\n")
    cases = {}
    for name, (arguments, *_) in SCRIPT.items():
        arguments = [part.replace("{tmp}", str(tmp)) for part in arguments]
        places = [f"--output={tmp / name}.png", f"--cache={tmp}/cache.jsonl"]
        cases[name] = ["choose", *places, *arguments]
    (tmp / "cases.json").write_text(json.dumps(cases))
    subprocess.run(
        [
            sys.executable,
            paths.SUPPORT / "command_cases.py",
            tmp / "cases.json",
            tmp / "results.json",
        ],
        check=True,
    )
    return json.loads((tmp / "results.json").read_text())


@pytest.mark.parametrize("name", SCRIPT)
def test_the_script_ends_in_one_line_and_its_exit_code(results, name):
    _, code, message = SCRIPT[name]
    found, stdout, stderr = results[name]
    assert found == code, stderr
    assert "Traceback" not in stderr
    stream = stderr if code else stdout
    assert message in stream.splitlines()[-1]
    if not code:
        assert json.loads(stdout.splitlines()[-1])["verdict"] == "meets"
