"""Runs shared by several processes, when one of them is killed."""

import signal
import subprocess
import sys
import textwrap
import time
import types

import pytest

import paths
from efficientnet_tf.utils import files, workers as workers_lib

RUNS = 6

# Does each run for a moment, and writes down who did it.
WORKER = textwrap.dedent(
    """
    import pathlib, sys, time
    from efficientnet_tf.utils import files, run_folder, workers

    workdir, me, first_seconds, number = sys.argv[1:]
    workdir = pathlib.Path(workdir)
    seconds = float(first_seconds)

    def do(name):
        global seconds
        files.append_json_line(workdir / "begun.jsonl", {"run": name, "by": me})
        time.sleep(seconds)
        seconds = 0.05
        path = workdir / name / run_folder.RESULTS_FILE
        files.append_json_line(path, {"by": me})

    workers.POLL_SECONDS = 0.05
    runs = {f"run{i}": workdir / f"run{i}" for i in range(int(number))}
    workers.work(workdir, runs, do)
    """
)


@pytest.fixture
def start(tmp_path):
    """Returns a function that starts a worker; all are killed in the end."""
    workers = []

    def start(me, first_seconds=0.05):
        command = [sys.executable, "-c", WORKER, tmp_path, me]
        command += [str(first_seconds), str(RUNS)]
        workers.append(subprocess.Popen(command, cwd=paths.ROOT))
        return workers[-1]

    yield start
    for worker in workers:
        worker.kill()
        worker.wait()


def _begun(tmp_path):
    path = tmp_path / "begun.jsonl"
    return files.read_json_lines(path) if path.exists() else []


def test_a_killed_workers_run_is_done_by_another_and_no_other_twice(
    start, tmp_path
):
    slow = start("slow", first_seconds=600)
    end = time.monotonic() + 60
    while not _begun(tmp_path):
        assert time.monotonic() < end and slow.poll() is None
        time.sleep(0.02)
    other = start("other")
    # The other does all but the one that is under way, and waits for it.
    while len(_begun(tmp_path)) < RUNS:
        assert time.monotonic() < end and other.poll() is None
        time.sleep(0.02)
    time.sleep(0.3)
    assert other.poll() is None
    slow.send_signal(signal.SIGKILL)
    assert other.wait(60) == 0
    begun = [row["run"] for row in _begun(tmp_path)]
    assert begun[0] == begun[-1] == "run0"
    assert sorted(begun[1:]) == [f"run{i}" for i in range(RUNS)]
    for i in range(RUNS):
        assert workers_lib.has_ended(tmp_path / f"run{i}")


def test_progress_says_how_long_the_rest_takes(monkeypatch):
    counts = iter([(2, 8), (4, 8)])
    seconds = iter([0.0, 600.0])
    lines = []
    monkeypatch.setattr(workers_lib.time, "monotonic", lambda: next(seconds))
    monkeypatch.setattr(
        workers_lib.logging,
        "info",
        lambda text, *rest: lines.append(text % rest),
    )
    workers_lib.Progress(lambda: next(counts)).show()
    assert lines == ["4 of 8 runs have ended; about 0 h 20 min are left."]


@pytest.mark.parametrize(
    ("chosen", "taken"),
    [("3,5", ["3", "5", "3"]), ("", ["", "", ""])],
)
def test_workers_take_turns_with_the_gpus(tmp_path, monkeypatch, chosen, taken):
    environments = []

    def start(command, env, **_):
        environments.append(dict(env))
        return types.SimpleNamespace(
            poll=lambda: 0, wait=lambda: 0, returncode=0
        )

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    monkeypatch.setattr(subprocess, "Popen", start)
    workers_lib.run_workers(tmp_path, 3, None)
    assert [e["CUDA_VISIBLE_DEVICES"] for e in environments] == taken
    assert {e["TF_FORCE_GPU_ALLOW_GROWTH"] for e in environments} == {"true"}
