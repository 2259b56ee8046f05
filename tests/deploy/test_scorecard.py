import types

import numpy as np
import pytest

from efficientnet_tf.deploy import scorecard


class Fixed:
    """A network that gives rows of a table in turn, whatever it sees."""

    def __init__(self, classes, wrong=()):
        self.scores = np.eye(3, dtype="float32")[classes]
        self.scores[list(wrong)] = np.nan
        self.place = 0

    def predict_on_batch(self, images):
        rows = self.scores[self.place : self.place + len(images)]
        self.place += len(images)
        return rows


def score(*tables, labels=(0, 1, 2, 0, 1), outputs=(0, 1, 2)):
    classifiers = {
        str(i): types.SimpleNamespace(model=Fixed(table), target="class")
        for i, table in enumerate(tables)
    }
    images = np.zeros((len(labels), 4, 4, 3), "float32")
    batches = [(images[:3], labels[:3]), (images[3:], labels[3:])]
    return scorecard.score(classifiers, scorecard.Held(batches, outputs))


def test_a_file_is_scored_beside_the_first():
    rows = score([0, 1, 2, 0, 0], [0, 1, 0, 1, 1])
    assert rows["0"]["top1"] == 4 / 5
    assert rows["0"]["loss"] == rows["0"]["max_difference"] == 0
    # Two lost, one gained, three of five differ.
    assert rows["1"]["top1"] == 3 / 5
    assert rows["1"]["loss"] == pytest.approx(1 / 5)
    assert rows["1"]["equal_predictions"] == 2 / 5
    assert rows["1"]["max_difference"] == 1
    assert rows["1"]["loss_low"] < 1 / 5 < rows["1"]["loss_high"]


def test_labels_are_mapped_to_outputs():
    rows = score([2, 0, 1, 2, 0], labels=(0, 1, 2, 0, 1), outputs=(2, 0, 1))
    assert rows["0"]["top1"] == 1


def test_what_is_no_number_is_the_largest_difference():
    classifiers = {
        "a": types.SimpleNamespace(model=Fixed([0, 1]), target="class"),
        "b": types.SimpleNamespace(
            model=Fixed([0, 1], wrong=[1]), target="class"
        ),
    }
    batches = [(np.zeros((2, 4, 4, 3), "float32"), (0, 1))]
    rows = scorecard.score(classifiers, scorecard.Held(batches, (0, 1, 2)))
    assert rows["b"]["max_difference"] > 1e30


def test_no_images_are_an_error():
    with pytest.raises(ValueError, match="no images to score"):
        nothing = types.SimpleNamespace(target="class")
        scorecard.score({"a": nothing}, scorecard.Held([], (0,)))


def test_times_are_of_every_network():
    class Slow:
        def predict_on_batch(self, images):
            import time

            time.sleep(0.002 * len(images))

    quick = types.SimpleNamespace(
        model=types.SimpleNamespace(predict_on_batch=len), size=(4, 4)
    )
    slow = types.SimpleNamespace(model=Slow(), size=(4, 4))
    times = scorecard.time_all({"slow": slow, "quick": quick})
    assert times["slow"]["p50_ms"] >= 2
    assert times["slow"]["p95_ms"] >= times["slow"]["p50_ms"]
    assert times["slow"]["images_per_second"] <= 500
    assert times["quick"]["images_per_second"] > 500


def test_sizes_are_of_all_files_of_a_folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(bytes(3000))
    (tmp_path / "y").write_bytes(bytes(2000))
    assert scorecard.count_megabytes(tmp_path) == pytest.approx(0.005)
    assert scorecard.count_megabytes(tmp_path / "y") == pytest.approx(0.002)
