"""Images with labels in a table: "csv:FILE"."""

import collections
import math
import os
import pathlib
import unicodedata
from collections.abc import Sequence

from absl import logging

from efficientnet_tf.data.folders import (
    class_checks,
    folder_names,
    folder_walk,
    layouts,
)
from efficientnet_tf.data.tables import (
    csv_columns,
    csv_targets,
    csv_text,
    group_files,
)
from efficientnet_tf.utils import folder_options, words

_REPEATED = "rows that repeat another"
_UNLABELLED = "images of an unlabelled split"
_VALUE = "value of "


def read(
    path: str | os.PathLike,
    options: folder_options.Options = folder_options.DEFAULT,
) -> layouts.Layout:
    """Reads a table of images: path and label, perhaps split, group, weight.

    Paths are relative to the table's folder. See `csv_columns` for the names of
    columns.

    Args:
      path: the table.
      options: which columns are labels or numbers.

    Raises:
      OSError: there is no such file.
      ValueError: it is no table, see `csv_text.read`; or it lacks a column.
      RuntimeError: its rows cannot be used; the message names the first ones.
    """
    table = csv_text.read(path)
    wanted = csv_targets.find_columns(table, options)
    columns = csv_columns.find(table, wanted.values())
    _check_lengths(table)
    root = table.path.parent
    rows = _Rows(table, columns, wanted)
    files = _find_files(table, root, rows)
    left_out = folder_walk.LeftOut(root)
    kept = rows.drop_repeated(files, left_out)
    splits = _find_splits(table, rows, columns)
    kept = _drop_unlabelled(rows, splits, files, kept, left_out)
    if not kept:
        raise RuntimeError(f"{table.path} has no row with a label.")
    names, values = _find_texts(rows, kept, (columns, wanted), options)
    listed: dict[str | None, layouts.Classes] = {}
    for i in kept:
        classes = listed.setdefault(splits[i], {})
        classes.setdefault(names[i], []).append(files[i])
    how = "" if None in listed else f"column {_name(table, columns['split'])}"
    return layouts.Layout(
        str(table.path),
        root,
        listed,
        dict.fromkeys(listed, how),
        left_out,
        sort=layouts.sort_labels,
        groups={
            files[i]: group
            for i, group in zip(kept, rows.pick("group", kept), strict=False)
            if group
        },
        weights=_find_weights(table, rows, files, kept),
        how_to_split="rows of a column split with",
        values=values,
    )


def _find_texts(rows, kept, places, options):
    """Returns {row: its class, or a text for it}, and what texts mean."""
    columns, wanted = places
    table = rows.table
    values = None
    if "label" in columns:
        names = _find_names(table, rows, kept)
    else:
        names, values = csv_targets.read(
            table, wanted, columns.get("labels"), options, kept
        )
    used = (*columns.values(), *wanted.values())
    unused = csv_columns.list_unused(table, used)
    if unused:
        logging.info(
            "%s: not used: the columns %s.", table.path, ", ".join(unused)
        )
    return names, values


class _Rows:
    """The rows of a table by role, and how messages name them."""

    def __init__(self, table, columns, wanted):
        self.lines = [line for line, _ in table.rows]
        self._places = columns
        self._cells = {
            role: [row[place] for _, row in table.rows]
            for role, place in columns.items()
        }
        # Of labels or numbers: by their own names, which may be roles.
        self._targets = {
            f"{_VALUE}{name}": [row[place] for _, row in table.rows]
            for name, place in wanted.items()
        }
        self._cells |= self._targets
        self.table = table
        self._path = table.path

    def __len__(self):
        return len(self.lines)

    def place(self, role) -> int:
        """Returns the place of a role's column."""
        return self._places[role]

    def raw(self, role) -> Sequence[str]:
        """Returns a role's cells as they are written; [] without a column."""
        return self._cells.get(role, [])

    @property
    def labelled(self) -> list[bool]:
        """Whether each row says anything of its image."""
        columns = [self.raw(role) for role in ("label", "labels")]
        columns += self._targets.values()
        cells = zip(*(column for column in columns if column), strict=True)
        return [any(cell.strip() for cell in row) for row in cells]

    def pick(self, role, numbers):
        """Returns a role's cells, without spaces around, of some rows."""
        cells = self.raw(role)
        return [cells[i].strip() for i in numbers] if cells else []

    def list_some(self, numbers, role):
        """Returns the first few of some rows for a message."""
        cells = self.raw(role)
        return folder_walk.list_names(
            f"line {self.lines[i]}: {cells[i].strip()!r}" for i in numbers
        )

    def drop_repeated(self, files, left_out):
        """Returns the numbers of the rows, each file once.

        Raises RuntimeError for rows that differ in what they say of a file.
        """
        first: dict[pathlib.Path, int] = {}
        differ, repeated = [], []
        for i, file in enumerate(files):
            before = first.setdefault(file, i)
            if before == i:
                continue
            for role in self._cells:
                if role == "path":
                    continue
                mine, other = self.pick(role, (i, before))
                if mine != other:
                    differ.append((role, i, f"{other!r} and {mine!r}"))
                    break
            else:
                repeated.append(file)
        if differ:
            role, i, both = differ[0]
            raise RuntimeError(
                f"{self._path} says different things of the same image in "
                f"{words.count(len(differ), 'row')}, such as line "
                f"{self.lines[i]}, {self.raw('path')[i].strip()}: two "
                f"{_to_plural(role)}, {both}."
            )
        left_out.add(_REPEATED, repeated)
        return sorted(first.values())


