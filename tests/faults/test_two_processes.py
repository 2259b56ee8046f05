"""Two processes in one run's folder: the second says who has it, and stops."""

import json
import os
import signal
import subprocess
import sys

import pytest

from efficientnet_tf.utils import files, run_folder, run_lock, workers

HOLDER = (
    "import sys, time\n"
    "from efficientnet_tf.utils import files, run_lock\n"
    "with run_lock.hold(sys.argv[1]):\n"
    "    files.write_text(sys.argv[1] + '/config.json', '{}')\n"
    "    print('ready', flush=True)\n"
    "    time.sleep(60)\n"
)


@pytest.fixture
def other(tmp_path):
    """A process that works in tmp_path/run."""
    path = tmp_path / "run"
    command = [sys.executable, "-c", HOLDER, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def test_the_second_says_who_has_it_and_may_go_on_after_a_kill(other, tmp_path):
    path, row = tmp_path / "run", {"score": 0.5}
    for _ in range(2):
        with (
            pytest.raises(run_lock.InUse) as caught,
            run_folder.working_on(path, {}),
        ):
            raise AssertionError
        assert str(caught.value).startswith(
            f"{path} is in use by process {other.pid} on {os.uname().nodename} "
        )
    # Others of a study wait for it.
    busy = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "POLL_SECONDS", 0)
        patch.setattr(
            workers.time, "sleep", lambda _: busy.append(other.kill())
        )
        workers.work(tmp_path, {"run": path}, lambda _: _work(path, row))
    assert busy
    assert run_folder.last_result(path) == row
    assert not (path / run_lock.HOLDER_FILE).exists()


def _work(path, row):
    with run_folder.working_on(path, {}) as finished:
        assert finished is None
        holder = json.loads((path / run_lock.HOLDER_FILE).read_text())
        assert holder["pid"] == os.getpid()
        files.append_json_line(path / run_folder.RESULTS_FILE, row)


def test_a_run_that_another_has_ended_meanwhile_is_not_done_again(tmp_path):
    row = {"score": 0.5}
    _work(tmp_path, row)
    with run_folder.working_on(tmp_path, {}) as finished:
        assert finished == row


def test_a_folder_in_which_nothing_began_is_removed(tmp_path):
    with pytest.raises(RuntimeError), run_lock.hold(tmp_path / "new" / "run"):
        raise RuntimeError
    assert not (tmp_path / "new" / "run").exists()


def test_a_folder_that_vanishes_hides_no_error(tmp_path):
    with pytest.raises(ZeroDivisionError), run_lock.hold(tmp_path / "run"):
        files.remove(tmp_path / "run")
        raise ZeroDivisionError


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, caplog):
    def fail(*_, **__):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(run_lock.filelock.FileLock, "acquire", fail)
    with run_lock.hold(tmp_path / "run"):
        (tmp_path / "run" / "x").write_text("")
    (record,) = caplog.records
    assert "run cannot be locked (No locks available)" in record.message


def test_the_lock_goes_with_sigkill(other, tmp_path):
    other.send_signal(signal.SIGKILL)
    other.wait()
    with run_lock.hold(tmp_path / "run"):
        pass
