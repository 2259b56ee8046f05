"""One self-contained HTML page: its style, and escaped pieces of it."""

import base64
import html
import pathlib
from collections.abc import Iterable, Sequence

from efficientnet_tf.utils import tables

OPEN_ROWS = 20  # Of a long table.
# More columns than these stand below each other on a narrow screen.
MOST_BESIDE = 4

# Narrow screens scroll wide tables, never the page; colours are the reader's
# own, light or dark.
STYLE = """
:root { color-scheme: light dark; --text: #1f2328; --muted: #59636e;
  --line: #d1d9e0; --card: #f6f8fa; --page: #fff; --main: #0969da;
  --other: #bc4c00; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3;
  --muted: #9aa5b1; --line: #3d444d; --card: #161b22; --page: #0d1117;
  --main: #58a6ff; --other: #f0883e; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text);
  background: var(--page); max-width: 1160px; margin: 0 auto;
  padding: 1rem; overflow-wrap: anywhere; }
h1, h2, h3 { line-height: 1.25; margin: 2.2rem 0 .6rem; }
h1 { margin-top: .5rem; } h3 { font-size: 1rem; margin-top: 1.4rem; }
p { margin: .5rem 0; max-width: 75ch; } .muted { color: var(--muted); }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: 1rem 0; }
a { color: var(--main); }
.facts { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1rem 0; }
.facts > div { background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; padding: .6rem 1rem; flex: 1 1 9rem; }
.facts b { display: block; font-size: 1.5rem; line-height: 1.3; }
.facts span { color: var(--muted); font-size: 13px; }
.wide { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-size: 13px; }
th, td { padding: 4px 9px; border-bottom: 1px solid var(--line);
  text-align: left; vertical-align: top; font-variant-numeric: tabular-nums; }
th { border-bottom: 2px solid var(--muted); overflow-wrap: normal; }
summary { cursor: pointer; color: var(--main); }
td.number, th.number { text-align: right; white-space: nowrap; }
td.text { min-width: 7rem; max-width: 22rem; }
.charts { display: flex; flex-wrap: wrap; gap: 1.2rem; }
.charts figure { flex: 1 1 300px; max-width: 460px; margin: .4rem 0; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--muted); font: 11px system-ui, sans-serif; }
svg .grid { stroke: var(--line); } svg .ideal { stroke: var(--muted);
  stroke-dasharray: 4 4; }
.s0 { --colour: var(--main); } .s1 { --colour: var(--other); }
svg path { fill: none; stroke: var(--colour); stroke-width: 2; }
svg circle { fill: var(--colour); fill-opacity: .55;
  stroke: var(--colour); }
figcaption { font-size: 13px; color: var(--muted); }
.key { display: inline-block; width: .8em; height: .8em; border-radius: 50%;
  background: var(--colour); margin: 0 .3em 0 .8em; }
.matrix th, .matrix td { border: 0; padding: 0; font-size: 12px; }
.matrix td { width: 2.3rem; min-width: 2.3rem; height: 2rem;
  text-align: center; vertical-align: middle; border: 1px solid var(--page); }
.matrix th.row { text-align: right; padding-right: 6px; font-weight: 400;
  max-width: 11rem; overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; vertical-align: middle; }
.matrix th.column { font-weight: 400; vertical-align: bottom; height: 1px; }
.matrix th.column span { writing-mode: vertical-rl;
  transform: rotate(180deg); max-height: 9rem; overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; padding-top: 4px;
  display: block; margin: auto; line-height: 2.3rem; }
.heat { width: min(100%, 560px); image-rendering: pixelated;
  border: 1px solid var(--line); }
.cards { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); }
.card { background: var(--card); border: 1px solid var(--line);
  border-radius: 8px; padding: .6rem; font-size: 13px; margin: 0; }
.card .images { display: grid; grid-template-columns: 1fr 2fr; gap: 4px;
  align-items: start; }
.card img { width: 100%; border-radius: 4px; display: block; }
.card .under { display: grid; grid-template-columns: 1fr 1fr 1fr; gap: 4px;
  color: var(--muted); font-size: 12px; }
.under span, .clip { overflow: hidden; text-overflow: ellipsis;
  display: -webkit-box; -webkit-line-clamp: 2; -webkit-box-orient: vertical; }
.beside { margin: 1rem 0; } .beside .row { display: grid; gap: .5rem;
  grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)); }
.near { margin: 0; } .near > div { aspect-ratio: 1; display: flex; }
.near img { object-fit: contain; }
.near:first-child img { outline: 3px solid var(--main); }
pre { background: var(--card); border: 1px solid var(--line);
  border-radius: 6px; padding: .7rem; white-space: pre-wrap; }
.matrix th.row { position: sticky; left: 0; background: var(--page); }
@media (max-width: 520px) { th, td { padding: 3px 5px; font-size: 12px; }
  th.number { white-space: normal; } td.text { min-width: 5rem; }
  .stack thead { position: absolute; left: -9999px; }
  .stack, .stack tbody { display: block; }
  .stack tr { display: grid; gap: 0 8px; padding: 6px 0; align-items: end;
    grid-template-columns: repeat(auto-fit, minmax(60px, 1fr));
    border-bottom: 1px solid var(--line); }
  .stack td, .stack td.text { border: 0; padding: 1px 0; min-width: 0;
    text-align: left; }
  .stack td:first-child { grid-column: 1 / -1; max-width: none;
    font-weight: 600; }
  .stack td:not(:first-child)::before { content: attr(data-label);
    display: block; color: var(--muted); font-size: 11px;
    white-space: normal; }
  .matrix td { width: 1.5rem; min-width: 1.5rem; height: 1.6rem; }
  .matrix th.column span { line-height: 1.5rem; }
  .matrix th.row { max-width: 6rem; } }
.note { border-left: 3px solid var(--other); padding-left: .8rem; }
"""


