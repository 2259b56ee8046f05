"""Tables as aligned text, as Markdown and as CSV."""

import csv
import io
import os
from collections.abc import Collection, Iterable, Mapping, Sequence

from efficientnet_tf.utils import files


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
    lines = [header, *rows]
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
    lines = [header, ("---",) * len(header), *rows]
    # An unescaped bar would begin another cell.
    cells = [[str(cell).replace("|", r"\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def to_csv(columns: Iterable[str], rows: Iterable[Mapping]) -> str:
    """Returns rows as CSV with a header; keys not in `columns` are left out.

    A value that is missing or None becomes an empty cell.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(
        buffer, list(columns), extrasaction="ignore", lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def write_csv(
    path: str | os.PathLike, columns: Iterable[str], rows: Iterable[Mapping]
) -> None:
    """Writes what `to_csv` returns as one file, atomically.

    File names that are in no encoding keep their bytes.
    """
    files.write_bytes(path, os.fsencode(to_csv(columns, rows)))


def read_csv(path: str | os.PathLike) -> list[dict[str, str]]:
    """Returns the rows of a file of `write_csv`."""
    with open(
        path, newline="", encoding="utf-8", errors="surrogateescape"
    ) as stream:
        return list(csv.DictReader(stream))
