import csv
import re

import pytest
from PIL import Image

from transfer.report import results, write
from transfer.scores import diagnostics

ROW = {
    "task": "cifar10",
    "model": "efficientnet_lite0",
    "weights": "imagenet",
    "recipe": "gpipe",
    "metric": "top1",
    "score": 0.95,
    "evaluated_on": "test",
    "epochs": 2,
    "seed": 0,
    "train_images": 50_000,
    "test_images": 10_000,
    "complete": True,
    "published": 0.989,
    "published_model": "efficientnet_b7",
    "parameters": 3_400_000,
    "resolution": 224,
    "xla": True,
    "seconds": 90.0,
    "class_names": ["cat", "<dog>"],
    "confusion": [[0, 0, 4_750], [0, 1, 250], [1, 0, 250], [1, 1, 4_750]],
    "curves": {"epoch": [1, 2], "top1": [0.5, 0.9], "val_top1": [0.4, 0.8]},
}
BARE = {key: ROW[key] for key in results.FIELDS}


def _write(folder, *rows):
    names = write.write(results.summarize(rows), folder)
    assert sorted(names) == sorted(path.name for path in folder.iterdir())
    return {
        name: (folder / name).read_text()
        for name in names
        if not name.endswith(".png")
    }


def _cells(markdown, first):
    """Returns the cells of the table rows that begin with `first`."""
    lines = [line for line in markdown.splitlines() if line.startswith("| ")]
    cells = [line.strip("| ").split(" | ") for line in lines]
    return [line for line in cells if line[0] == first]


def test_a_run_stands_in_each_table_with_its_numbers(tmp_path):
    scores = (0.94, 0.96)
    rows = [{**ROW, "seed": i, "score": s} for i, s in enumerate(scores)]
    text = _write(tmp_path, *rows)["report.md"]
    run, public, reported = _cells(text, "cifar10")
    # sd: the root of 2; Wilson of 0.95 on 10,000.
    assert run[4:9] == [
        "95.0 ± 1.4",
        "94.6–95.4",
        "2",
        "50,000 / 10,000",
        "3.4M",
    ]
    assert run[9:13] == ["2 epochs", "224", "yes", "1.5"]
    assert public[4:9] == [
        "98.1 (efficientnet_b0, 4M)",
        "-3.1",
        "3.4M",
        "NASNet-A 98.0, 85M (21×)",
        "25.0×",
    ]
    assert reported[4:9] == [
        "98.9 (efficientnet_b7, 64M)",
        "-3.9",
        "3.4M",
        "GPipe 99.0, 556M (8.7×)",
        "164×",
    ]


def test_the_means_of_the_paper_stand_beside_ours(tmp_path):
    text = _write(tmp_path, ROW)["report.md"]
    lines = _cells(text, "geometric mean")
    # Table 5's last line; 85 / 3.4 and 556 / 3.4.
    assert [[c for c in line if "×" in c] for line in lines] == [
        ["(the paper's, over all sets: 4.7×)", "25.0× (sets: 1)"],
        ["(the paper's, over all sets: 9.6×)", "164× (sets: 1)"],
    ]


def test_other_conditions_are_marked_in_every_row(tmp_path):
    row = {**ROW, "complete": False, "resolution": 160}
    files = _write(tmp_path, row)
    note = "subset: not the paper's images; at 160 px, not 224"
    lines = _cells(files["report.md"], "cifar10")
    assert [line[-1] for line in lines] == [note] * 3
    assert files["report.html"].count('<tr class="other">') == 3
    for name in ("runs.csv", "table5.csv"):
        lines = list(csv.DictReader(files[name].splitlines()))
        assert lines[0]["conditions"] == note


def test_the_csv_files_hold_the_exact_numbers(tmp_path):
    files = _write(tmp_path, ROW)
    (run,) = csv.DictReader(files["runs.csv"].splitlines())
    assert float(run["mean"]) == 0.95 and run["sd"] == ""
    assert float(run["low"]) == pytest.approx(0.9456, abs=5e-5)
    lines = list(csv.DictReader(files["table5.csv"].splitlines()))
    assert [line["task"] for line in lines] == ["cifar10", "geometric mean"] * 2
    assert float(lines[0]["ratio"]) == 25
    assert float(lines[1]["published_ratio"]) == pytest.approx(4.66, abs=0.01)


def test_the_page_holds_every_picture_and_no_link(tmp_path):
    files = _write(tmp_path, ROW, {**ROW, "task": "food101"})
    pictures = sorted(path.name for path in tmp_path.glob("*.png"))
    assert pictures == [
        "accuracy.png",
        "confusion_cifar10.png",
        "confusion_food101.png",
        "curves_cifar10.png",
        "curves_food101.png",
    ]
    sources = re.findall(r'src="([^"]*)"', files["report.html"])
    assert len(sources) == len(pictures)
    assert all(
        source.startswith("data:image/png;base64,") for source in sources
    )
    rest = re.sub(r'src="[^"]*"', "", files["report.html"])
    assert not re.search(r"https?:|//|<script|<link|url\(", rest)
    assert "&lt;dog&gt;" in rest and "<dog>" not in rest
    named = re.findall(r"\]\((\S+\.png)\)", files["report.md"])
    assert sorted(named) == pictures


def test_the_worst_pairs_are_counted_and_shown(tmp_path):
    (tmp_path / "run" / diagnostics.MISTAKES).mkdir(parents=True)
    image = tmp_path / "run" / diagnostics.MISTAKES / "0__1__0.png"
    Image.new("RGB", (9, 9), "red").save(image)
    row = {**ROW, "folder": str(tmp_path / "run")}
    text = _write(tmp_path / "report", row)["report.md"]
    assert "| cat | &lt;dog> | 250 of 5,000 |" in text
    assert "![cifar10: some images of the most frequent mistakes.]" in text
    assert "No images of 1 of these pairs" in text
    assert (tmp_path / "report" / "mistakes_cifar10.png").exists()


def test_what_rows_lack_is_said_and_the_rest_goes_on(tmp_path):
    text = _write(tmp_path, BARE)["report.md"]
    assert "No row has its parameters." in text
    assert "Its rows hold no confusion matrix." in text
    assert "No learning curves" in text
    assert not list(tmp_path.glob("*.png"))
    text = _write(tmp_path / "more", ROW, {**BARE, "task": "x"})["report.md"]
    assert "Rows without parameters, left out: 1." in text


def test_tasks_with_like_names_have_files_of_their_own(tmp_path):
    tasks = ["folder:/a/b", "folder:/a_b", "folder:/a b"]
    _write(tmp_path, *({**ROW, "task": task} for task in tasks))
    assert len(list(tmp_path.glob("confusion_*.png"))) == 3


def test_a_second_report_replaces_the_first(tmp_path):
    first = _write(tmp_path, ROW)
    assert _write(tmp_path, ROW) == first


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="file is a file"):
        write.write(results.summarize([ROW]), tmp_path / "file")
