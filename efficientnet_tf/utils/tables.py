"""Tables as aligned text, as Markdown and as CSV."""

import csv
import io
from collections.abc import Collection, Iterable, Mapping, Sequence


def to_text(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: Collection[int] = (0,),
) -> str:
    """Returns a table as lines of aligned text.

    Args:
      header: names of the columns.
      rows: cells as texts.
      left: numbers of the columns that are aligned to the left, as words are;
        the others are aligned to the right, as numbers are.
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
    """Returns a table in Markdown, without a last end of line."""
    lines = [header, ("---",) * len(header), *rows]
    # A bar would begin another cell.
    cells = [[str(cell).replace("|", r"\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def to_csv(columns: Iterable[str], rows: Iterable[Mapping]) -> str:
    """Returns rows as CSV with a header; what is not in `columns` is left out.

    A column that a row lacks, or has as None, is empty there.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(
        buffer, list(columns), extrasaction="ignore", lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
