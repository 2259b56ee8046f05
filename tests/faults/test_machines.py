"""Other machines of a run that die or hang; they are processes here."""

import json
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

import paths

TRAIN = paths.ROOT / "tests/support/interrupted_train.py"


@pytest.fixture
def start():
    """A function that starts a Python program; all are killed in the end."""
    started = []

    def start(*arguments, **options):
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)], text=True, **options
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def flags(tmp_path, make_folder):
    """Those of a long run of the smallest network."""
    images = make_folder(tmp_path / "images", {"a": 40, "b": 40}, 32)
    return [
        f"--dataset=folder:{images}",
        "--eval_split=test",
        "--recipe=smoke",
        f"--workdir={tmp_path}/run",
        *("--set=epochs=1000", "--set=batch_size=8"),
        "--set=checkpoint_minutes=60",
    ]


def _steps(folder):
    return [int(p.name[5:]) for p in folder.glob("run/checkpoints/step_*")]


def _wait_for_steps(process, folder, more_than=0):
    while process.poll() is None and max(_steps(folder), default=0) <= (
        more_than
    ):
        time.sleep(0.2)
    assert process.poll() is None, process.communicate()[1]


def _start_service(start):
    """Returns an address and the only worker."""
    script = paths.SCRIPTS / "data_service.py"
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    dispatcher = start(script, "--role=dispatcher", **quiet)
    address = json.loads(dispatcher.stdout.readline())["address"]
    host = address.removeprefix("grpc://")
    worker = start(script, "--role=worker", f"--dispatcher={host}", **quiet)
    worker.stdout.readline()
    return address, worker, dispatcher


@pytest.mark.nightly
@pytest.mark.parametrize("victim", ["worker", "dispatcher"])
@pytest.mark.parametrize(
    ("how", "code"), [("limit", 75), ("SIGTERM", 75), ("SIGINT", 130)]
)
def test_a_run_without_its_data_service_says_so_saves_and_ends(
    start, flags, tmp_path, victim, how, code
):
    address, worker, dispatcher = _start_service(start)
    limit = 25 if how == "limit" else 600
    run = start(
        TRAIN,
        *("never", "0", *flags, "--strategy=none"),
        *(f"--data_service={address}", f"--input_wait_seconds={limit}"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    _wait_for_steps(run, tmp_path)
    {"worker": worker, "dispatcher": dispatcher}[victim].kill()
    if how != "limit":
        while "No batch for" not in run.stderr.readline():
            pass
        begin = time.monotonic()
        run.send_signal(getattr(signal, how))
    _, err = run.communicate(timeout=120)
    assert run.returncode == code, err
    if how == "limit":
        assert re.search(r"No batch for 2\d s: the data service at grpc", err)
    else:
        assert time.monotonic() - begin < 10
    step = int(re.search(r"Saved after step (\d+)\.", err)[1])
    assert max(_steps(tmp_path)) == step


@pytest.mark.nightly
@pytest.mark.parametrize(
    "how", ["hang@1", "SIGSTOP@1", "SIGSTOP@0", "SIGKILL@1", "SIGKILL@parent"]
)
def test_workers_of_one_run_end_together_and_the_next_start_goes_on(
    start, flags, tmp_path, how
):
    launcher = paths.SCRIPTS / "launch_local.py"

    def launch(how):
        return start(
            *(launcher, "--workers=2", "--", TRAIN, how, "12", *flags),
            "--strategy=multi_worker",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    run = launch(how)
    _wait_for_steps(run, tmp_path)
    begin = time.monotonic()
    run.communicate(timeout=90)
    assert run.returncode
    while _list_processes(tmp_path) and time.monotonic() - begin < 90:
        time.sleep(0.2)
    assert not _list_processes(tmp_path)
    # The epoch's rest before the fault, the fault and its end.
    assert time.monotonic() - begin < 90
    again = launch("never")
    _wait_for_steps(again, tmp_path, max(_steps(tmp_path)))
    again.send_signal(signal.SIGTERM)
    again.communicate(timeout=90)
    assert again.returncode == 75


def _list_processes(folder):
    """Returns the processes that have a folder in their command line."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"--workdir={folder}/".encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found
