"""Writes a report: pages, tables and pictures."""

import os
import pathlib

from efficientnet_tf.utils import files, tables
from transfer.config import published as published_lib
from transfer.report import html, sections as sections_lib, table5

TITLE = "Transfer results"
RUN_FIELDS = (
    *("task", "model", "weights", "recipe", "metric", "mean", "sd", "best"),
    *("low", "high", "seeds", "train_images", "test_images", "parameters"),
    *("epochs", "steps", "resolution", "evaluated_on", "xla", "seconds"),
    *("conditions",),
)


def write(summary: list[dict], folder: str | os.PathLike) -> list[str]:
    """Writes report.md, report.html, the tables as CSV, and the pictures.

    Args:
      summary: rows of `results.summarize`.
      folder: created if it does not exist.

    Returns:
      The names of the files.

    Raises:
      OSError: the folder cannot be written to.
    """
    folder = pathlib.Path(folder)
    files.check_folder(folder)
    sections = sections_lib.compose(summary)
    texts = {
        "report.md": html.to_markdown(TITLE, sections),
        "report.html": html.to_html(TITLE, sections),
        "runs.csv": tables.to_csv(RUN_FIELDS, map(_run_line, summary)),
        "table5.csv": _table5_csv(summary),
    }
    for name, text in texts.items():
        files.write_text(folder / name, text)
    pictures = [
        part
        for section in sections
        for part in section.parts
        if isinstance(part, html.Picture)
    ]
    for picture in pictures:
        files.write_bytes(folder / picture.name, picture.png)
    return [*texts, *(picture.name for picture in pictures)]


def _run_line(row):
    low, high = row["interval"] or (None, None)
    conditions = "; ".join(row["conditions"])
    return {**row, "low": low, "high": high, "conditions": conditions}


def _table5_csv(summary):
    lines = []
    for half, published in published_lib.HALVES.items():
        compared = table5.compare(summary, published)
        lines += [{"half": half, **line} for line in compared]
        if compared:
            mean = {"half": half, "task": table5.MEAN}
            mean["ratio"] = table5.average_ratio(compared)[0]
            printed = table5.average_published_ratio(published)
            lines.append({**mean, "published_ratio": printed})
    return tables.to_csv(lines[0] if lines else ("half", "task"), lines)
