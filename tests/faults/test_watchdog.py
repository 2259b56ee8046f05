"""Commands that wait in vain end, in one line, whatever they wait for."""

import signal
import subprocess
import sys
import time

import pytest

import paths

SCRIPT = paths.ROOT / "tests/support/stuck.py"
AGAIN = "run the same command again to resume."


def _start(*arguments):
    process = subprocess.Popen(
        [sys.executable, SCRIPT, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def _finish(process):
    _, err = process.communicate(timeout=20)
    assert "Traceback" not in err
    return process.returncode, err.splitlines()


@pytest.mark.parametrize(
    ("how", "signum", "code", "line"),
    [
        ("plain", signal.SIGTERM, 143, f"Terminated; {AGAIN}"),
        ("plain", signal.SIGINT, 130, f"Interrupted; {AGAIN}"),
        ("input", signal.SIGTERM, 75, f"Saved before batch 7. R{AGAIN[1:]}"),
        ("input", signal.SIGINT, 130, f"Saved before batch 7. R{AGAIN[1:]}"),
    ],
)
def test_one_signal_ends_a_command_whose_main_thread_is_deaf(
    how, signum, code, line
):
    process = _start(how)
    process.send_signal(signum)
    found, lines = _finish(process)
    assert found == code
    assert lines[-1] == f"stuck.py: {line}"


def test_work_that_does_not_wait_for_input_ends_by_a_second_signal_only():
    process = _start("guarded")
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.5)
    process.send_signal(signal.SIGTERM)
    code, lines = _finish(process)
    assert (code, lines[-1]) == (143, f"stuck.py: Terminated; {AGAIN}")


def test_input_that_stands_still_gets_a_line_then_saves_and_ends():
    code, lines = _finish(_start("input", "--short"))
    assert code == 75
    assert lines == [
        "No batch for 0 s: the disk stands still; waiting up to 1 s.",
        "stuck.py: No batch for 1 s: the disk stands still. Saved before batch "
        f"7. R{AGAIN[1:]}",
    ]


@pytest.mark.parametrize("how", ["swallowed", "replaced"])
def test_a_signal_in_the_middle_of_a_save_decides_the_code(how):
    done = subprocess.run(
        [sys.executable, SCRIPT, how], capture_output=True, text=True
    )
    assert done.returncode == 143
    assert done.stderr == f"stuck.py: Terminated; {AGAIN}\n"


def test_a_process_ends_with_the_one_that_started_it(tmp_path):
    program = (
        "import subprocess, sys, time\n"
        "from efficientnet_tf.utils import children\n"
        "child = subprocess.Popen(children.tie([sys.executable, '-c',\n"
        "    'import time; print(1, flush=True); time.sleep(60)']))\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=paths.ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    pid, started = sorted(
        (int(parent.stdout.readline()) for _ in range(2)), reverse=True
    )
    assert started == 1
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while _is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_alive(pid)


def _is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
