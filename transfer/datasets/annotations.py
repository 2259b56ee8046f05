"""Readers of the publishers' annotation formats, which name what is wrong."""

import csv
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np

CIFAR_SHAPE = (3, 32, 32)  # Channel, row, column.


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


def read_box(path: pathlib.Path) -> tuple[float, ...] | None:
    """Returns the box (x1, y1, x2, y2) of an XML annotation.

    None if there is no such file, as for test images.

    Raises:
      RuntimeError: the file has no box.
    """
    if not path.exists():
        return None
    try:
        tree = ElementTree.parse(path)
        names = ("xmin", "ymin", "xmax", "ymax")
        ends = [tree.findtext(f"object/bndbox/{name}") for name in names]
        return tuple(float(end or "") for end in ends)
    except (ElementTree.ParseError, ValueError):
        raise RuntimeError(f"{path} has no bounding box.") from None


def load_column(path: pathlib.Path, name: str) -> np.ndarray:
    """Returns the rows [N] of a variable of a MATLAB file.

    Raises:
      RuntimeError: it is not a MATLAB file, or has no such variable.
    """
    import scipy.io

    try:
        variables = scipy.io.loadmat(path, squeeze_me=True)
    except Exception as error:  # SciPy documents no exception to expect.
        raise RuntimeError(f"{path} is not a MATLAB file: {error}.") from None
    if name not in variables:
        raise RuntimeError(f"{path} has no variable {name!r}.")
    # `squeeze_me` makes a single row a scalar.
    return np.atleast_1d(variables[name])


def read_lines(path: pathlib.Path) -> list[tuple[int, str]]:
    """Returns [(number, text)] of the lines that are not empty.

    Raises:
      RuntimeError: the file is not UTF-8 text.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise RuntimeError(f"{path} is not UTF-8 text: {error}.") from None
    numbered = [(n, line.strip()) for n, line in enumerate(lines, start=1)]
    return [(n, line) for n, line in numbered if line]


def read_table(
    path: pathlib.Path, columns: Sequence[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields (line number, row) of a tab-separated table with a header.

    Raises:
      RuntimeError: the header or a line lacks some of the columns.
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
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
    text, last = str(value), first + classes - 1
    if not text.isdecimal() or not first <= int(text) <= last:
        raise RuntimeError(f"{place} has class {text}, not {first} to {last}.")
    return int(text) - first
