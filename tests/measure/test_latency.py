"""Measuring: rows, their conditions, and processes that fail."""

import csv
import dataclasses
import json
import subprocess
import sys

import pytest

import paths
from efficientnet_tf.measure import latency
from efficientnet_tf.models import published, registry, variants
from efficientnet_tf.training import memory


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "b0"}, "Unknown model 'b0'; choose one of efficientnet_b0"),
        ({"precision": "int8"}, "Unknown precision 'int8'.*mixed_bfloat16"),
        ({"backend": "torch"}, "Unknown backend 'torch'.*tensorflow, jax"),
        ({"resolution": 16}, "resolution=16 is below 32"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"batches": 0}, "batches must be at least 1, got 0"),
        ({"batch_size": "8"}, "batch_size.* must be of type int"),
    ],
)
def test_a_job_that_makes_no_sense_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        latency.Job(**{"model": "efficientnet_b0", **fields})


def test_every_published_variant_can_be_measured():
    assert set(published.VARIANTS) <= set(latency.names())
    assert set(variants.VARIANTS) <= set(latency.names())


def test_costs_stand_beside_the_published_ones():
    row = latency.count(latency.Job("efficientnet_lite0", batch_size=4))
    assert tuple(row) == latency.COLUMNS
    assert row["params_m"] == 4.652008
    assert row["published_params_m"] == 4.7
    assert row["multiply_adds_g"] == pytest.approx(0.385, rel=0.005)
    assert row["published_multiply_adds_g"] == 0.407
    assert row["published_top1"] == 75.1


def test_what_holds_at_one_resolution_is_not_shown_at_another():
    job = latency.Job("efficientnet_lite0", resolution=64)
    row = latency.count(job)
    assert row["resolution"] == 64
    assert row["published_params_m"] == 4.7
    assert row["published_multiply_adds_g"] is row["published_top1"] is None


def test_a_variant_file_is_a_network_as_well(tmp_path):
    path = tmp_path / "network.json"
    path.write_text('{"base": "efficientnet_b0", "width": 0.5}')
    row = latency.count(latency.Job(str(path), resolution=64))
    assert row["resolution"] == 64 and row["published_params_m"] is None
    network = dataclasses.replace(registry.get(path), resolution=64)
    costs = registry.count(network)
    assert row["params_m"] == costs.params / 1e6
    assert row["multiply_adds_g"] == costs.multiply_adds / 1e9


def test_activation_memory_follows_batch_and_precision():
    def memory(**fields):
        job = latency.Job("mobilenet_v1", resolution=32, **fields)
        return latency.count(job)["activation_memory_mb"]

    base = memory()
    assert memory(batch_size=6) == pytest.approx(6 * base)
    assert memory(precision="mixed_bfloat16") == pytest.approx(base / 2)


def test_a_table_leaves_out_what_no_row_has():
    row = dict.fromkeys(latency.COLUMNS)
    rows = [
        {**row, "model": "a", "params_m": 1.23456, "note": ""},
        {**row, "model": "longer", "latency_p50_ms": 2.0, "note": ""},
    ]
    lines = latency.as_table(rows).splitlines()
    assert lines[0].split() == ["model", "params_m", "latency_p50_ms"]
    assert lines[1].split() == ["a", "1.235", "-"]
    assert lines[2].split() == ["longer", "-", "2"]


def test_a_process_that_fails_says_why():
    job = latency.Job("efficientnet_b0")
    with pytest.raises(RuntimeError, match="as_table failed: .*Error"):
        latency.run_apart(latency.as_table, job)


def test_training_that_cannot_fit_is_not_tried(monkeypatch):
    monkeypatch.setattr(memory, "_proc_mb", lambda path, field: 1.0)
    job = latency.Job("mobilenet_v1", resolution=32)
    with pytest.raises(
        MemoryError, match="takes .* least, and this machine has 1;"
    ):
        latency.measure_training_memory(job)


def test_memory_is_in_millions_of_bytes(tmp_path):
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmHWM:\t  250000 kB\n")
    assert memory._proc_mb(status, "VmHWM") == 256.0


def test_the_script_checks_its_output_before_any_work(tmp_path):
    (tmp_path / "file").touch()
    done = subprocess.run(
        [
            sys.executable,
            paths.SCRIPTS / "measure.py",
            "--model=mobilenet_v1",
            "--table",
            f"--output={tmp_path}/file",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stdout == ""
    assert "is a file, not a folder" in done.stderr


def test_an_interrupt_loses_no_measured_row(tmp_path):
    program = f"""
import runpy, sys
sys.path.insert(0, "{paths.SCRIPTS}")
from efficientnet_tf.measure import latency
rows = []
def measure(job):
    if rows:
        raise KeyboardInterrupt
    rows.append(latency.count(job))
    return rows[0]
latency.measure = measure
runpy.run_path("{paths.SCRIPTS}/measure.py", run_name="__main__")
"""
    flags = ["--models=mobilenet_v1,resnet50", f"--output={tmp_path}"]
    done = subprocess.run(
        [sys.executable, "-c", program, *flags],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 130 and "Traceback" not in done.stderr
    assert "mobilenet_v1" in done.stdout and "resnet50" not in done.stdout
    assert "Interrupted; above is what was measured." in done.stderr
    assert not list(tmp_path.iterdir())  # Nor an older file overwritten.


def test_the_script_counts_layers_and_stages(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            paths.SCRIPTS / "measure.py",
            "--model=mobilenet_v1",
            "--resolution=32",
            "--table",
            f"--output={tmp_path}",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout.splitlines()[-1])["rows"]
    for name in ("layers", "stages"):
        with open(tmp_path / f"{name}.csv", newline="") as stream:
            parts = list(csv.DictReader(stream))
        total = sum(int(part["params"]) for part in parts)
        assert total / 1e6 == pytest.approx(row["params_m"])


def test_a_containers_limit_counts_where_it_is_less(tmp_path, monkeypatch):
    cost = registry.Cost(params=10**6, multiply_adds=0, activations=10**6)
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "LIMIT_FILE", str(limit))
    for text in (None, "max\n", "17000000\n"):
        if text:
            limit.write_text(text)
        memory.check_memory(cost, 1, "float32")  # 12 MB and 4.
    limit.write_text("15000000\n")
    with pytest.raises(MemoryError, match="takes 16 MB .* machine has 15;"):
        memory.check_memory(cost, 1, "float32")


@pytest.mark.slow
@pytest.mark.parametrize("backend", latency.BACKENDS)
def test_the_script_measures_prints_and_writes(tmp_path, backend):
    done = subprocess.run(
        [
            sys.executable,
            paths.SCRIPTS / "measure.py",
            "--model=mobilenet_v1",
            "--resolution=64",
            "--batch_size=16",
            "--batches=5",
            f"--backend={backend}",
            f"--output={tmp_path}",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout.splitlines()[-1])["rows"]
    assert row["note"] == ""
    assert row["backend"] == backend
    tail = [row[f"latency_p{p}_ms"] for p in latency.PERCENTILES]
    assert 0 < tail[0] <= tail[1] <= tail[2]
    rate = 1e3 * row["batch_size"] / row["latency_p50_ms"]
    assert row["images_per_second"] == pytest.approx(rate)
    # At least the weights, their gradients and momentum.
    grown = row["training_memory_mb"] - row["runtime_memory_mb"]
    assert grown > 3 * 4 * row["params_m"]
    with open(tmp_path / "costs.csv", newline="") as stream:
        (written,) = csv.DictReader(stream)
    assert float(written["params_m"]) == row["params_m"]
    assert (tmp_path / "measured.png").stat().st_size > 10_000
