"""Who is at a run: one process at a time works in its folder."""

import contextlib
import errno
import os
import pathlib
import socket
import time
from collections.abc import Iterator

import filelock
from absl import logging

from efficientnet_tf.utils import documents, files, untrusted

LOCK_FILE = "run.lock"
# Beside the lock, because opening that may empty it: who has it.
HOLDER_FILE = "run.lock.json"

# File systems that know no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class InUse(RuntimeError):
    """Another process works in a run's folder."""


@contextlib.contextmanager
def hold(workdir: str | os.PathLike, begun: str = "") -> Iterator[None]:
    """Keeps others out of a run's folder, which is made if need be.

    The system drops the lock when the process ends, however that happens. On
    NFS the server has it, for all machines; where a folder is mounted without
    locks (`nolock`), it holds on one machine only, and a file system without
    any is named in a warning.

    Args:
      workdir: the folder; if it is empty afterwards, it is removed.
      begun: the file that a run has from its beginning on; without it the
        lock's file goes, too.

    Raises:
      InUse: another process has it; says which.
      OSError: the folder cannot be made or written to.
    """
    workdir = pathlib.Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(workdir / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise InUse(
            f"{workdir} is in use by {_describe_holder(workdir)}; wait until "
            "it has ended, or choose another workdir."
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        logging.warning(
            "%s cannot be locked (%s): see to it that only one process works "
            "there.",
            workdir,
            error.strerror,
        )
    try:
        if lock.is_locked:
            files.write_json(workdir / HOLDER_FILE, _describe_self())
        yield
    finally:
        # The folder may be gone, or its disk.
        with contextlib.suppress(OSError):
            files.remove(workdir / HOLDER_FILE)
            if not (begun and (workdir / begun).exists()):
                files.remove(workdir / LOCK_FILE)
        lock.release()
        with contextlib.suppress(OSError):
            workdir.rmdir()


def _describe_self():
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _describe_holder(workdir):
    try:
        found = documents.read_object(workdir / HOLDER_FILE, {})
        return "process {pid} on {host} since {since}".format(**found)
    # It has only just begun.
    except (OSError, untrusted.DamagedError, KeyError):
        return "another process"
