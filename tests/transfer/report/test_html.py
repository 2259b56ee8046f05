import base64
import html.parser
import re

from transfer.report import html as html_lib

PNG = b"\x89PNG not really"
SECTIONS = [
    html_lib.Section(
        "Sets & <others>",
        [
            "One paragraph.",
            html_lib.Table(
                ("task", "ours"),
                [("a|b", "95.0"), ("<c>", "90.0"), ("mean", "")],
                ["", "other", "total"],
            ),
            html_lib.Picture("curves.png", PNG, 'Of "a" & b.'),
        ],
    )
]


class _Reader(html.parser.HTMLParser):
    """Collects tags with attributes, table cells, and unclosed tags."""

    def __init__(self):
        super().__init__()
        self.tags, self.open, self.rows = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def _read(text):
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert not reader.open
    return reader


def test_the_page_needs_no_other_file():
    text = html_lib.to_html("Title", SECTIONS)
    tags = _read(text).tags
    (image,) = [attributes for tag, attributes in tags if tag == "img"]
    head, _, data = image["src"].partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data) == PNG
    assert not {"script", "link", "iframe", "a"} & {tag for tag, _ in tags}
    rest = text.replace(image["src"], "")
    assert not re.search(r"https?:|//|@import|url\(", rest)


def test_the_page_shows_text_as_it_is():
    reader = _read(html_lib.to_html("A < B", SECTIONS))
    assert reader.rows == [
        ["task", "ours"],
        ["a|b", "95.0"],
        ["<c>", "90.0"],
        ["mean", ""],
    ]
    (image,) = [a for tag, a in reader.tags if tag == "img"]
    assert image["alt"] == 'Of "a" & b.'


def test_marked_rows_are_marked_on_the_page():
    tags = _read(html_lib.to_html("Title", SECTIONS)).tags
    kinds = [a.get("class") for tag, a in tags if tag == "tr"]
    assert kinds == [None, "", "other", "total"]


def test_markdown_has_the_same_parts_in_the_same_order():
    assert html_lib.to_markdown("Title", SECTIONS) == (
        "# Title\n\n## Sets & &lt;others>\n\nOne paragraph.\n\n"
        "| task | ours |\n| --- | --- |\n| a\\|b | 95.0 |\n| &lt;c> | 90.0 |\n"
        "| mean |  |\n\n"
        '![Of "a" & b.](curves.png)\n\nOf "a" & b.\n'
    )
