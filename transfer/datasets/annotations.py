"""Readers of the publishers' annotation formats, which name what is wrong."""

import contextlib
import csv
import io
import pathlib
import struct
import textwrap
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np

CIFAR_SHAPE = (3, 32, 32)  # Channel, row, column.
# The type of an element that is compressed, and what all may have unpacked;
# publishers' lists have a few megabytes.
MATLAB_COMPRESSED = 15
MATLAB_BYTES = 2**26


def read_cifar_rows(
    path: pathlib.Path, label_bytes: int
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Yields (labels, pixels [32, 32, 3]) of a binary CIFAR file.

    Raises:
      RuntimeError: the file does not hold whole images.
    """
    width = label_bytes + int(np.prod(CIFAR_SHAPE))
    values = np.fromfile(path, np.uint8)
    if len(values) % width:
        raise RuntimeError(
            f"{path} has {len(values):,} bytes, not {width:,} for each image. "
            "Is it complete?"
        )
    for row in values.reshape(-1, width):
        pixels = row[label_bytes:].reshape(CIFAR_SHAPE).transpose(1, 2, 0)
        yield row[:label_bytes].tolist(), pixels


def join(folder: pathlib.Path, name: str, place: str) -> pathlib.Path:
    """Returns the path of a file below a folder, by its name in a list.

    Raises:
      RuntimeError: it would be elsewhere, or is no name; `place` is named.
    """
    path = pathlib.PurePath(name)
    if path.anchor or ".." in path.parts or not path.parts or "\0" in name:
        raise RuntimeError(
            f"{place}: {name!r} is not the name of a file in {folder}."
        )
    return folder / path


def read_box(path: pathlib.Path) -> tuple[float, ...] | None:
    """Returns the box (x1, y1, x2, y2) of an XML annotation.

    None if there is no such file, as for test images.

    Raises:
      RuntimeError: the file has no box.
    """
    if not path.is_file():
        return None
    try:
        tree = ElementTree.parse(path)
        names = ("xmin", "ymin", "xmax", "ymax")
        ends = [tree.findtext(f"object/bndbox/{name}") for name in names]
        return tuple(float(end or "") for end in ends)
    # ValueError: also of an unknown encoding; LookupError of some.
    except (ElementTree.ParseError, ValueError, LookupError):
        raise RuntimeError(f"{path} has no bounding box.") from None


def load_column(path: pathlib.Path, name: str) -> np.ndarray:
    """Returns the rows [N] of a variable of a MATLAB file.

    Raises:
      RuntimeError: it is not a MATLAB file, has no such variable, or holds far
        more than a list.
    """
    import scipy.io

    _check_compressed(path)
    try:
        variables = scipy.io.loadmat(path, squeeze_me=True)
    except Exception as error:  # SciPy documents no exception to expect.
        raise RuntimeError(f"{path} is not a MATLAB file: {error}.") from None
    if name not in variables:
        raise RuntimeError(f"{path} has no variable {name!r}.")
    # `squeeze_me` makes a single row a scalar.
    return np.atleast_1d(variables[name])


def _check_compressed(path):
    """Raises RuntimeError if the elements of a MATLAB file unpack to too much.

    SciPy unpacks whatever there is: a gigabyte from a file of one megabyte.
    """
    data = path.read_bytes()
    order = ">" if data[126:128] == b"MI" else "<"
    place, total = 128, len(data)
    while place + 8 <= len(data) and total <= MATLAB_BYTES:
        kind, size = struct.unpack_from(f"{order}II", data, place)
        if kind == MATLAB_COMPRESSED:
            packed = data[place + 8 : place + 8 + size]
            with contextlib.suppress(zlib.error):  # SciPy says so.
                unpacked = zlib.decompressobj().decompress(packed, MATLAB_BYTES)
                total += len(unpacked)
        place += 8 + size
    if total > MATLAB_BYTES:
        raise RuntimeError(
            f"{path} holds more than {MATLAB_BYTES:,} bytes, far more than a "
            "list."
        )


def read_lines(path: pathlib.Path) -> list[tuple[int, str]]:
    """Returns [(number, text)] of the lines that are not empty.

    Raises:
      RuntimeError: the file is not UTF-8 text.
    """
    lines = _read_text(path).splitlines()
    numbered = [(n, line.strip()) for n, line in enumerate(lines, start=1)]
    return [(n, line) for n, line in numbered if line]


def read_table(
    path: pathlib.Path, columns: Sequence[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields (line number, row) of a tab-separated table with a header.

    Raises:
      RuntimeError: it is not UTF-8 text, the header or a line lacks some of the
        columns, or one is too long.
    """
    lines = io.StringIO(_read_text(path), newline="")
    reader = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    try:
        missing = [c for c in columns if c not in (reader.fieldnames or ())]
        if missing:
            raise RuntimeError(
                f"{path} has no column {', '.join(missing)} in its first line."
            )
        for row in reader:
            if None in (row[column] for column in columns):
                raise RuntimeError(
                    f"{path}, line {reader.line_num} has too few columns."
                )
            yield reader.line_num, row
    except csv.Error as error:
        raise RuntimeError(
            f"{path}, line {reader.line_num + 1}: {error}."
        ) from None


def _read_text(path):
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RuntimeError(f"{path} is not UTF-8 text: {error}.") from None


def number_names(
    path: pathlib.Path, names: Iterable[tuple[int, str]], kind: str
) -> dict[str, int]:
    """Returns {name: label}, labels being 0, 1, ... in the order of names.

    Args:
      path: the list, for messages.
      names: (line number, name) of each.
      kind: what they are names of, for messages.

    Raises:
      RuntimeError: a name is there twice.
    """
    labels: dict[str, int] = {}
    lines: dict[str, int] = {}
    for number, name in names:
        if name in labels:
            raise RuntimeError(
                f"{path}: the {kind} {name!r} is there twice, "
                f"as number {lines[name]} and {number}."
            )
        labels[name], lines[name] = len(labels), number
    return labels


def look_up(
    name: str, labels: Mapping[str, int], place: str, path: pathlib.Path
) -> int:
    """Returns the label of a name.

    Args:
      name: of a class.
      labels: {name: label}.
      place: where the name stands, for messages.
      path: the list of all classes, for messages.

    Raises:
      RuntimeError: the list does not have the name.
    """
    if name not in labels:
        raise RuntimeError(
            f"{place}: {name!r} is not one of the {len(labels)} {path.stem} of "
            f"{path.name}."
        )
    return labels[name]


def parse_label(value: Any, classes: int, place: str, *, first: int = 1) -> int:
    """Turns a publisher's class, counted from `first`, into a label from 0.

    Raises:
      RuntimeError: it is not one of so many classes; `place` is named.
    """
    last = first + classes - 1
    return parse_number(value, first, last, f"{place} has class") - first


def parse_number(value: Any, first: int, last: int, place: str) -> int:
    """Returns a number of a list, from `first` to `last`.

    Raises:
      RuntimeError: it is none of these; `place` is named.
    """
    text = str(value)
    # Python refuses to read a number of thousands of digits.
    known = text.isdecimal() and len(text) <= len(str(last))
    if not known or not first <= int(text) <= last:
        shown = textwrap.shorten(text, 40)
        raise RuntimeError(f"{place} {shown}, not {first} to {last}.")
    return int(text)


def take(row: Any, name: str, place: str) -> Any:
    """Returns a field of a row of a MATLAB structure, which must be a scalar.

    Raises:
      RuntimeError: there is no such field, or it holds several values.
    """
    if name not in (row.dtype.names or ()):
        raise RuntimeError(f"{place} has no field {name!r}.")
    if np.ndim(row[name]):
        raise RuntimeError(f"{place}: {name} is not one value.")
    return row[name]
