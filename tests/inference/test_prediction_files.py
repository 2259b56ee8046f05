import csv
import json
import os

import numpy as np
import pytest

from efficientnet_tf.inference import prediction_files
from efficientnet_tf.utils import targets

NAMES = targets.Outputs(("cat", "dog", "größe"))
ROWS = [
    prediction_files.make_row("a, b.jpg", np.array([0.2, 0.1, 0.7]), NAMES, 2),
    prediction_files.make_row("c.jpg", OSError("c.jpg is empty."), NAMES, 2),
]


def _write(path):
    with prediction_files.open_writer(path, 2) as write:
        for row in ROWS:
            write(row)
    return path


def test_a_row_has_the_most_probable_classes_first():
    assert ROWS[0] == {
        "file": "a, b.jpg",
        "class": "größe",
        "probability": 0.7,
        "top": [
            {"class": "größe", "probability": 0.7},
            {"class": "cat", "probability": 0.2},
        ],
    }
    assert ROWS[1] == {"file": "c.jpg", "error": "c.jpg is empty."}


def test_a_csv_file_has_a_column_per_class_and_its_probability(tmp_path):
    with _write(tmp_path / "new" / "p.csv").open(newline="") as file:
        good, bad = csv.DictReader(file)
    assert good == {
        "file": "a, b.jpg",
        "class": "größe",
        "probability": "0.7",
        "class_2": "cat",
        "probability_2": "0.2",
        "error": "",
    }
    assert (bad["class"], bad["error"]) == ("", "c.jpg is empty.")


def test_json_files_hold_the_rows(tmp_path):
    assert json.loads(_write(tmp_path / "p.json").read_text()) == ROWS
    lines = _write(tmp_path / "p.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == ROWS


@pytest.mark.parametrize("suffix", prediction_files.SUFFIXES)
def test_an_interrupt_keeps_what_was_written_readable(suffix, tmp_path):
    path = tmp_path / f"p{suffix}"
    with pytest.raises(KeyboardInterrupt):
        with prediction_files.open_writer(path, 1) as write:
            write(ROWS[0])
            assert "a, b.jpg" in path.read_text()  # As it goes.
            raise KeyboardInterrupt
    if suffix == ".json":
        assert json.loads(path.read_text()) == ROWS[:1]


def test_an_empty_array_is_json(tmp_path):
    with prediction_files.open_writer(tmp_path / "p.json", 1):
        pass
    assert json.loads((tmp_path / "p.json").read_text()) == []


def test_a_name_in_no_encoding_keeps_its_bytes(tmp_path):
    name = b"caf\xe9.jpg"
    row = {"file": os.fsdecode(name), "class": "cat", "probability": 1.0}
    for suffix in prediction_files.SUFFIXES:
        path = tmp_path / f"p{suffix}"
        with prediction_files.open_writer(path, 1) as write:
            write(row)
        assert name in path.read_bytes()


# {what a network answers with: (outputs, its values, a row, a line of a .csv)}
OTHERS = {
    "labels": (
        targets.Outputs(("cat", "dog"), targets.LABELS, (0.6, 0.2)),
        [0.5, 0.25],
        {
            "file": "a.jpg",
            "labels": ["dog"],
            "top": [
                {"label": "cat", "probability": 0.5},
                {"label": "dog", "probability": 0.25},
            ],
        },
        "a.jpg,dog,cat,0.5,dog,0.25,",
    ),
    "numbers": (
        targets.Outputs(("age", "file"), targets.NUMBERS),
        [31.5, -2.0],
        {"file": "a.jpg", "numbers": {"age": 31.5, "file": -2.0}},
        "a.jpg,31.5,-2.0,",
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_labels_and_numbers_have_rows_of_their_own(kind, tmp_path):
    outputs, values, row, line = OTHERS[kind]
    found = prediction_files.make_row("a.jpg", np.array(values), outputs, 2)
    assert found == row
    path = tmp_path / "p.csv"
    with prediction_files.open_writer(path, 2, outputs) as write:
        write(found)
    assert path.read_text().splitlines()[1] == line
