"""Ends a command that waits in vain, and one that cannot obey a signal.

Python handles a signal only between two of its own instructions, so a main
thread that waits inside TensorFlow neither sees it nor can look at a clock.
This thread does both.
"""

import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from absl import logging

from efficientnet_tf.utils import waits

POLL_SECONDS = 0.25
# From a signal on: for a main thread that ends by itself, for one that waits
# for input, and after a second signal.
END_SECONDS, STUCK_SECONDS, SECOND_SECONDS = 6.0, 3.0, 1.5
# Within these, another signal is the same one: a launcher passes on what its
# workers get themselves, and Linux sends one for each thread of a dead parent.
ECHO_SECONDS = 0.5
# Without a batch, until a run is saved and ends.
INPUT_SECONDS = 600.0

# Called with the number of the batch that does not come, see `guarded`.
Save = Callable[[int | None], str | None]


class _State:
    """What the thread looks at; there is one, as there is one main thread."""

    def __init__(self) -> None:
        self.limit = INPUT_SECONDS
        self.signals: list[tuple[int, float]] = []
        self.save: Save | None = None
        self.patient = False
        self.leaving = False


_state = _State()


def start(report: Callable[[str], object], ends: Mapping[int, str]) -> None:
    """Starts the thread; call it once, in the main thread.

    Args:
      report: prints the line with which the process ends.
      ends: that line for each signal that ends the process.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    # Written to at once, whatever the main thread does.
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(
        target=_watch, args=(reader, writer, report, ends), daemon=True
    ).start()


def leave_signals_alone() -> None:
    """For a main thread that never waits outside of Python."""
    signal.set_wakeup_fd(-1)


def set_limit(seconds: float) -> None:
    """Sets how long this process waits for input."""
    _state.limit = seconds


@contextmanager
def guarded(save: Save | None = None) -> Iterator[None]:
    """Within it, a first signal lets the main thread end at its own time.

    Only a wait for input is cut short, by a signal or at the limit.

    Args:
      save: called then, in another thread, with the number of the batch of
        training that does not come, or None for another wait. Saves the run;
        returns what to say, or None if the main thread does not wait for this
        one.
    """
    before = _state.save, _state.patient
    _state.save, _state.patient = save, True
    try:
        yield
    finally:
        _state.save, _state.patient = before


def _watch(reader, writer, report, ends):
    while True:  # `writer` is an argument so that it stays open.
        if select.select([reader], [], [], POLL_SECONDS)[0]:
            now = time.monotonic()
            _state.signals += [(n, now) for n in reader.recv(64) if n in ends]
        if _state.signals:
            _obey(report, ends)
        for wait in waits.pending():
            _judge(wait, report)


def _obey(report, ends):
    """Ends the process if the main thread should have ended by now."""
    number, first = _state.signals[0]
    now = time.monotonic()
    again = [at for _, at in _state.signals if at - first > ECHO_SECONDS]
    if again and now - again[0] > SECOND_SECONDS:
        _end(report, ends[number], 128 + number)
    if not _state.patient:
        if now - first > END_SECONDS:
            _end(report, ends[number], 128 + number)
        return
    for wait in waits.pending():
        waited = now - max(first, wait.since)
        if wait.is_input and waited > STUCK_SECONDS:
            code = 128 + number if number == signal.SIGINT else wait.code
            _leave(wait, report, "", code)


def _judge(wait, report):
    """Says once that a wait is long; ends the process when it is too long."""
    limit = _state.limit if wait.limit is None else wait.limit
    if wait.seconds > limit:
        _leave(wait, report, f"{wait}. ", wait.code)
    elif wait.seconds > waits.NOTICE_SECONDS and not wait.noticed:
        wait.noticed = True
        logging.warning("%s; waiting up to %.0f s.", wait, limit)


def _leave(wait, report, reason, code):
    """Saves and ends the process, in a thread: a disk may hang as well."""
    if not _state.leaving:
        _state.leaving = True
        threading.Thread(
            target=_save_and_end,
            args=(wait, report, reason, code),
            daemon=True,
        ).start()


def _save_and_end(wait, report, reason, code):
    try:
        with waits.held() as pending:
            if not any(wait is each for each in pending):
                return  # It came at the last moment.
            saved: str | None = ""
            if _state.save is not None:
                saved = _state.save(wait.number)
            if saved is not None:
                line = f"{reason}{saved} Run the same command again to resume."
                _end(report, " ".join(line.split()), code)
    except OSError as error:
        _end(report, f"{reason}The run could not be saved: {error}", 1)
    finally:
        _state.leaving = False


def _end(report, line, code):
    report(line)
    sys.stdout.flush()
    # Not `sys.exit`, which would wait for the main thread.
    os._exit(code)
