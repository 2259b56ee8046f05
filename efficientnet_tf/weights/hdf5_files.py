"""Opens strangers' HDF5 files: what is in the file itself, within limits."""

import contextlib
import io
import math
import os
import pathlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from efficientnet_tf.utils import untrusted

# A network in a network in a network has about 12 levels, and L2 with its
# optimizer's state 10,000 items.
_MAX_DEPTH = 32
_MAX_ITEMS = 50_000
# Of an attribute with numbers.
_MAX_NUMBERS = 1000
# Processor time for all that is in a file: so much, and for these bytes one
# more; a file of 2 GB takes five.
_SECONDS = 6
_BYTES_A_SECOND = 50_000_000
# On the clock; only a disk that does not answer takes so long.
_MAX_SECONDS = 600
# Beyond the file and its arrays, at most so much is taken to read it: a damaged
# text may claim to be 4 GiB.
_SPARE_BYTES = 512 << 20
_TOO_LARGE = 3  # The exit code that says so.


@contextlib.contextmanager
def open_items(
    file: str | os.PathLike | io.BytesIO, path: str | os.PathLike
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Opens a file; yields its root, and {path: group or data set} in it.

    Links that lead elsewhere are left out. What all data sets claim is checked
    before anything is read. Whatever h5py raises on a damaged file in the block
    becomes a DamagedError as well.

    Args:
      file: the file, or its content.
      path: its name in messages.

    Raises:
      OSError: there is no such file, or it is no regular one.
      untrusted.DamagedError: the file is damaged, claims too much, or a data
        set is outside of it.
    """
    size = _count(file)
    seconds = _SECONDS + size // _BYTES_A_SECOND
    if isinstance(file, io.BytesIO):
        _try_apart("", path, seconds, file.getvalue())
    else:
        _try_apart(os.fspath(file), path, seconds)
    with _open_here(file, path, size) as found:
        yield found


@contextlib.contextmanager
def _open_here(file, path, size):
    import h5py

    with untrusted.reading(path), h5py.File(file, "r") as root:
        items = dict(_walk(root, path))
        sets = [item for item in items.values() if is_dataset(item)]
        for each in sets:
            _check_inside(each, path)
        claimed = sum(map(_count_bytes, sets))
        untrusted.check_claim(claimed, path, size)
        yield root, items


def read_everything(file: str | io.BytesIO) -> int:
    """Reads all that anybody may read of a file; errors are left to them.

    In a process of its own, see `_try_apart`, whose exit code it returns.
    """
    before, largest = _measure_peak(), 0
    with (
        contextlib.suppress(Exception),
        _open_here(file, "", _count(file)) as found,
    ):
        root, items = found
        sets = filter(is_dataset, items.values())
        largest = max(map(_count_bytes, sets), default=0)
        for item in (root, *items.values()):
            for name in item.attrs:
                with contextlib.suppress(Exception):
                    item.attrs[name]
            with contextlib.suppress(Exception):
                if is_dataset(item):
                    read_array(item)
    taken = _measure_peak() - before
    # An array that is compressed stands there twice.
    allowed = _count(file) + 2 * largest + _SPARE_BYTES
    return _TOO_LARGE if taken > allowed else 0


def _measure_peak():
    """Returns the most bytes that this process had; 0 where Linux is not.

    Not `ru_maxrss`, which a new process has from the one that started it.
    """
    try:
        status = pathlib.Path("/proc/self/status").read_text()
    except OSError:
        return 0
    (peak,) = re.findall(r"VmHWM:\s*(\d+) kB", status) or ["0"]
    return int(peak) << 10


def _count(file):
    """Returns a file's bytes."""
    if isinstance(file, io.BytesIO):
        return file.getbuffer().nbytes
    return untrusted.check_file(file)


def _try_apart(file, path, seconds, content=None):
    """Reads a file in another process first.

    Where bytes are damaged, HDF5's library may follow them to anywhere, and end
    the process, or in circles: a text of an attribute is enough.

    Args:
      seconds: of processor time, since other work may slow a sound file.
    """
    root = str(pathlib.Path(__file__).parents[2])
    found = os.environ.get("PYTHONPATH")
    is_over = False
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _LIMIT + _PROGRAM, str(seconds), file],
            input=content,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, (root, found))),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_MAX_SECONDS,
        )
        is_over = done.returncode == -_OUT_OF_TIME
    except subprocess.TimeoutExpired:
        seconds, is_over = _MAX_SECONDS, True
    if is_over:
        raise untrusted.DamagedError(
            f"{os.fspath(path)} takes more than {seconds} s to read; refused."
        )
    if done.returncode == _TOO_LARGE:
        raise untrusted.DamagedError(
            f"{os.fspath(path)} is damaged: reading it takes far more memory "
            "than its arrays; refused."
        )
    if done.returncode < 0:
        raise untrusted.DamagedError(
            f"{os.fspath(path)} is damaged: HDF5's library fails on it (signal "
            f"{-done.returncode})."
        )


