"""Opens strangers' HDF5 files: what is in the file itself, within limits."""

import contextlib
import io
import math
import os
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
    import h5py

    if isinstance(file, io.BytesIO):
        size = file.getbuffer().nbytes
    else:
        size = untrusted.check_file(file)
    with untrusted.reading(path), h5py.File(file, "r") as root:
        items = dict(_walk(root, path))
        sets = [item for item in items.values() if is_dataset(item)]
        for each in sets:
            _check_inside(each, path)
        claimed = sum(map(_count_bytes, sets))
        untrusted.check_claim(claimed, path, size)
        yield root, items


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
