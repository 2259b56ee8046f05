"""Every reader on randomly damaged files, for as long as one likes.

    FUZZ_SECONDS=1800 bash scripts/test.sh -m nightly tests/faults/test_fuzz.py

A minute a kind by default. What it finds belongs into the other files of this
folder, as a function that makes it.
"""

import json
import os
import random
import subprocess
import sys

import pytest

import fuzz
import paths

SECONDS = os.environ.get("FUZZ_SECONDS", "60")


@pytest.mark.nightly
@pytest.mark.parametrize("kind", fuzz.DAMAGES)
def test_damaged_files_end_in_one_line(kind):
    seed = random.randrange(10**6)
    print(f"{kind}: seed {seed}")  # Shown where the test fails.
    # Another process: a damaged file may end it.
    found = subprocess.run(
        [sys.executable, paths.SUPPORT / "fuzz.py", kind, SECONDS, str(seed)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(paths.ROOT)},
    )
    print(found.stdout)
    assert found.returncode == 0
    row = json.loads(found.stdout.splitlines()[-1])
    # Damage was done, and was seen.
    assert row["cases"] > row["refused"] > 0


@pytest.mark.parametrize(
    "kind", [kind for kind in fuzz.DAMAGES if kind not in fuzz.EXPORTED]
)
def test_every_kind_is_damaged(kind, sound_files):
    noise = random.Random(0)
    sound = sound_files[kind].read_bytes()
    damaged = {fuzz.DAMAGES[kind](sound, noise) for _ in range(20)}
    assert len(damaged - {sound}) > 10


@pytest.fixture(scope="module")
def sound_files(tmp_path_factory):
    import hostile_files

    return hostile_files.make_all(tmp_path_factory.mktemp("sound"))


def test_a_trace_is_a_fault_and_a_line_with_the_name_is_none(tmp_path):
    path = tmp_path / "x.pth"
    assert fuzz.explain_fault(KeyError("x.pth"), path)
    assert fuzz.explain_fault(ValueError("broken"), path)
    assert fuzz.explain_fault(ValueError("x.pth\nis broken"), path)
    assert not fuzz.explain_fault(ValueError("x.pth is broken"), path)
