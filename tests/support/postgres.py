"""A PostgreSQL server of the tests' own, where one is installed."""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile

import pytest

USER, PASSWORD = "searcher", "s3cret@/word"


@contextlib.contextmanager
def running():
    """Yields the port of a server with `USER` and `PASSWORD`, or skips."""
    pytest.importorskip("psycopg2")
    programs, runs_as = _find(), []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        password = folder / "password"
        password.write_text(PASSWORD)
        if os.getuid() == 0:  # It refuses to run as root.
            runs_as = ["runuser", "-u", "postgres", "--"]
            shutil.chown(folder, "postgres")
            shutil.chown(password, "postgres")
        data = ["-D", folder / "data"]
        access = ["-U", USER, "-A", "scram-sha-256", f"--pwfile={password}"]
        _call([*runs_as, programs / "initdb", *data, "-N", *access])
        control = [*runs_as, programs / "pg_ctl", *data, "-w"]
        port = _find_port()
        options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -F"
        _call([*control, "-l", folder / "log", "-o", options, "start"])
        try:
            yield port
        finally:
            _call([*control, "-m", "immediate", "stop"])


def _find():
    """Returns the folder of the server's programs."""
    places = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = shutil.which("initdb") or (places and places[-1])
    if not found:
        pytest.skip("needs a PostgreSQL server, and none is installed")
    if os.getuid() == 0 and not shutil.which("runuser"):
        pytest.skip("PostgreSQL does not run as root, and runuser is missing")
    return pathlib.Path(found).parent


def _find_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _call(command):
    subprocess.run(
        [str(part) for part in command],
        check=True,
        cwd="/",
        stdout=subprocess.DEVNULL,
    )