def escape(text: object) -> str:
    """Returns a text as HTML shows it, in one line.

    Names come from strangers: control characters become visible.
    """
    return html.escape(tables.to_unicode(tables.to_line(str(text))))


def name(text: object) -> str:
    """Returns a name as HTML; its direction leaves the text around as it is."""
    return f"<bdi>{escape(text)}</bdi>"


def make_page(title: str, sections: Iterable[tuple[str, str]]) -> str:
    """Returns a page that needs no other file.

    Args:
      title: plain text.
      sections: (title, HTML) of each; one without a title has no heading.
    """
    sections = [(head, body) for head, body in sections if body]
    titles = [head for head, _ in sections if head]
    links = "".join(
        f'<a href="#s{i}">{escape(head)}</a>' for i, head in enumerate(titles)
    )
    parts = [f"<h1>{name(title)}</h1>"]
    place = 0
    for head, body in sections:
        if head:
            parts.append(f'<h2 id="s{place}">{escape(head)}</h2>')
            place += 1
        parts.append(body)
        if not head:
            parts.append(f"<nav>{links}</nav>")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, '
        'initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        "<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def paragraph(text: str, kind: str = "") -> str:
    """Returns plain text as a paragraph; `kind`: "", "muted" or "note"."""
    return f'<p class="{kind}">{escape(text)}</p>'


def facts(items: Iterable[tuple[str, str]]) -> str:
    """Returns tiles of (value, what it is), plain texts."""
    tiles = "".join(
        f"<div><b>{escape(value)}</b><span>{escape(what)}</span></div>"
        for value, what in items
    )
    return f'<div class="facts">{tiles}</div>'


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1
) -> str:
    """Returns a table of plain texts.

    Args:
      header: names of the columns; () for none.
      rows: cells.
      words: how many of the first columns are names; the others are numbers.
    """

    stacks = len(header) > MOST_BESIDE

    def line(tag, cells):
        kinds = ["text" if i < words else "number" for i in range(len(cells))]
        labels = [""] * len(cells)
        if stacks and tag == "td":
            labels = [f' data-label="{escape(each)}"' for each in header]
        return "".join(
            f'<{tag} class="{kind}"{label}>{name(cell)}</{tag}>'
            for kind, label, cell in zip(kinds, labels, cells, strict=True)
        )

    body = "\n".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    head = f"<thead><tr>{line('th', header)}</tr></thead>" if header else ""
    style = ' class="stack"' if stacks else ""
    return (
        f'<div class="wide"><table{style}>{head}\n<tbody>\n{body}\n'
        "</tbody></table></div>"
    )


def long_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1
) -> str:
    """Returns a `table` of which only the beginning is open."""
    first = table(header, rows[:OPEN_ROWS], words)
    if len(rows) <= OPEN_ROWS:
        return first
    rest = table(header, rows[OPEN_ROWS:], words)
    count = f"{len(rows) - OPEN_ROWS:,} more"
    return f"{first}<details><summary>{count}</summary>{rest}</details>"


def image(data: bytes, kind: str, about: str, style: str = "") -> str:
    """Returns an image inside the page.

    Args:
      data: the file's bytes.
      kind: "png" or "jpeg".
      about: plain text in its place, for who cannot see it.
      style: its class.
    """
    encoded = base64.b64encode(data).decode()
    return (
        f'<img class="{style}" alt="{escape(about)}" '
        f'src="data:image/{kind};base64,{encoded}">'
    )


def image_file(path: pathlib.Path, about: str) -> str:
    """Returns an image file inside the page, by its suffix."""
    kind = "png" if path.suffix == ".png" else "jpeg"
    return image(path.read_bytes(), kind, about)


def percent(value: float | None) -> str:
    """Returns "93.1 %"; "–" for None and NaN."""
    if value is None or value != value:
        return "–"
    return f"{100 * value:.1f} %"
