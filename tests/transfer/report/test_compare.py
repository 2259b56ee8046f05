import re

import numpy as np
import pytest

import reported
from efficientnet_tf.utils import intervals
from transfer.report import compare, compare_page, run_files
from transfer.scores import predictions

NAMES = ("a", "b", "<c>")
LABELS = np.array([0, 0, 0, 1, 1, 1, 2, 2])
FIRST = np.array([0, 0, 1, 1, 1, 2, 2, 0])
SECOND = np.array([0, 1, 0, 1, 2, 1, 2, 2])
LOST, GAINED = {1, 4}, {2, 5, 7}


def _matrix(predicted, classes=3):
    matrix = np.full((len(predicted), classes), 0.1, "float32")
    # The later, the surer.
    matrix[np.arange(len(predicted)), predicted] = (
        0.8 + np.arange(len(predicted)) / 100
    )
    return matrix / matrix.sum(axis=1, keepdims=True)


def _run(folder, predicted, labels=LABELS, names=NAMES, **fields):
    reported.write_run(folder, labels, _matrix(predicted), names, **fields)
    return run_files.read(folder)


def _name(found, numbers):
    return [found.describe(i)["name"] for i in numbers]


@pytest.fixture
def pair(tmp_path):
    return _run(tmp_path / "1", FIRST), _run(tmp_path / "2", SECOND)


def test_the_numbers_are_those_counted_by_hand(pair):
    found = compare.compare(*pair)
    numbers = compare.measure(found)
    assert (numbers["images"], numbers["lost"], numbers["gained"]) == (8, 2, 3)
    assert numbers["first_top1"] == 5 / 8 and numbers["second_top1"] == 6 / 8
    assert numbers["difference"] == pytest.approx(1 / 8)
    assert numbers["low"] < 0 < numbers["high"]
    assert numbers["p_value"] == 1.0
    means = np.mean([2 / 3, 2 / 3, 1 / 2]), np.mean([2 / 3, 2 / 3, 1])
    assert numbers["first_mean_per_class"] == pytest.approx(means[0])
    assert numbers["mean_per_class_difference"] == pytest.approx(
        means[1] - means[0]
    )
    # The surest mistake first.
    assert _name(found, found.lost) == ["4.jpg", "1.jpg"]
    assert _name(found, found.gained) == ["7.jpg", "5.jpg", "2.jpg"]
    counts = compare.count_classes(found)
    assert found.classes == ["<c>", "a", "b"]
    assert counts["lost"].tolist() == [0, 1, 1]
    assert counts["gained"].tolist() == [1, 1, 1]


def test_images_are_matched_by_hash_whatever_their_order_and_classes(tmp_path):
    first = _run(tmp_path / "1", FIRST)
    order = np.array([7, 1, 3, 5, 0, 2, 4])  # Without image 6.
    # The same classes, in another order.
    turn = np.array([2, 0, 1])
    images = reported.name_images(8).pick(order)
    images = predictions.Images(("moved",) * 7, images.sha256)
    second = _run(
        tmp_path / "2",
        turn[SECOND[order]],
        turn[LABELS[order]],
        ("b", "<c>", "a"),
        images=images,
        task="folder:/elsewhere",
    )
    found = compare.compare(first, second)
    assert found.how == "the hashes of their files" and found.images == 7
    assert set(_name(found, found.lost)) == {f"{i}.jpg" for i in LOST}
    assert set(_name(found, found.gained)) == {f"{i}.jpg" for i in GAINED}
    (left_out,) = found.left_out
    assert left_out.startswith(f"1 of 8 images of {first.folder}")


def test_an_image_that_is_there_twice_is_compared_twice(tmp_path):
    hashes = reported.name_images(8).sha256[[0, 0, 0, 1, 2, 3, 4, 5]]
    images = predictions.Images(tuple("01234567"), hashes)
    runs = [
        _run(tmp_path / name, predicted, images=images)
        for name, predicted in (("1", FIRST), ("2", SECOND))
    ]
    found = compare.compare(*runs)
    assert (found.images, len(found.lost), len(found.gained)) == (8, 2, 3)


def test_without_hashes_the_same_set_or_the_same_names_match(tmp_path):
    plain = reported.name_images(8, hashed=False)
    other = reported.name_images(8, hashed=False, fingerprint="g")
    runs = {
        name: _run(tmp_path / name, predicted, images=images, task=task)
        for name, predicted, images, task in (
            ("first", FIRST, plain, "digits"),
            ("same", SECOND, plain, "digits"),
            ("names", SECOND, other, "digits"),
            ("alien", SECOND, other, "cifar10"),
        )
    }
    for name, how in (("same", "their order"), ("names", "their names")):
        found = compare.compare(runs["first"], runs[name])
        assert found.how.startswith(how)
        assert set(_name(found, found.lost)) == {f"{i}.jpg" for i in LOST}
    with pytest.raises(ValueError, match="run on digits, .* on cifar10"):
        compare.compare(runs["first"], runs["alien"])


def test_runs_without_a_common_image_are_refused(tmp_path):
    images = reported.name_images(16).pick(np.arange(8, 16))
    runs = [
        _run(tmp_path / "1", FIRST),
        _run(tmp_path / "2", SECOND, images=images),
    ]
    with pytest.raises(ValueError, match="on no image that both have"):
        compare.compare(*runs)


def test_images_with_another_label_since_are_left_out_and_counted(tmp_path):
    labels = LABELS.copy()
    labels[1] = 1
    runs = _run(tmp_path / "1", FIRST), _run(tmp_path / "2", SECOND, labels)
    found = compare.compare(*runs)
    assert found.images == 7 and found.left_out[0].startswith("1 images that")
    assert set(_name(found, found.lost)) == {"4.jpg"}
    renamed = _run(tmp_path / "3", SECOND, names=("x", "y", "z"))
    with pytest.raises(ValueError, match="All images have other labels"):
        compare.compare(runs[0], renamed)


def test_where_nothing_changed_the_interval_has_a_width(tmp_path):
    runs = [_run(tmp_path / name, FIRST) for name in "12"]
    numbers = compare.measure(compare.compare(*runs))
    assert (numbers["difference"], numbers["p_value"]) == (0, 1)
    expected = intervals.paired_loss(0, 0, 8)
    assert (numbers["low"], numbers["high"]) == expected
    assert numbers["low"] < -0.1 < 0.1 < numbers["high"]


def test_the_page_has_the_numbers_and_escapes_the_names(pair):
    page = compare_page.compose(compare.compare(*pair))
    assert "<c>" not in page and "&lt;c&gt;" in page
    text = re.sub(r"<[^>]*>", " ", page.partition("<body>")[2])
    for expected in ("62.5 %", "75.0 %", "+12.5", "3 gained, 2 lost"):
        assert expected in text
    assert "2 images that only the second run has wrong" in text
