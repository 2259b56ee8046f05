import json
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import pytest

import paths

LAUNCHER = paths.SCRIPTS / "launch_local.py"

# What the programs of all tests begin with.
HEADER = """
import json, os, signal, sys, time
config = json.loads(os.environ["TF_CONFIG"])
me = config["task"]["index"]
def say(text, stream=sys.stdout):
    print(text, file=stream, flush=True)
"""


@pytest.fixture
def start(tmp_path):
    """A function that starts the launcher on a program for each worker."""
    started = []

    def start(program, *arguments, flags=("--workers=2",)):
        path = tmp_path / "program.py"
        path.write_text(HEADER + textwrap.dedent(program))
        command = [sys.executable, LAUNCHER, *flags, "--", path, *arguments]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def finish(process):
    """Returns exit code, standard output and standard error."""
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def wait_for(path):
    for _ in range(600):
        if path.exists():
            return
        time.sleep(0.05)
    raise TimeoutError(path)


def is_alive(pid):
    """Whether a process runs; one that ended may wait for its parent."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


def test_each_worker_knows_all_addresses_and_its_own_place(start):
    code, out, err = finish(
        start(
            "say(json.dumps([config, sys.argv[1:]]))",
            "--an=argument",
            "--",
            "last",
            flags=("--workers=3",),
        )
    )
    assert code == 0, err
    lines = [out.strip(), *sorted(err.splitlines())]
    lines = [lines[0]] + [
        line.removeprefix(f"[worker {i}] ")
        for i, line in enumerate(lines[1:], start=1)
    ]
    found = [json.loads(line) for line in lines]
    addresses = found[0][0]["cluster"]["worker"]
    assert len(set(addresses)) == 3
    for index, (config, arguments) in enumerate(found):
        assert config["cluster"] == {"worker": addresses}
        assert config["task"] == {"type": "worker", "index": index}
        assert arguments == ["--an=argument", "--", "last"]


def test_only_worker_0_writes_to_standard_output(start):
    code, out, err = finish(
        start("say(f'out {me}'); say(f'err {me}', sys.stderr)")
    )
    assert code == 0
    assert out == "out 0\n"
    assert sorted(err.splitlines()) == [
        "[worker 1] err 1",
        "[worker 1] out 1",
        "err 0",
    ]


@pytest.mark.parametrize(
    ("death", "code"),
    [("sys.exit(7)", 7), ("os.kill(os.getpid(), signal.SIGKILL)", 137)],
)
@pytest.mark.parametrize("victim", [0, 1])
def test_when_one_dies_all_end_with_its_error_and_code(
    start, death, code, victim
):
    begin = time.monotonic()
    found, _, err = finish(
        start(
            f"""
            if me == {victim}:
                say("what went wrong", sys.stderr)
                {death}
            time.sleep(120)
            """
        )
    )
    assert time.monotonic() - begin < 60
    assert found == code
    assert "what went wrong" in err
    assert f"worker {victim} ended with code {code}; ending the others." in err


def test_one_that_is_done_does_not_end_the_others(start):
    code, out, _ = finish(
        start(
            """
            if me == 0:
                time.sleep(1)
                say("done")
            """
        )
    )
    assert (code, out) == (0, "done\n")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signals_reach_every_worker_and_their_code_comes_back(
    start, tmp_path, signum
):
    process = start(
        """
        def stop(signum, frame):
            say(f"{me} got {signum}")
            time.sleep(0.5)
            say(f"{me} saved")
            sys.exit(75)

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        open(f"{sys.argv[1]}/ready{me}", "w").close()
        time.sleep(120)
        """,
        tmp_path,
    )
    for index in range(2):
        wait_for(tmp_path / f"ready{index}")
    process.send_signal(signum)
    code, out, err = finish(process)
    assert code == 75
    assert out == f"0 got {signum:d}\n0 saved\n"
    # The launcher may say in between that worker 0 has ended.
    theirs = [
        line for line in err.splitlines() if line.startswith("[worker 1]")
    ]
    expected = [f"[worker 1] 1 {what}" for what in (f"got {signum:d}", "saved")]
    assert theirs == expected


def test_one_that_does_not_end_is_killed(start, tmp_path):
    process = start(
        """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open(f"{sys.argv[1]}/{me}.part", "w").write(str(os.getpid()))
        os.rename(f"{sys.argv[1]}/{me}.part", f"{sys.argv[1]}/{me}.pid")
        time.sleep(120)
        """,
        tmp_path,
        flags=("--workers=2", "--grace_seconds=1"),
    )
    pids = []
    for index in range(2):
        wait_for(tmp_path / f"{index}.pid")
        pids.append(int((tmp_path / f"{index}.pid").read_text()))
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == 137
    assert not any(map(is_alive, pids))


def test_no_worker_outlives_a_launcher_that_is_killed(start, tmp_path):
    process = start(
        """
        open(f"{sys.argv[1]}/{me}.part", "w").write(str(os.getpid()))
        os.rename(f"{sys.argv[1]}/{me}.part", f"{sys.argv[1]}/{me}.pid")
        time.sleep(120)
        """,
        tmp_path,
    )
    pids = []
    for index in range(2):
        wait_for(tmp_path / f"{index}.pid")
        pids.append(int((tmp_path / f"{index}.pid").read_text()))
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, pids))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers=2"], "Nothing to run"),
        (["--workers=0", "--", "x.py"], "workers"),
        (["--grace_seconds=nan", "--", "x.py"], "--grace_seconds=nan must be"),
        (["--grace_seconds=inf", "--", "x.py"], "--grace_seconds=inf must be"),
        (["--grace_seconds=-1", "--", "x.py"], "--grace_seconds=-1.0 must be"),
    ],
)
def test_nonsense_is_refused_in_one_line(arguments, message):
    result = subprocess.run(
        [sys.executable, LAUNCHER, *arguments], capture_output=True, text=True
    )
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
