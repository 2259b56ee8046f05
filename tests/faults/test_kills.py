"""Work that is killed at random moments ends as if nothing had happened."""

import json
import os
import subprocess
import sys

import pytest

import paths

SCRIPT = paths.ROOT / "tests/support/kills.py"


def _campaign(folder, kills, *kinds):
    """Prints and returns the lines of a campaign."""
    seed = os.environ.get("EFFICIENTNET_TF_SEED", "0")
    done = subprocess.run(
        [sys.executable, SCRIPT, folder, str(kills), seed, *kinds],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    print(f"Seed {seed}.", done.stdout, sep="\n")
    return [json.loads(line) for line in done.stdout.splitlines()]


def _check(lines, kills):
    for line in lines:
        assert line["whole_code"] == 0, line
        assert line["bad_codes"] == [], line
        assert line["different"] == [], line
    assert sum(line["kills"] for line in lines) >= kills


def test_ten_kills_of_a_small_run_lose_nothing(tmp_path):
    _check(_campaign(tmp_path, 10, "line"), 10)


@pytest.mark.nightly
def test_a_hundred_kills_of_every_kind_of_work_lose_nothing(tmp_path):
    lines = _campaign(tmp_path, 100)
    assert len(lines) == 6
    _check(lines, 100)