def _to_plural(role):
    if role.startswith(_VALUE):
        return role.replace("value", "values", 1)
    return role if role.endswith("s") else f"{role}s"


def _check_lengths(table):
    longer = [n for n, row in table.rows if len(row) != len(table.header)]
    if longer:
        raise RuntimeError(
            f"{table.path} has more or fewer than the first line's "
            f"{len(table.header)} cells in {words.count(len(longer), 'row')}, "
            f"such as line {longer[0]}; text with a delimiter in it needs "
            "quotes."
        )


def _find_files(table, root, rows):
    """Returns each row's file; all exist below the table's folder."""
    below, outside, empty = [], [], []
    for i, cell in enumerate(rows.raw("path")):
        name = group_files.below(cell.strip(), root)
        if not cell.strip():
            empty.append(i)
        elif os.path.isabs(name) or name.split("/")[0] == "..":
            outside.append(i)
        below.append(name)
    if empty:
        raise RuntimeError(
            f"{table.path} has no path in {words.count(len(empty), 'row')}, "
            f"such as line {rows.lines[empty[0]]}."
        )
    if outside:
        raise RuntimeError(
            f"{table.path} has {words.count(len(outside), 'path')} out of its "
            f"own folder, {root} ({rows.list_some(outside, 'path')}); put it "
            "into a folder that holds all images."
        )
    found = [_find_file(root, name) for name in below]
    missing = [i for i, file in enumerate(found) if file is None]
    if missing:
        raise RuntimeError(
            f"{table.path}: {len(missing):,} of its {len(found):,} images are "
            f"not there ({rows.list_some(missing, 'path')}); paths begin at "
            f"{_find_place(root, below[missing[0]])}."
        )
    return found


def _find_place(root, name):
    """Returns where paths begin, and where the first missing one would."""
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and (folder / name).is_file():
            return f"{root}, but {name} is in {folder.name}"
    return str(root)


def _find_file(root, name):
    """Returns a file by its name in either encoding of accents, or None."""
    for form in ("NFC", "NFD"):
        file = root / unicodedata.normalize(form, name)
        if file.is_file():
            return file
    return None


def _find_splits(table, rows, columns):
    """Returns each row's split; None without a column of splits."""
    cells = [cell.strip() for cell in rows.raw("split")]
    if not cells:
        return [None] * len(rows)
    named = {}
    for cell in set(cells):
        named |= folder_names.find_splits([cell]) if cell else {}
    unknown = [i for i, cell in enumerate(cells) if cell not in named]
    name = _name(table, columns["split"])
    if unknown:
        raise RuntimeError(
            f"{table.path} names no split in the column {name} of "
            f"{words.count(len(unknown), 'row')} "
            f"({rows.list_some(unknown, 'split')}); expected "
            f"{', '.join(folder_names.SPLITS)}."
        )
    spelled: dict[str, dict[str, str]] = collections.defaultdict(dict)
    for cell, split in sorted(named.items()):
        spelled[split][cell.lower()] = cell
    for split, spellings in spelled.items():
        if len(spellings) > 1:
            raise RuntimeError(
                f"{table.path} has in the column {name} "
                f"{' and '.join(spellings.values())}, which both mean "
                f"{split!r}; keep one of them."
            )
    return [named[cell] for cell in cells]


def _drop_unlabelled(rows, splits, files, kept, left_out):
    """Returns the rows that are not of a test split without any label."""
    is_labelled = rows.labelled
    labelled = {splits[i] for i in kept if is_labelled[i]}
    bare = {splits[i] for i in kept} - labelled - {None, "train"}
    left_out.add(_UNLABELLED, [files[i] for i in kept if splits[i] in bare])
    return [i for i in kept if splits[i] not in bare]


def _find_names(table, rows, kept):
    """Returns {row: its class name}."""
    labels = rows.raw("label")
    empty = [i for i in kept if not labels[i].strip()]
    if empty:
        raise RuntimeError(
            f"{table.path} has no label in {words.count(len(empty), 'row')} "
            f"({rows.list_some(empty, 'path')})."
        )
    column = _name(table, rows.place("label"))
    csv_columns.check_one_class(
        table, (labels[i].strip() for i in kept), column
    )
    class_checks.check_spelling(table.path, (labels[i] for i in kept))
    return {i: labels[i].strip() for i in kept}


def _find_weights(table, rows, files, kept):
    """Returns {file: its weight in the loss}; {} without a column of these."""
    cells = rows.pick("weight", kept)
    wrong, weights = [], {}
    for i, cell in zip(kept, cells, strict=False):
        try:
            weights[files[i]] = float(cell)
        except ValueError:
            weights[files[i]] = math.nan
        if not 0 <= weights[files[i]] < math.inf:
            wrong.append(i)
    if wrong:
        raise RuntimeError(
            f"{table.path} has no weight from 0 on in "
            f"{words.count(len(wrong), 'row')} "
            f"({rows.list_some(wrong, 'weight')})."
        )
    if weights and not any(weights.values()):
        raise RuntimeError(f"{table.path}: all weights are 0.")
    return weights


def _name(table, place):
    return table.header[place].strip()
