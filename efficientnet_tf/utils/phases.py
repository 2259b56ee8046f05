"""Where the time of a run goes: seconds by phase, each counted once.

A phase inside another one is not part of it: what is saved in the middle of the
steps is "saving".
"""

import contextlib
import contextvars
import time
from collections.abc import Iterator

IMPORT, READING, FEATURES = "import", "reading", "features"
TRACING, STEPS, DECODING = "tracing", "steps", "decoding"
EVALUATION, SAVING, OTHER = "evaluation", "saving", "other"

# What each is, in reports.
NAMES = {
    IMPORT: "loading programs",
    READING: "reading the data set's lists",
    FEATURES: "features and linear heads",
    TRACING: "up to the end of the first step",
    STEPS: "training steps",
    DECODING: "waiting for images",
    EVALUATION: "scoring",
    SAVING: "saving",
    OTHER: "other",
}


class Clock:
    """Adds up seconds by phase, from `begin` on by `time.perf_counter`."""

    def __init__(self, begin: float):
        self._seconds = dict.fromkeys(NAMES, 0.0)
        self._phases = [OTHER]
        self._last = begin

    @property
    def seconds(self) -> dict[str, float]:
        """The seconds so far of each phase that took any."""
        self._count()
        return {k: round(v, 2) for k, v in self._seconds.items() if v >= 0.005}

    def begin(self, phase: str) -> None:
        """Begins a phase within the current one."""
        self._count()
        self._phases.append(phase)

    def end(self) -> None:
        """Ends the current phase; the one around it goes on."""
        self._count()
        self._phases.pop()

    def turn(self, phase: str) -> None:
        """Ends the current phase, and begins another one in its place."""
        self._count()
        self._phases[-1] = phase

    def move(self, seconds: float, phase: str) -> None:
        """Counts some seconds of the current phase as another's."""
        self._count()
        current = self._phases[-1]
        seconds = min(seconds, self._seconds[current])
        self._seconds[current] -= seconds
        self._seconds[phase] += seconds

    def _count(self):
        now = time.perf_counter()
        self._seconds[self._phases[-1]] += now - self._last
        self._last = now


_clock: contextvars.ContextVar[Clock | None] = contextvars.ContextVar(
    "clock", default=None
)


def current() -> Clock | None:
    """Returns the clock of `recording`; None outside."""
    return _clock.get()


@contextlib.contextmanager
def recording(began: float, begin: float) -> Iterator[Clock]:
    """Yields a clock; what `began` before `begin` counts as `IMPORT`."""
    clock = Clock(min(began, begin))
    clock.move(begin - began, IMPORT)
    token = _clock.set(clock)
    try:
        yield clock
    finally:
        _clock.reset(token)


@contextlib.contextmanager
def during(phase: str) -> Iterator[None]:
    """Counts what is done within it, if a clock records."""
    clock = _clock.get()
    if clock is None:
        yield
        return
    clock.begin(phase)
    try:
        yield
    finally:
        clock.end()
