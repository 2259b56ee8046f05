"""A report of texts, tables and pictures, as Markdown and as one HTML page."""

import base64
import dataclasses
import html
from collections.abc import Iterable

from efficientnet_tf.utils import tables

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222;
  max-width: 1180px; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; }
th, td { padding: 4px 9px; border-bottom: 1px solid #ddd; text-align: left;
  vertical-align: top; font-variant-numeric: tabular-nums; }
th { border-bottom: 2px solid #888; }
tr.other td { background: #fff6dc; } tr.total td { font-weight: 600; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; }
figcaption { font-size: 13px; color: #555; }
"""


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells of text; `kinds` has "", "other" or "total" for each row.

    "other": under other conditions than the paper's; "total": a summary.
    """

    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    kinds: list[str]


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG file: its name, bytes, and what it shows."""

    name: str
    png: bytes
    caption: str


@dataclasses.dataclass(frozen=True)
class Section:
    """A title, then paragraphs, tables and pictures in this order."""

    title: str
    parts: list[str | Table | Picture]


def to_markdown(title: str, sections: Iterable[Section]) -> str:
    """Returns the report in Markdown; pictures are files beside it."""
    blocks = [f"# {tables.escape_markdown(title)}"]
    for section in sections:
        blocks.append(f"## {tables.escape_markdown(section.title)}")
        blocks += map(_markdown_part, section.parts)
    return "\n\n".join(blocks) + "\n"


def to_html(title: str, sections: Iterable[Section]) -> str:
    """Returns the report as one HTML page that needs no other file."""
    body = [f"<h1>{html.escape(title)}</h1>"]
    for section in sections:
        body.append(f"<h2>{html.escape(section.title)}</h2>")
        body += map(_html_part, section.parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n"
        "</head>\n<body>\n" + "\n".join(body) + "\n</body>\n</html>\n"
    )


def _markdown_part(part):
    if isinstance(part, str):
        return tables.escape_markdown(part)
    if isinstance(part, Picture):
        caption = tables.escape_markdown(part.caption)
        return f"![{caption}]({part.name})\n\n{caption}"
    return tables.to_markdown(part.header, part.rows)


def _html_part(part):
    if isinstance(part, str):
        return f"<p>{html.escape(part)}</p>"
    if isinstance(part, Picture):
        data = base64.b64encode(part.png).decode()
        caption = html.escape(part.caption)
        return (
            f'<figure><img src="data:image/png;base64,{data}" '
            f'alt="{caption}"><figcaption>{caption}</figcaption></figure>'
        )
    rows = [
        f'<tr class="{kind}">{_html_cells("td", row)}</tr>'
        for row, kind in zip(part.rows, part.kinds, strict=True)
    ]
    head = f"<thead><tr>{_html_cells('th', part.header)}</tr></thead>"
    body = "\n".join(rows)
    return (
        f'<div class="wide"><table>{head}\n<tbody>\n{body}\n</tbody></table>'
        "</div>"
    )


def _html_cells(tag, cells):
    return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
