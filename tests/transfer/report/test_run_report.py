import html
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import browser
import paths
import reported
from efficientnet_tf.utils import extras, untrusted
from transfer.report import (
    charts,
    run_classes,
    run_files,
    run_report,
    wrong_labels,
)
from transfer.scores import gallery, predictions

LABELS = np.arange(70) % 7


def _write(folder, **fields):
    matrix = reported.predict(LABELS, 7)
    names = fields.pop("class_names", reported.HOSTILE)
    return reported.write_run(folder, LABELS, matrix, names, **fields)


def _compose(folder):
    return run_report.compose(run_files.read(folder))


def _text(page):
    """Returns what a reader sees, without the style."""
    body = page.partition("<body>")[2]
    return html.unescape(re.sub(r"<[^>]*>", " ", body))


def test_names_are_shown_as_they_are_and_never_as_markup(tmp_path):
    row = _write(tmp_path / "run")
    page = _compose(tmp_path / "run")
    text = _text(page)
    for name in reported.HOSTILE[:-1]:
        assert name in text
    assert r"two\nlines \u202e turned" in text
    assert "<script" not in page and "\u202e" not in page
    assert page.count("<h1>") == 1 and "<h1><bdi>photos</bdi></h1>" in page
    assert f"{100 * row['score']:.1f} %" in text
    # Nothing of the paper, and nothing from elsewhere.
    assert not re.search("Figure 6|Table 5|https?://(?!arxiv)", page)
    assert not re.search(r'(src|href)="(?!data:image|#)', page)


def test_rates_of_classes_are_those_of_the_definition():
    # True a: 3 right, 1 as b. True b: 2 right. c: none true, 1 b as c.
    cells = np.array([[0, 0, 3], [0, 1, 1], [1, 1, 2], [1, 2, 1]])
    rates = run_classes.measure(cells, 4)
    nan = np.nan
    for name, expected in {
        "precision": [1, 2 / 3, 0, nan],
        "recall": [3 / 4, 2 / 3, nan, nan],
        "F1": [6 / 7, 2 / 3, 0, nan],
    }.items():
        np.testing.assert_allclose(rates[name], expected)


def test_images_that_were_trained_on_are_counted_from_the_runs_list(tmp_path):
    _write(tmp_path / "run", class_names=tuple("abcdefg"))
    (tmp_path / "run" / "images.csv").write_text(
        "split,label,path\ntrain,a,1\ntrain,a,2\nvalidation,a,3\ntrain,b,4\n"
    )
    run = run_files.read(tmp_path / "run")
    counts = run_files.count_train_images(run)
    assert counts.tolist() == [2, 1, 0, 0, 0, 0, 0]
    config = {"task": "folder:/photos", "train_on": "train+validation"}
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    run = run_files.read(tmp_path / "run")
    assert run_files.count_train_images(run).tolist()[:2] == [3, 1]


def test_a_matrix_has_its_numbers_and_a_large_one_is_a_picture(tmp_path):
    row = _write(tmp_path / "few")
    page = _compose(tmp_path / "few")
    cells = re.findall(r'<td style="background[^>]*>(\d+)</td>', page)
    assert sorted(map(int, cells)) == sorted(
        cell[2] for cell in row["confusion"]
    )
    labels = np.arange(300) % 30
    reported.write_run(
        tmp_path / "many",
        labels,
        reported.predict(labels, 30),
        [f"class {i}" for i in range(30)],
    )
    page = _compose(tmp_path / "many")
    assert 'class="heat"' in page and 'class="matrix"' not in page
    assert "<summary>10 more</summary>" in page


