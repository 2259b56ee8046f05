"""Reads what publishers write their annotations in, and names what is wrong."""

import csv
from xml.etree import ElementTree

import numpy as np

CIFAR_SHAPE = (3, 32, 32)  # Channel, row, column.


def read_cifar_rows(path, label_bytes):
    """Yields (labels, pixels [32, 32, 3]) of a file of CIFAR."""
    width = label_bytes + int(np.prod(CIFAR_SHAPE))
    values = np.fromfile(path, np.uint8)
    if len(values) % width:
        raise RuntimeError(
            f"{path} has {len(values):,} bytes, not {width:,} an image. Is it "
            "complete?"
        )
    for row in values.reshape(-1, width):
        pixels = row[label_bytes:].reshape(CIFAR_SHAPE).transpose(1, 2, 0)
        yield row[:label_bytes].tolist(), pixels


def read_box(path):
    """Returns the box of an XML annotation; None where there is none."""
    if not path.exists():
        return None  # Test images have none.
    try:
        box = ElementTree.parse(path).find("object/bndbox")
        names = ("xmin", "ymin", "xmax", "ymax")
        return tuple(float(box.find(name).text) for name in names)
    except (ElementTree.ParseError, AttributeError, TypeError, ValueError):
        raise RuntimeError(f"{path} has no box of an object.") from None


def load_column(path, name):
    """Returns the rows [N] of a variable of a MATLAB file.

    Raises:
      RuntimeError: it is no such file, or has no such variable.
    """
    import scipy.io

    try:
        variables = scipy.io.loadmat(path, squeeze_me=True)
    except Exception as error:  # SciPy raises whatever it trips over.
        raise RuntimeError(f"{path} is not a MATLAB file: {error}.") from None
    if name not in variables:
        raise RuntimeError(f"{path} has no variable {name!r}.")
    # A single row has been squeezed to a scalar.
    return np.atleast_1d(variables[name])


def read_lines(path):
    """Returns [(number, text)] of the lines that are not empty."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise RuntimeError(f"{path} is not UTF-8 text: {error}.") from None
    lines = [(n, line.strip()) for n, line in enumerate(lines, start=1)]
    return [(n, line) for n, line in lines if line]


def read_table(path, columns):
    """Yields (line number, row) of a tab-separated table with a header."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        missing = [c for c in columns if c not in (reader.fieldnames or ())]
        if missing:
            raise RuntimeError(
                f"{path} has no column {', '.join(missing)} in its first line."
            )
        for row in reader:
            if None in (row[column] for column in columns):
                raise RuntimeError(f"{path}, line {reader.line_num} is short.")
            yield reader.line_num, row


def number_names(path, names, kind):
    """Returns {name: label} of (line number, name); none may be there twice."""
    labels, lines = {}, {}
    for number, name in names:
        if name in labels:
            raise RuntimeError(
                f"{path}: the {kind} {name!r} is there twice, "
                f"as number {lines[name]} and {number}."
            )
        labels[name], lines[name] = len(labels), number
    return labels


def look_up(name, labels, place, path):
    """Returns the label of a name that a list `path` of the classes has."""
    if name not in labels:
        raise RuntimeError(
            f"{place}: {name!r} is not one of the {len(labels)} {path.stem} of "
            f"{path.name}."
        )
    return labels[name]


def parse_label(value, classes, place, *, first=1):
    """Turns a publisher's class, from `first` on, into a label from 0 on."""
    text, last = str(value), first + classes - 1
    if not text.isdecimal() or not first <= int(text) <= last:
        raise RuntimeError(f"{place} has class {text}, not {first} to {last}.")
    return int(text) - first
