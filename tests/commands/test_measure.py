"""The script measures, counts and writes; an interrupt loses nothing."""

import csv
import json
import subprocess
import sys

import pytest

import paths
from efficientnet_tf.measure import jobs, latency


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
from efficientnet_tf.measure import cost_table
rows = []
def measure(job):
    if rows:
        raise KeyboardInterrupt
    rows.append(cost_table.count_costs(job))
    return rows[0]
cost_table.measure_costs = measure
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
    row = json.loads(done.stdout.splitlines()[-1])
    for name in ("layers", "stages"):
        with open(tmp_path / f"{name}.csv", newline="") as stream:
            parts = list(csv.DictReader(stream))
        total = sum(int(part["params"]) for part in parts)
        assert total / 1e6 == pytest.approx(row["params_m"])


@pytest.mark.slow
@pytest.mark.parametrize("backend", jobs.BACKENDS)
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
    row = json.loads(done.stdout.splitlines()[-1])
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