def test_many_classes_and_images_stay_small_and_what_is_left_out_is_said(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(predictions, "MOST_NUMBERS", 100)
    labels = np.arange(4_000) % 1_000
    matrix = reported.predict(labels, 1_000)
    names = [f"class {i}" for i in range(1_000)]
    reported.write_run(tmp_path / "run", labels, matrix, names)
    monkeypatch.setattr(extras, "is_installed", lambda name: True)
    page = _compose(tmp_path / "run")
    assert len(page) < 200_000
    text = _text(page)
    assert "800 classes with a higher F1 are left out" in text
    assert "A pixel stands for 2 x 2 classes" in text
    assert "are kept only in part" in text
    assert re.search(r"[\d,]+ pairs with no more images are left out", text)


@pytest.fixture(scope="module")
def screen():
    found = browser.find()
    if found is None:
        pytest.skip("needs Chromium and chromedriver")
    with browser.start(*found) as page:
        yield page


@pytest.mark.parametrize("width", [400, 1280])
def test_every_column_of_120_long_classes_is_on_the_screen(
    screen, width, tmp_path
):
    labels = np.arange(360) % 120
    names = [f"Soft-coated wheaten terrier {i}, side view" for i in range(120)]
    matrix = reported.predict(labels, 120)
    reported.write_run(tmp_path / "run", labels, matrix, names)
    (tmp_path / "run/near_duplicates.csv").write_text(
        "path,split,other_path,other_split,exact,same_class\n"
        + 3 * "a long name of a camera 1.jpg,test,a 2.jpg,train,True,False\n"
    )
    path = tmp_path / "page.html"
    path.write_text(_compose(tmp_path / "run"), encoding="utf-8")
    screen.resize(width, 900)
    screen.open(path)
    tables, cut = screen.run("""
        const cells = [...document.querySelectorAll("table:not(.matrix) td")]
          .filter((cell) => cell.checkVisibility());
        const cut = cells.filter((cell) =>
          cell.getBoundingClientRect().right > innerWidth
          || cell.scrollWidth > cell.clientWidth + 1);
        const tables = document.querySelectorAll("table:not(.matrix)").length;
        return [tables, cut.map((cell) => cell.textContent)];
    """)
    assert tables >= 5 and not cut
    assert screen.run("return document.documentElement.scrollWidth") <= width


def test_the_temperature_and_both_errors_are_told(tmp_path):
    _write(
        tmp_path / "run",
        temperature=1.5,
        calibration="44 held-out images of the validation split",
    )
    text = _text(_compose(tmp_path / "run"))
    assert "A temperature of 1.50 was fitted on 44 held-out images" in text
    _write(tmp_path / "other", temperature=None, calibration="no images were")
    text = _text(_compose(tmp_path / "other"))
    assert "No temperature was fitted: no images were" in text


def test_images_stand_with_name_classes_probability_and_maps(tmp_path):
    _write(tmp_path / "run", class_names=tuple("abcdefg"))
    run = run_files.read(tmp_path / "run")
    places = gallery.find_most_wrong(run.found)
    wrong = np.flatnonzero(~run.found.hits)
    assert set(places) == set(wrong[:12]) or len(wrong) > 12
    sure = run.found.probabilities[places, 0]
    assert (np.diff(sure) <= 0).all()
    assert not set(places) & set(gallery.find_least_sure(run.found))
    first = int(places[0])
    folder = tmp_path / "run" / gallery.GALLERY
    folder.mkdir()
    Image.new("RGB", (9, 9)).save(folder / f"{first}.jpg")
    before = _compose(tmp_path / "run").count("data:image/jpeg")
    Image.new("RGB", (18, 9)).save(folder / f"maps_{first}.jpg")
    page = _compose(tmp_path / "run")
    assert (before, page.count("data:image/jpeg")) == (1, 2)
    text = " ".join(_text(page).split())
    true, best = (
        "abcdefg"[side[first]]
        for side in (run.found.labels, run.found.predicted)
    )
    assert (
        f"for {true} for {best} {first}.jpg predicted: {best} "
        f"{100 * sure[0]:.1f} % true: {true} "
        f"{100 * run.found.own[first]:.1f} %"
    ) in text


def test_maps_of_a_right_image_are_of_its_class_and_the_next(tmp_path):
    matrix = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]], "float32")
    found = predictions.from_matrix(
        matrix, np.array([1, 2]), reported.name_images(2)
    )
    pairs = [gallery.compared_classes(found, place) for place in (0, 1)]
    assert pairs == [(1, 2), (2, 0)]


