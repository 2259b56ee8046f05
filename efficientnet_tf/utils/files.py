"""Atomic writing: a reader sees a whole file or none."""

import contextlib
import functools
import hashlib
import json
import os
import pathlib
import shutil
import time
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from absl import logging

from efficientnet_tf.utils import untrusted

# How the names of unfinished files begin.
PREFIX = ".tmp-"
# An unfinished file that has not grown for so long is of a killed process.
STALE_SECONDS = 3600

NOTHING: Mapping[str, type] = types.MappingProxyType({})


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
    """Writes `text` as one UTF-8 file, atomically.

    Parts of file names that are in no encoding become escapes.
    """
    write_bytes(path, text.encode(errors="backslashreplace"))


def shorten_name(name: str, most: int = 180) -> str:
    """Returns a file's name of at most so many bytes: file systems have 255.

    A longer one keeps its beginning, and gets a digest of the whole.
    """
    data = os.fsencode(name)
    if len(data) <= most:
        return name
    digest = hashlib.sha256(data).hexdigest()[:16]
    return data[: most - 17].decode(errors="ignore") + f"-{digest}"


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


def read_json_lines(
    path: str | os.PathLike, needs: Mapping[str, type] = NOTHING
) -> list[dict[str, Any]]:
    """Returns the objects of a JSON-lines file.

    An incomplete last line, left by a killed process, is dropped; any other
    line that is no such object stays in the file and is named in a warning.

    Args:
      path: the file.
      needs: {field: type} of what each object must have; float: any number.

    Raises:
      OSError: it cannot be read, or is no regular file.
    """
    *whole, tail = read_bytes(path).split(b"\n")
    rows = []
    for number, line in enumerate([*whole, tail], start=1):
        if not line.strip():
            continue
        try:
            row = _parse(line)
        except ValueError:
            row = None
            if number > len(whole):
                break
        if isinstance(row, dict) and all(
            is_a(row.get(name), kind) for name, kind in needs.items()
        ):
            rows.append(row)
        else:
            _warn_of_line(str(path), number, line[:60])
    return rows


def read_bytes(path: str | os.PathLike) -> bytes:
    """Returns the content of a file.

    Raises:
      OSError: also for a pipe or a device, which could keep a reader waiting
        for ever.
    """
    with untrusted.open_file(path) as file:
        return file.read()


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

    What killed processes have left unfinished goes first.

    Args:
      folder: the cache; a file's modification time is when it was last used.
      limit: bytes that all files together may take.
    """
    found = []
    for path in pathlib.Path(folder).iterdir():
        # Another process may remove it first.
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            if path.name.startswith(PREFIX):
                if time.time() - status.st_mtime > STALE_SECONDS:
                    remove(path)
            elif path.is_file():
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


def _parse(data):
    """Returns the value of JSON in bytes; ValueError: it is none."""
    try:
        return json.loads(data.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _is_json(text):
    try:
        _parse(text)
    except ValueError:
        return False
    return True


def is_a(value: Any, kind: type) -> bool:
    """Whether a JSON value is of a type; float: any number."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


@functools.cache  # Once: files of running studies are read again and again.
def _warn_of_line(path, number, start):
    logging.warning(
        "%s, line %d is left out, it is not one of ours: %r",
        path,
        number,
        start.decode(errors="replace"),
    )


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
