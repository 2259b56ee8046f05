"""Writing files so that a reader never sees half of one."""

import contextlib
import json
import os
import pathlib
import shutil

from absl import logging

# Of the name of a data set that is a folder of class folders.
FOLDER_PREFIX = "folder:"
RECORDS_PREFIX = "records:"

# Of the names of files that are not complete yet.
PREFIX = ".tmp-"


@contextlib.contextmanager
def atomic(path):
    """Yields a temporary path beside `path`, renamed to it on success.

    The temporary path keeps the name's ending, which some writers look at.
    Works for a file and for a folder; on any error it is removed. What was
    written is on the disk before its name is, for the case of a power cut.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{PREFIX}{os.getpid()}-{path.name}")
    try:
        yield temporary
        _flush(temporary)
        if temporary.is_dir() and path.exists():
            # A folder cannot be replaced in one step; a rename leaves the
            # least time without either.
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


def to_json_types(value):
    """Returns a value as it comes back from a JSON file: lists for tuples."""
    return json.loads(json.dumps(value))


def write_json(path, value):
    """Writes `value` as one JSON file, whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_text(path, text):
    """Writes `text` as one UTF-8 file, whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path, data):
    """Writes `data` as one file, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def write_json_lines(path, rows):
    """Writes one JSON line a row, the file whole or not at all."""
    write_text(path, "".join(f"{json.dumps(row)}\n" for row in rows))


def append_json_line(path, value):
    """Appends one JSON line; a torn last line, left by a kill, is dropped."""
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


def read_json_lines(path):
    """Returns the objects of a JSON-lines file; a torn last line is left out.

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


def check_folder(path):
    """Raises OSError if `path` cannot become a folder to write into."""
    path = pathlib.Path(path).absolute()
    existing = next(p for p in (path, *path.parents) if p.exists())
    if not existing.is_dir():
        raise NotADirectoryError(f"{existing} is a file, not a folder.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise PermissionError(f"{existing} cannot be written to.")


def remove_leftovers(folder):
    """Removes what `atomic` left in a folder when its process was killed."""
    for path in pathlib.Path(folder).glob(f"{PREFIX}*"):
        remove(path)


def prune(folder, limit):
    """Removes the longest unused files of a cache, until it fits a limit.

    Args:
      folder: of files; their times of change say when they were last used.
      limit: bytes that all may take together.
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
            logging.info("Removing %s, long unused.", path)
            with contextlib.suppress(PermissionError):  # Windows: in use.
                path.unlink(missing_ok=True)


def remove(path):
    """Removes a file or a folder, there or not."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _is_json(text):
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _flush(path):
    """Waits until a file, or a folder with all in it, is on the disk."""
    inside = path.rglob("*") if path.is_dir() else ()
    for each in (*inside, path):
        if each.exists():
            _sync(each)


def _sync(path):
    if os.name == "nt":
        return  # Windows syncs only what is open for writing.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
