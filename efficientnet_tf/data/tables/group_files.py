"""A .csv file that says which images belong together."""

import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping

from efficientnet_tf.data.tables import csv_text

COLUMNS = ("path", "group")


def read(
    path: str | os.PathLike, root: str | os.PathLike
) -> dict[str, tuple[str, str]]:
    """Returns {path below the root, or file name: (its group, as written)}.

    Rows without a group are left out. Accents are in one encoding, and
    backslashes, "./" and spaces around do not count.

    Args:
      path: of UTF-8 text with the columns path and group.
      root: the images' folder, for absolute paths.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is no such file, or puts one image into two groups.
    """
    found: dict[str, tuple[str, str]] = {}
    for line, written, group in _read_rows(path):
        name = below(written, root)
        before, _ = found.setdefault(name, (group, written))
        if before != group:
            raise ValueError(
                f"{path} puts {name} into two groups: {before!r} and, in line "
                f"{line}, {group!r}."
            )
    return found


def assign(
    table: Mapping[str, tuple[str, str]], names: Iterable[str]
) -> tuple[dict[str, str | None], list[str]]:
    """Returns {name: its group or None}, and the rows that fit no name.

    A row fits by its path or its file name. Capitals do not count, as in
    ".JPG", unless they tell apart rows of different groups.

    Args:
      table: see `read`.
      names: paths below the root, as `folder_splits.name_of` returns them.
    """
    folded: dict[str, set[str]] = {}
    for name in table:
        folded.setdefault(name.casefold(), set()).add(name)
    groups: dict[str, str | None] = {}
    used = set()
    for name in names:
        groups[name] = None
        for wanted in (name, name.rpartition("/")[2]):
            rows = (
                {wanted}
                if wanted in table
                else folded.get(wanted.casefold(), set())
            )
            if len({table[row][0] for row in rows}) == 1:
                used |= rows
                groups[name] = table[next(iter(rows))][0]
                break
    return groups, [w for n, (_, w) in table.items() if n not in used]


def _read_rows(path) -> Iterator[tuple[int, str, str]]:
    """Yields (line, path, group), without rows that lack one of these."""
    table = csv_text.read(path)
    for column in COLUMNS:
        if column not in table.names:
            raise ValueError(
                f"{path} lacks the column {column!r}: expected path and "
                "group, in a first line."
            )
    places = [table.names.index(column) for column in COLUMNS]
    for line, row in table.rows:
        cells = [row[i].strip() if i < len(row) else "" for i in places]
        if all(cells):
            yield line, cells[0], cells[1]


def _compose(text):
    return unicodedata.normalize("NFC", text)


def below(written: str, root: str | os.PathLike) -> str:
    """Returns a path below the root, with slashes."""
    name = os.path.normpath(written.replace("\\", "/"))
    if not os.path.isabs(name):
        return name
    for start in (os.path.abspath(root), os.path.realpath(root)):
        below = os.path.relpath(name, _compose(start))
        if not below.startswith(".."):
            return below
    return name
