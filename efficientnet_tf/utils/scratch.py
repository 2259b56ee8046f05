"""Folders for unfinished work, on the disk where it will stand."""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator

import filelock

from efficientnet_tf.utils import files

_LOCK_FILE = "in_use.lock"
# What `filelock` raises on a file system without locks.
_NO_LOCKS = (OSError, NotImplementedError)


@contextlib.contextmanager
def make(parent: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a new folder in `parent`, removed afterwards.

    A killed process leaves its own behind: those whose lock nobody holds are
    removed first.
    """
    remove_abandoned(parent)
    with tempfile.TemporaryDirectory(dir=parent, prefix=files.PREFIX) as name:
        folder = pathlib.Path(name)
        lock = filelock.FileLock(folder / _LOCK_FILE)
        # On a file system without locks nothing is told to be abandoned.
        with contextlib.suppress(*_NO_LOCKS):
            lock.acquire()
        try:
            yield folder
        finally:
            lock.release()


def remove_abandoned(parent: str | os.PathLike) -> None:
    """Removes the folders of `make` whose process has ended."""
    for folder in pathlib.Path(parent).glob(f"{files.PREFIX}*"):
        if not (folder / _LOCK_FILE).is_file():
            continue
        lock = filelock.FileLock(folder / _LOCK_FILE)
        try:
            lock.acquire(timeout=0)
        except _NO_LOCKS:  # One is a timeout: somebody has it.
            continue
        lock.release()
        files.remove(folder)