# Windows has neither the limits nor the signal.
_OUT_OF_TIME = getattr(signal, "SIGXCPU", 0) or math.inf
_LIMIT = """
import sys
seconds = int(sys.argv[1])
try:
    import resource
except ImportError:
    pass
else:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
"""
_PROGRAM = """
import io
from efficientnet_tf.weights import hdf5_files
name = sys.argv[2]
content = name or io.BytesIO(sys.stdin.buffer.read())
sys.exit(hdf5_files.read_everything(content))
"""


def is_dataset(item: Any) -> bool:
    """Whether an item is an array, not a group or a named type."""
    import h5py

    return isinstance(item, h5py.Dataset)


def read_array(dataset: Any) -> np.ndarray:
    """Returns a data set of numbers.

    Raises:
      ValueError: it holds something else.
    """
    if dataset.dtype.kind not in "fiub":
        raise ValueError(f"{dataset.name} is not numeric")
    return np.asarray(dataset[()])


def read_text(item: Any, name: str) -> str | None:
    """Returns an attribute that is one text; None if there is none.

    Raises:
      ValueError: it is no text.
    """
    if name not in item.attrs:
        return None
    if math.prod(item.attrs.get_id(name).shape) != 1:
        raise ValueError(f"the attribute {name} is not a text")
    value = item.attrs[name]
    if isinstance(value, np.ndarray):
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode()
    if not isinstance(value, str):
        raise ValueError(f"the attribute {name} is not a text")
    value.encode()  # It may hold bytes that are no text.
    return str(value)


def read_numbers(item: Any, name: str) -> np.ndarray | None:
    """Returns an attribute of a few numbers; None if there is none.

    Raises:
      ValueError: it is something else.
    """
    if name not in item.attrs:
        return None
    stored = item.attrs.get_id(name)
    if stored.dtype.kind not in "fiu" or math.prod(stored.shape) > _MAX_NUMBERS:
        raise ValueError(f"the attribute {name} is not a few numbers")
    return np.asarray(item.attrs[name])


def _walk(root, path):
    """Yields (path, item) of all that hard links lead to."""
    import h5py

    waiting, found = [("", root)], 0
    while waiting:
        around, group = waiting.pop()
        for name in group:
            # Soft links are left out too: Keras writes none, and they may lead
            # anywhere, in a circle as well.
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            found += 1
            place = f"{around}{name}"
            if place.count("/") >= _MAX_DEPTH or found > _MAX_ITEMS:
                raise untrusted.DamagedError(
                    f"{os.fspath(path)} has more than {_MAX_DEPTH} groups "
                    f"within groups, or {_MAX_ITEMS:,} items; refused."
                )
            item = group[name]
            yield place, item
            if isinstance(item, h5py.Group):
                waiting.append((f"{place}/", item))


def _check_inside(dataset, path):
    if dataset.external or dataset.is_virtual:
        raise untrusted.DamagedError(
            f"{os.fspath(path)}: {dataset.name} points outside the file; "
            "refused."
        )


def _count_bytes(dataset):
    """Returns the memory that reading takes: the array, or a larger chunk."""
    # Not `nbytes`, whose product may overflow.
    shapes = [dataset.shape or (), dataset.chunks or ()]
    return max(map(math.prod, shapes)) * dataset.dtype.itemsize
