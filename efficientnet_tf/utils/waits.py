"""What this process waits for that may never come: batches, other machines."""

import contextlib
import dataclasses
import itertools
import threading
import time
from collections.abc import Iterator

from absl import logging

# Seconds after which a wait is worth a line.
NOTICE_SECONDS = 20.0


@dataclasses.dataclass
class Wait:
    """One thing that is waited for.

    `missing` and `why` are the parts of "No batch for 30 s: the data service
    does not answer". `number` is the index of a batch of training, in its
    iterator. After `limit` seconds (None: that of the process) the process ends
    with the exit code `code`; a signal cuts a wait for input short.
    """

    missing: str
    why: str
    number: int | None = None
    limit: float | None = None
    code: int = 75  # EX_TEMPFAIL of sysexits.h: try again later.
    is_input: bool = True
    since: float = dataclasses.field(default_factory=time.monotonic)
    noticed: bool = False

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return time.monotonic() - self.since

    def __str__(self) -> str:
        return f"{self.missing} for {self.seconds:.0f} s: {self.why}"


_waits: dict[int, Wait] = {}
_keys = itertools.count()
_lock = threading.RLock()


def begin(missing: str, why: str, **fields: object) -> int:
    """Records that a wait begins, see `Wait`; returns its key for `end`."""
    key = next(_keys)
    with _lock:
        _waits[key] = Wait(missing, why, **fields)  # type: ignore[arg-type]
    return key


def end(key: int) -> None:
    """Records that what a wait was for has come; says so after a long one."""
    wait = _remove(key)
    if wait is not None and wait.noticed:
        logging.info("Going on after a wait of %.0f s.", wait.seconds)


def drop(key: int) -> None:
    """Forgets a wait that nobody waits for any more; it may have ended."""
    _remove(key)


@contextlib.contextmanager
def waiting(missing: str, why: str) -> Iterator[None]:
    """Records a wait for the time of a `with` block."""
    key = begin(missing, why)
    try:
        yield
    except BaseException:
        drop(key)
        raise
    end(key)


def pending() -> list[Wait]:
    """Returns the waits that have not ended, the longest one first."""
    with _lock:
        return list(_waits.values())


@contextlib.contextmanager
def held() -> Iterator[list[Wait]]:
    """Yields what is pending; none of it can end within the `with` block.

    A batch that comes late is not handed on before the block ends, so that the
    thread that waits for it stands still.
    """
    with _lock:
        yield list(_waits.values())


def _remove(key):
    with _lock:
        return _waits.pop(int(key), None)
