"""Names of classes, files and tasks that something might take for more."""

import csv
import os
import re
import warnings

import numpy as np
import pytest

from efficientnet_tf.commands import program, summary
from efficientnet_tf.data.sets import example_files, sources
from efficientnet_tf.inference import prediction_files
from efficientnet_tf.utils import chart_text, figures, files, tables
from transfer.report import html
from transfer.sweep import plan as plan_lib

NAMES = [
    "cost $x_1^{2$",
    "one $ only",
    r"\frac{a}{b",
    "_a_b_ *c* ~d~",
    "two\nlines",
    "x" * 300,
    "שלום",
    "汉字",
    "\u202etxt.exe",
    "\x1b[31mred",
    "=1+1",
    "@SUM(A1)",
    "-a",
    "'=x",
    "<script>alert(1)</script>",
    "[x](javascript:alert(1))",
    "![x](javascript:alert(1))",
    "<javascript:alert(1)>",
    "&lt;b&gt;",
    "a|b`c",
    os.fsdecode(b"caf\xe9"),
    "\ud800",
]
IDS = [ascii(name)[:20] for name in NAMES]


@pytest.mark.parametrize("name", NAMES, ids=IDS)
def test_a_name_is_plain_text_in_markdown(name):
    table = tables.to_markdown(("name", "n"), [(name, 1)])
    head, _, row = table.splitlines()
    # What a reader of Markdown and HTML takes for more than a letter.
    assert not re.search(r"<|(?<!\\)[\[`*$]|[\x00-\x1f]", row)
    assert len(re.split(r"(?<!\\)\|", row)) == len(head.split("|"))
    shown = re.sub(r"\\([\\`*\[\]$~_|])", r"\1", row[2:-6])
    shown = shown.replace("&lt;", "<").replace("&amp;", "&")
    assert shown == tables.to_unicode(tables.to_line(name))
    section = html.Section(name, [name, html.Picture("a.png", b"", name)])
    text = html.to_markdown("Title", [section])
    assert not re.search(r"<|(?<!\\)[`*$]|(?<!!)(?<!\\)\[", text)
    files_text = html.to_html("Title", [section]).encode(
        errors="backslashreplace"
    )
    assert b"<script>" not in files_text


def test_usual_names_stay_as_they_are_in_markdown():
    row = ("efficientnet_lite0", "a-b.c (d), 95 %: 1.5 ± 0.2; x=1", "_x")
    assert tables.to_markdown(row[:2], []).startswith(
        f"| {row[0]} | {row[1]} |"
    )
    assert tables.escape_markdown(row[2]) == r"\_x"


@pytest.mark.parametrize("name", NAMES, ids=IDS)
def test_a_name_is_no_formula_in_csv_and_comes_back(name, tmp_path):
    path = tmp_path / "names.csv"
    if name == "\ud800":  # No file system has it.
        return
    rows = [{"a": name, "b": -0.5, "c": "-0.5", "d": None}]
    tables.write_csv(path, "abcd", rows)
    with open(path, newline="", errors="surrogateescape") as stream:
        _, cells = csv.reader(stream)
    assert not re.match(r"[=+\-@\t\r]", cells[0])
    assert cells[1:] == ["-0.5", "-0.5", ""]
    assert tables.read_csv(path)[0]["a"] == name
    with prediction_files.open_writer(tmp_path / "p.csv", 1) as write:
        write({"file": name, "class": name, "probability": 0.5})
    with open(tmp_path / "p.csv", newline="", errors="replace") as stream:
        _, cells = csv.reader(stream)
    assert not re.match(r"[=+\-@\t\r]", cells[0] + cells[1])


def test_all_names_are_drawn_as_they_are():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = figures.confusion_image(np.eye(len(NAMES)), NAMES)
        assert image.std() > 10
        figures.captioned_image([np.zeros((4, 4, 3), "uint8")] * 2, NAMES[:2])
        figures.predictions_image(
            [np.zeros((4, 4, 3), "uint8")], np.eye(len(NAMES))[:1], NAMES
        )
        drawing, (axes,) = figures.make_figure(1, 1, (12, 9))
        for name in NAMES:
            axes.plot([1, 2], [1, 10], label=name)
        axes.set_title(NAMES[0])
        axes.set_yscale("log")
        axes.legend()
        figures.rasterize(drawing)
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert shown[0] == NAMES[0] == axes.get_title()
    assert max(map(len, shown)) == chart_text.MOST_LETTERS
    assert "שלום" in shown  # The font has it.
    # Matplotlib's own powers of ten are still powers.
    labels = [label for label in axes.get_yticklabels() if label.get_text()]
    assert all(label.get_parse_math() for label in labels)


def test_letters_that_no_font_has_are_told_apart(monkeypatch, caplog):
    monkeypatch.setattr(
        chart_text, "_find_fonts", lambda: ((), frozenset(range(256)))
    )
    chart_text._warn_of_letters.cache_clear()
    assert chart_text.show("a汉") == r"a\u6c49" != chart_text.show("a字")
    (record,) = caplog.records
    assert "No installed font has all letters" in record.message


def test_a_name_too_long_for_a_file_system_is_cut_and_stays_its_own(tmp_path):
    for kind in ("x", "汉"):
        first, second = (kind * 300 + end for end in "ab")
        names = {files.shorten_name(name) for name in (first, second)}
        assert len(names) == 2
        for name in names:
            assert len(os.fsencode(name)) <= 180
            files.write_text(tmp_path / f"{name}.png", "x")
    assert files.shorten_name("x" * 180) == "x" * 180
    slugs = {plan_lib.to_file_name(f"folder:{n}") for n in (first, second)}
    assert len(slugs) == 2 and all(len(os.fsencode(s)) <= 180 for s in slugs)


def test_a_class_of_a_long_name_has_its_example(tmp_path):
    images = np.zeros((2, 8, 8, 3), "uint8")
    names = ["x" * 240, "=\ny$"]
    examples = sources.from_arrays(images, np.arange(2), names)
    example_files.save(examples, tmp_path, "used")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_terminal_is_told_nothing(capsys):
    with pytest.raises(SystemExit):
        program.fail("No \x1b]0;x\x07 here.", program.FAILURE)
    summary.print_summary("a\x1b[2J", {"class": "b\x1b[2J\n{}"})
    print(tables.to_text(("a",), [("c\x1b[2J",)]))
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err
    assert r"b\x1b[2J\n{}" in captured.out
