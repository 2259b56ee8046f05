"""The labels or the numbers of a table's rows, where they have no class."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from absl import logging

from efficientnet_tf.data.folders import class_checks, target_values
from efficientnet_tf.data.tables import csv_text
from efficientnet_tf.utils import configs, folder_options, targets, words

# {a cell of a column for one label: whether an image has it}
_MARKS = {"0": False, "1": True, "0.0": False, "1.0": True}
_MARKS |= {"false": False, "true": True, "no": False, "yes": True}


def find_columns(
    table: csv_text.Table, options: folder_options.Options
) -> dict[str, int]:
    """Returns {column: its place} of those that --labels or --targets names.

    Raises:
      ValueError: there is no such column.
    """
    found = {}
    written = [cell.strip() for cell in table.header]
    for name in (*options.labels, *options.targets):
        if name in written:
            found[name] = written.index(name)
        elif name.lower() in table.names:
            found[name] = table.names.index(name.lower())
        else:
            flag = "labels" if options.labels else "targets"
            raise ValueError(
                f"--{flag}: {table.path}: "
                + configs.unknown("column", name, written)
            )
    return found


def read(
    table: csv_text.Table,
    columns: Mapping[str, int],
    place: int | None,
    options: folder_options.Options,
    kept: Sequence[int],
) -> tuple[dict[int, str], target_values.Values]:
    """Returns a text for each row that is kept, and what the texts mean.

    Args:
      table: the table.
      columns: of `find_columns`.
      place: of the column of labels; None: there are `columns`.
      options: whether these are labels or numbers.
      kept: the numbers of the rows.

    Raises:
      RuntimeError: a cell is no number, or not 0 or 1; labels are spelled in
        several ways; no image has a label.
    """
    if place is not None:
        texts, values = _read_lists(table, place, kept)
    elif options.labels:
        texts, values = _read_marks(table, columns, kept)
    else:
        texts, values = _read_numbers(table, columns, kept)
    return dict(zip(kept, texts, strict=True)), values


def _read_lists(table, place, kept):
    cells = [table.rows[i][1][place] for i in kept]
    separator = target_values.find_separator(cells)
    rows = []
    for cell in cells:
        parts = cell.split(separator) if separator else [cell]
        rows.append([part.strip() for part in parts if part.strip()])
    name = table.header[place].strip()
    if not any(rows):
        raise RuntimeError(f"{table.path} has no label in the column {name}.")
    class_checks.check_spelling(table.path, (n for row in rows for n in row))
    logging.info(
        "%s: the column %s has %s; %s have none.",
        table.path,
        name,
        f"labels divided by {separator!r}" if separator else "one label a cell",
        words.count(sum(not row for row in rows), "image"),
    )
    return target_values.of_labels(rows)


def _read_marks(table, columns, kept):
    wrong, rows = [], []
    for i in kept:
        line, cells = table.rows[i]
        row = []
        for name, place in columns.items():
            mark = _MARKS.get(cells[place].strip().lower())
            if mark is None:
                wrong.append((line, name, cells[place].strip()))
            elif mark:
                row.append(name)
        rows.append(row)
    _check(table, wrong, "neither 0 nor 1")
    return target_values.of_labels(rows, tuple(columns))


def _read_numbers(table, columns, kept):
    wrong, rows = [], []
    for i in kept:
        line, cells = table.rows[i]
        row = [
            target_values.to_number(cells[p].strip()) for p in columns.values()
        ]
        for (name, place), value in zip(columns.items(), row, strict=True):
            if math.isnan(value):
                wrong.append((line, name, cells[place].strip()))
        rows.append(row)
    _check(table, wrong, "no finite number")
    return target_values.of_numbers(rows, tuple(columns))


def _check(table, wrong, what):
    if not wrong:
        return
    line, name, cell = wrong[0]
    raise RuntimeError(
        f"{table.path} has {what} in {words.count(len(wrong), 'cell')}, such "
        f"as line {line}, {name}: {cell!r}."
    )


def suit(
    path: str, options: folder_options.Options, outputs: targets.Outputs
) -> folder_options.Options:
    """Returns options that read from a table what a network answers with.

    Of numbers the columns of these names; of labels, too, if all are there.
    """
    names = tuple(outputs.names)
    if outputs.kind == targets.NUMBERS:
        return dataclasses.replace(options, targets=names)
    header = {cell.strip() for cell in csv_text.read(path).header}
    if outputs.kind == targets.LABELS and header.issuperset(names):
        return dataclasses.replace(options, labels=names)
    return options
