"""Each measurement is made once per machine and conditions, then read."""

import dataclasses
import json

import pytest

from efficientnet_tf.measure import cache, jobs
from efficientnet_tf.models import registry


@pytest.fixture
def bench(tmp_path):
    return cache.Bench(cache=str(tmp_path / "cache" / "m.jsonl"))


@pytest.fixture
def runs(monkeypatch):
    """Records what would be measured, without measuring."""
    found = []

    def run_apart(function, job):
        found.append((function.__name__, job))
        return {"latency_p50_ms": float(len(found))}

    monkeypatch.setattr(jobs, "run_apart", run_apart)
    return found


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"percentile": 90}, "Unknown percentile 90; choose one of 50, 95, 99"),
        ({"precision": "int8"}, "Unknown precision 'int8'"),
        ({"backend": "torch"}, "Unknown backend 'torch'"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"batches": 0}, "batches must be at least 1"),
    ],
)
def test_a_bench_that_makes_no_sense_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        cache.Bench(**fields)


def test_the_default_file_is_in_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("EFFICIENTNET_TF_CACHE", str(tmp_path))
    assert cache.Bench().path == tmp_path / cache.CACHE_FILE


def test_the_same_measurement_is_made_once(bench, runs):
    job = bench.job("efficientnet_b0", 224)
    for _ in range(2):
        found = cache.measure("measure_latency", job, bench)
        assert found == {"latency_p50_ms": 1.0}
    assert runs == [("measure_latency", job)]


def test_other_conditions_and_machines_are_measured_anew(
    bench, runs, monkeypatch
):
    def measure(part="measure_latency", **fields):
        job = jobs.Job("efficientnet_b0", **fields)
        return cache.measure(part, job, bench)["latency_p50_ms"]

    assert [
        measure(),
        measure(resolution=160),
        measure(batch_size=8),
        measure(precision="mixed_bfloat16"),
        measure("measure_training_memory"),
    ] == [1, 2, 3, 4, 5]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert measure() == 6
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert measure() == 1


def test_a_file_that_changes_is_another_network(bench, runs, tmp_path):
    path = tmp_path / "network.json"
    for width in (0.5, 0.25, 0.5):
        path.write_text(json.dumps({"base": "mobilenet_v1", "width": width}))
        job = bench.job(str(path), 64)
        cache.measure("measure_latency", job, bench)
    assert len(runs) == 2


def test_each_one_is_kept_before_the_next_begins(bench, runs, monkeypatch):
    cache.measure("measure_latency", bench.job("mobilenet_v1", 64), bench)

    def interrupt(function, job):
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "run_apart", interrupt)
    other = bench.job("mobilenet_v2", 64)
    with pytest.raises(KeyboardInterrupt):
        cache.measure("measure_latency", other, bench)
    (line,) = bench.path.read_text().splitlines()
    kept = json.loads(line)
    network = dataclasses.asdict(registry.get_variant("mobilenet_v1"))
    expected = {**network, "resolution": 64}
    assert kept["network"] == json.loads(json.dumps(expected))
    assert kept["measured"] == {"latency_p50_ms": 1.0}


def test_a_torn_last_line_is_measured_again(bench, runs):
    job = bench.job("mobilenet_v1", 64)
    cache.measure("measure_latency", job, bench)
    bench.path.write_text(bench.path.read_text()[:-20])
    cache.measure("measure_latency", job, bench)
    assert len(runs) == 2
    cache.measure("measure_latency", job, bench)
    assert len(runs) == 2


def test_a_failure_is_not_kept(bench, monkeypatch):
    def fail(function, job):
        raise RuntimeError("measure_latency failed: killed.")

    monkeypatch.setattr(jobs, "run_apart", fail)
    with pytest.raises(RuntimeError, match="killed"):
        cache.measure("measure_latency", bench.job("mobilenet_v1", 64), bench)
    assert not bench.path.exists()


def test_a_small_network_is_really_measured(bench):
    few = cache.Bench(cache=bench.cache, batches=2, batch_size=2)
    job = few.job("mobilenet_v1", 32)
    found = cache.measure("measure_latency", job, few)
    assert 0 < found["latency_p50_ms"] <= found["latency_p99_ms"]
    assert found == cache.measure("measure_latency", job, few)
