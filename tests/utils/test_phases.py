"""Seconds by phase, each counted once, and how a report shows them."""

import math

import pytest

from efficientnet_tf.utils import phases
from transfer.report import run_about


@pytest.fixture
def clock(monkeypatch):
    """A clock whose time is set by hand."""
    now = [100.0]
    monkeypatch.setattr(phases.time, "perf_counter", lambda: now[0])
    return now


def test_a_phase_inside_another_is_not_part_of_it(clock):
    with phases.recording(began=96.0, begin=100.0) as found:
        clock[0] += 1
        with phases.during(phases.STEPS):
            clock[0] += 10
            with phases.during(phases.SAVING):
                clock[0] += 2
            clock[0] += 5
            phases.current().move(3, phases.DECODING)
    assert found.seconds == {
        phases.IMPORT: 4.0,
        phases.OTHER: 1.0,
        phases.STEPS: 12.0,
        phases.SAVING: 2.0,
        phases.DECODING: 3.0,
    }
    assert phases.current() is None


@pytest.mark.parametrize(
    "row,text",
    [
        ({"steps": 90.0, "saving": 5.0}, "training steps 1 min 30 s, saving"),
        ({"steps": 0.0}, ""),
        ({"steps": math.inf, "saving": -1.0, "other": math.nan}, ""),
        ({"steps": "long", "unknown": 3.0}, ""),
        ({}, ""),
    ],
)
def test_a_report_names_the_longest_first_and_bears_what_is_no_time(row, text):
    shown = run_about._describe_phases(row)
    assert shown.startswith(text) and bool(shown) == bool(text)