def test_an_earlier_version_s_run_has_a_report_of_what_it_left(tmp_path):
    _write(tmp_path / "run", keep=False)
    text = _text(_compose(tmp_path / "run"))
    assert "There is no predictions.npz" in text
    assert "There is no environment.json" in text
    assert "No command was recorded; this one has the same settings:" in text
    assert (
        "efficientnet finetune --task=folder:/photos "
        "--model=efficientnet_lite0 --weights=imagenet --recipe=full" in text
    )
    assert "Calibration" not in text and "Confusion" in text


def test_damaged_files_are_named_and_left_out(tmp_path):
    _write(tmp_path / "run")
    (tmp_path / "run" / predictions.PREDICTIONS_FILE).write_bytes(b"PK")
    (tmp_path / "run" / "environment.json").write_text("[")
    (tmp_path / "run" / "near_duplicates.csv").write_text("a,b\n1,2\n")
    text = _text(_compose(tmp_path / "run"))
    for name in ("predictions.npz", "environment.json"):
        assert re.search(f"Left out: .*{name}", text)
    assert "near_duplicates.csv is damaged" in text


def test_predictions_of_other_images_are_not_shown(tmp_path):
    _write(tmp_path / "run", test_images=60)
    text = _text(_compose(tmp_path / "run"))
    assert "predictions.npz has 70 images, but the run was scored on 60" in text


REFUSED = {
    "nothing": ("There is no folder", FileNotFoundError),
    "empty": ("holds no finished fine-tuning run", FileNotFoundError),
    "grid": ("holds many runs", FileNotFoundError),
    "other": ("lacks model", untrusted.DamagedError),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_run_is_refused(tmp_path, name):
    message, kind = REFUSED[name]
    if name != "nothing":
        (tmp_path / name).mkdir()
    if name == "grid":
        (tmp_path / name / "plan.json").write_text("{}")
    if name == "other":
        (tmp_path / name / "results.jsonl").write_text('{"task": "a"}\n')
    with pytest.raises(kind, match=message):
        run_files.read(tmp_path / name)


@pytest.mark.parametrize("epochs", [1, 2, 7, 12, 40, 350])
def test_ticks_are_whole_epochs(epochs):
    axis = charts.epoch_axis(range(1, epochs + 1))
    assert all(isinstance(tick, int) for tick in axis.ticks)
    assert 1 <= len(axis.ticks) <= 11
    assert axis.ticks[0] == 1 and axis.ticks[-1] <= epochs
    assert axis.low < axis.high


@pytest.mark.parametrize("low", [0, 0.1, 0.25, 0.62, 0.77, 0.949, 0.996, 1])
def test_an_axis_of_shares_begins_below_the_lowest_and_ends_at_all(low):
    axis = charts.share_axis("right, %", low)
    assert axis.low <= low <= axis.high == 1
    assert axis.show(axis.ticks[-1]) == "100" and 2 <= len(axis.ticks) <= 7


def test_labels_are_looked_for_by_cleanlab_if_it_is_there(
    tmp_path, monkeypatch
):
    _write(tmp_path / "run")
    monkeypatch.setattr(extras, "is_installed", lambda name: False)
    text = _text(_compose(tmp_path / "run"))
    assert 'pip install "efficientnet-tf[labels]"' in text


def test_a_swapped_label_is_found():
    pytest.importorskip("cleanlab", reason="the extra `labels`")
    labels = np.arange(90) % 3
    matrix = reported.predict(labels, 5, right=1.0)
    labels[[4, 40]] = (labels[[4, 40]] + 1) % 3
    found = predictions.from_matrix(matrix, labels, reported.name_images(90))
    # Two classes have no images.
    assert set(wrong_labels.find(found, 5)) == {4, 40}


def test_reports_and_comparisons_need_no_framework():
    program = (
        "import sys\n"
        "from transfer.report import compare_page, run_report\n"
        "bad = {'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)\n"
        "assert not bad, bad\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=paths.ROOT, check=True)
