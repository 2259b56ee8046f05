"""Atomic writing: a reader sees a whole file or none."""

import contextlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator
from typing import Any

from absl import logging

# How the name of a data set begins that is a folder of class folders, or a
# folder of TFRecords.
FOLDER_PREFIX = "folder:"
RECORDS_PREFIX = "records:"

# How the names of unfinished files begin.
PREFIX = ".tmp-"


@contextlib.contextmanager
def atomic(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Yields a temporary path beside `path`, renamed to it on success.

    Works for a file and for a folder; on any error the temporary one is
    removed. It keeps the suffix of `path`, which some writers look at. The
    content is synced to disk before the rename, so that a power cut leaves no
    half-written file under the final name.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{PREFIX}{os.getpid()}-{path.name}")
    try:
        yield temporary
        _flush(temporary)
        if temporary.is_dir() and path.exists():
            # A folder cannot be replaced in one step; two renames keep the
            # time without one short.
            old = temporary.with_name(f"{temporary.name}.old")
            os.replace(path, old)
            os.replace(temporary, path)
            remove(old)
        else:
            os.replace(temporary, path)
        _sync(path.parent)
    except BaseException:
        remove(temporary)
        raise


def to_json_types(value: Any) -> Any:
    """Returns a value as it is in a JSON file: lists instead of tuples."""
    return json.loads(json.dumps(value))


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes `value` as one JSON file, atomically."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes `text` as one UTF-8 file, atomically."""
    write_bytes(path, text.encode())


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Writes `data` as one file, atomically."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def write_json_lines(path: str | os.PathLike, rows: Iterable[Any]) -> None:
    """Writes one line of JSON per row, atomically."""
    write_text(path, "".join(f"{json.dumps(row)}\n" for row in rows))


def append_json_line(path: str | os.PathLike, value: Any) -> None:
    """Appends one line of JSON.

    An incomplete last line, left by a killed process, is dropped.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        file.seek(0)
        tail = file.read().rpartition(b"\n")[2]
        line = json.dumps(value) + "\n"
        if _is_json(tail):
            line = "\n" + line
        elif tail:
            file.truncate(file.tell() - len(tail))
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def read_json_lines(path: str | os.PathLike) -> list[Any]:
    """Returns the objects of a JSON-lines file, less an incomplete last line.

    Raises:
      ValueError: a line before the last one is not JSON.
    """
    lines = pathlib.Path(path).read_text().splitlines()
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            if number < len(lines):
                raise ValueError(
                    f"{path}, line {number} is not JSON: {line[:60]!r}"
                ) from None
    return rows


def check_exists(folder: str | os.PathLike) -> None:
    """Raises OSError, with a name to the point, if a folder does not exist."""
    path = pathlib.Path(folder).expanduser()
    if path.is_file():
        raise NotADirectoryError(f"{path} is a file, not a folder.")
    if not path.is_dir():
        raise FileNotFoundError(f"There is no folder {path}.")


def check_folder(path: str | os.PathLike) -> None:
    """Raises OSError if `path` cannot be made or used as an output folder."""
    path = pathlib.Path(path).absolute()
    existing = next(p for p in (path, *path.parents) if p.exists())
    if not existing.is_dir():
        raise NotADirectoryError(f"{existing} is a file, not a folder.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise PermissionError(f"{existing} cannot be written to.")


def remove_leftovers(folder: str | os.PathLike) -> None:
    """Removes temporary files of `atomic` whose process was killed."""
    for path in pathlib.Path(folder).glob(f"{PREFIX}*"):
        remove(path)


def prune(folder: str | os.PathLike, limit: int) -> None:
    """Removes the least recently used files of a cache until it fits a limit.

    Args:
      folder: the cache; a file's modification time is when it was last used.
      limit: bytes that all files together may take.
    """
    found = []
    for path in pathlib.Path(folder).iterdir():
        # Another process may remove it first.
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            if path.is_file() and not path.name.startswith(PREFIX):
                found.append((status.st_mtime, status.st_size, path))
    total = 0
    for _, size, path in sorted(found, reverse=True):
        total += size
        if total > limit:
            logging.info("Removing %s from the cache.", path)
            with contextlib.suppress(PermissionError):  # Windows: in use.
                path.unlink(missing_ok=True)


def remove(path: pathlib.Path) -> None:
    """Removes a file or a folder if it exists."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def explain_error(error: object) -> str:
    """Returns an error's message; without a number, if the system raised it."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.strerror}: {error.filename}"
    return str(error)


def _is_json(text):
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _flush(path):
    """Syncs a file, or a folder with everything in it, to disk."""
    inside = path.rglob("*") if path.is_dir() else ()
    for each in (*inside, path):
        if each.exists():
            _sync(each)


def _sync(path):
    if os.name == "nt":
        return  # Windows syncs only files that are open for writing.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
