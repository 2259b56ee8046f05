"""A PostgreSQL server of the tests' own, where one is installed."""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess

import pytest

USER, PASSWORD = "searcher", "s3cret@/word"


@contextlib.contextmanager
def running(folder: pathlib.Path):
    """Yields the port of a server with `USER` and `PASSWORD`, or skips."""
    pytest.importorskip("psycopg2")
    bin_folder = _find()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir(parents=True)
    (folder / "password").write_text(PASSWORD)
    runs_as: list[str] = []
    if os.getuid() == 0:  # It refuses to run as root.
        runs_as = ["runuser", "-u", "postgres", "--"]
        for place in (folder, folder / "password"):
            shutil.chown(place, "postgres")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -F"
    control = [*runs_as, bin_folder / "pg_ctl", "-D", folder / "data", "-w"]
    _call(
        [
            *(*runs_as, bin_folder / "initdb", "-D", folder / "data", "-N"),
            *("-U", USER, "-A", "scram-sha-256"),
            f"--pwfile={folder / 'password'}",
        ]
    )
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


def _call(command):
    subprocess.run(
        [str(part) for part in command],
        check=True,
        cwd="/",
        stdout=subprocess.DEVNULL,
    )
