"""Where downloads and what is costly to compute are kept between runs."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import typing
import zipfile
from collections.abc import Mapping

from absl import logging

from efficientnet_tf.utils import files, zip_files

if typing.TYPE_CHECKING:
    import numpy as np

CACHE_VARIABLE = "EFFICIENTNET_TF_CACHE"
# Ends the names of files that could not be read.
DAMAGED = ".damaged"


@dataclasses.dataclass(frozen=True)
class Column:
    """What an array of a cache must be: NumPy's name of its type, and shape.

    An axis with a name has the same size in all columns.
    """

    dtype: str
    shape: tuple[int | str, ...]


def cache_dir() -> str:
    """Returns $EFFICIENTNET_TF_CACHE, or a folder in the user's cache."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return os.path.expanduser(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return os.path.join(os.path.expanduser(base), "efficientnet_tf")


def load_arrays(
    path: str | os.PathLike, columns: Mapping[str, Column]
) -> dict[str, np.ndarray]:
    """Returns arrays of an .npz file; {} if they cannot be had.

    A file that is damaged, or is none, is logged and set aside as
    "NAME.damaged": what it held has to be computed again.

    Args:
      path: a file of `save_arrays`.
      columns: {name: what must be there}.
    """
    path = pathlib.Path(path)
    try:
        if not path.is_file() and os.path.lexists(path):
            raise ValueError("it is no regular file")
        return read_arrays(path, columns)
    except FileNotFoundError:
        return {}
    # zipfile and NumPy raise a dozen kinds on damaged files.
    except Exception as error:
        logging.warning("Cannot read %s, computing it again: %s", path, error)
        with contextlib.suppress(OSError):
            os.replace(path, path.with_name(f"{path.name}{DAMAGED}"))
        return {}


def save_arrays(
    path: str | os.PathLike, arrays: Mapping[str, typing.Any], limit: int
) -> None:
    """Writes arrays as an .npz file, if possible.

    A disk that is full or read-only is logged: the cache only saves time.

    Args:
      path: the file, in a folder of its kind.
      arrays: {name: values}, none of them objects.
      limit: bytes that all files of the folder may take.
    """
    import numpy as np

    path = pathlib.Path(path)
    try:
        with files.atomic(path) as temporary:
            np.savez(temporary, **arrays)
        files.prune(path.parent, limit)
    except OSError as error:
        logging.warning("Cannot cache %s: %s", path, error)


def read_arrays(
    path: str | os.PathLike, columns: Mapping[str, Column]
) -> dict[str, np.ndarray]:
    """Returns arrays of an .npz file; raises anything if it is damaged.

    Not `np.load`, which makes room for whatever a header claims, and reads past
    no check sum where it says fewer bytes.
    """
    with zip_files.open_zip(path) as archive:
        members = archive.infolist()
        if any(m.compress_type != zipfile.ZIP_STORED for m in members):
            raise ValueError("it is compressed")
        if sum(m.file_size for m in members) > os.path.getsize(path):
            raise ValueError("its parts are larger than the file")
        damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"wrong check sum of {damaged}")
        sizes: dict[str, int] = {}
        return {
            name: _read_array(archive, name, column, sizes)
            for name, column in columns.items()
        }


def _read_array(archive, name, column, sizes):
    """Returns an array as its column says; `sizes` has named axes so far."""
    import numpy as np

    with archive.open(f"{name}.npy") as stream:
        np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0(stream)
        data = stream.read()
    shape, fortran_order, dtype = header
    wanted = tuple(
        sizes.setdefault(axis, found) if isinstance(axis, str) else axis
        for axis, found in zip(column.shape, shape, strict=True)
    )
    if dtype != column.dtype or shape != wanted or fortran_order:
        raise ValueError(f"{name} is {dtype} {shape}")
    # It checks that the bytes are as many.
    return np.frombuffer(data, dtype).reshape(shape)
