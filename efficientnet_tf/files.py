"""Writing files so that a reader never sees half of one."""

import contextlib
import json
import os
import pathlib
import shutil


@contextlib.contextmanager
def atomic(path):
    """Yields a temporary path beside `path`, renamed to it on success.

    The temporary path keeps the name's ending, which some writers look at.
    Works for a file and for a folder; on any error it is removed.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        yield temporary
        if temporary.is_dir() and path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except BaseException:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
        raise


def write_json(path, value):
    """Writes `value` as one JSON file, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n")


def append_json_line(path, value):
    """Appends one JSON line, after ending a torn last line if there is one."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    torn = path.exists() and not path.read_bytes().endswith(b"\n")
    with path.open("a") as file:
        if torn and file.tell():
            file.write("\n")
        file.write(json.dumps(value) + "\n")


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
