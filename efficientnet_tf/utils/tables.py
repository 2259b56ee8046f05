"""Tables as aligned text, as Markdown and as CSV."""

import csv
import io
import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from efficientnet_tf.utils import files

# What a spreadsheet takes for the beginning of a formula, if a cell has it.
FORMULA = re.compile(r"'*[=+\-@\t\r]")

# What Markdown or HTML would take for more than a letter; an underscore between
# letters is one.
_MARKUP = re.compile(r"[\\`*\[\]$~]|(?<!\w)_|_(?!\w)")
_ENTITY = re.compile(r"&(?=#?\w+;)")
# Would turn all letters after them around.
_TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def to_text(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: Collection[int] = (0,),
) -> str:
    """Returns a table as lines of aligned text.

    Args:
      header: names of the columns.
      rows: cells as strings.
      left: indices of the left-aligned columns, such as words; the others are
        right-aligned, such as numbers.
    """
    lines = [[to_line(cell) for cell in line] for line in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def to_markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Returns a table in Markdown, without a trailing newline."""
    lines = [
        [escape_markdown(str(cell)) for cell in r] for r in (header, *rows)
    ]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escape_markdown(text: str) -> str:
    """Returns Markdown that shows a text as it is, in one line.

    Names come from strangers: no HTML, link, formula or cell begins in them.
    """
    text = _MARKUP.sub(r"\\\g<0>", to_unicode(to_line(text)))
    # Not every reader takes backslashes before these.
    text = _ENTITY.sub("&amp;", text).replace("<", "&lt;")
    return text.replace("|", r"\|")  # It would begin another cell.


def to_line(text: str) -> str:
    """Returns a text with its control characters, if any, as escapes.

    A terminal would obey them, and a table end its line.
    """
    return "".join(
        letter.encode("unicode_escape").decode()
        if letter in _TURNING or unicodedata.category(letter) == "Cc"
        else letter
        for letter in text
    )


def to_unicode(text: str) -> str:
    """Returns a text with escapes for bytes of file names in no encoding."""
    return text.encode(errors="backslashreplace").decode()


def shorten(text: str, most: int) -> str:
    """Returns a text without its middle, if it has more letters than `most`."""
    if len(text) <= most:
        return text
    end = most // 3
    return f"{text[: most - end - 1]}…{text[-end:]}"


def to_csv(columns: Iterable[str], rows: Iterable[Mapping]) -> str:
    """Returns rows as CSV with a header; keys not in `columns` are left out.

    A value that is missing or None becomes an empty cell. A text that a
    spreadsheet would take for a formula gets an apostrophe before it, which
    `read_csv` takes away.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(
        buffer, list(columns), extrasaction="ignore", lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(map(guard_formulas, rows))
    return buffer.getvalue()


def write_csv(
    path: str | os.PathLike, columns: Iterable[str], rows: Iterable[Mapping]
) -> None:
    """Writes what `to_csv` returns as one file, atomically.

    File names that are in no encoding keep their bytes.
    """
    files.write_bytes(path, os.fsencode(to_csv(columns, rows)))


def read_csv(path: str | os.PathLike) -> list[dict[str, str]]:
    """Returns the rows of a file of `write_csv`.

    Raises:
      ValueError: the file is none of CSV.
    """
    with open(
        path, newline="", encoding="utf-8", errors="surrogateescape"
    ) as stream:
        try:
            rows = list(csv.DictReader(stream))
        except csv.Error as error:
            raise ValueError(f"{path} is no CSV file: {error}") from None
    return [{k: _unguard(text) for k, text in row.items()} for row in rows]


def guard_formulas(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a row of a CSV file whose texts are no formulas."""
    return {
        name: f"'{value}" if _is_formula(value) else value
        for name, value in row.items()
    }


def _is_formula(value):
    if not isinstance(value, str) or not FORMULA.match(value):
        return False
    try:
        float(value)
    except ValueError:
        return True
    return False  # Such as "-0.5".


def _unguard(text):
    is_guarded = isinstance(text, str) and text.startswith("'")
    return text[1:] if is_guarded and FORMULA.match(text) else text
