"""Tables: text is aligned, and reading gives back what was written."""

import csv

from efficientnet_tf.utils import tables

HEADER = ("model", "params", "note")
ROWS = [("a", "5.3", ""), ("longer", "12.0", "over")]


def test_text_is_aligned_and_lines_end_with_their_last_cell():
    assert tables.to_text(HEADER, ROWS, left=(0, 2)).splitlines() == [
        "model   params  note",
        "a          5.3",
        "longer    12.0  over",
    ]


def test_markdown_keeps_a_bar_within_its_cell():
    assert tables.to_markdown(("a", "b"), [("x|y", 1), (None, "")]) == (
        "| a | b |\n| --- | --- |\n| x\\|y | 1 |\n| None |  |"
    )


def test_csv_reads_back_with_gaps_and_without_other_keys():
    rows = [{"a": 'x, "y"', "b": None, "other": 1}, {"b": 2.5}]
    text = tables.to_csv(("a", "b"), rows)
    assert "\r" not in text
    assert list(csv.DictReader(text.splitlines())) == [
        {"a": 'x, "y"', "b": ""},
        {"a": "", "b": "2.5"},
    ]
