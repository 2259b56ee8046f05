import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from efficientnet_tf.data.sets import sources
from efficientnet_tf.deploy import calibration


class Stream:
    """A source that can only be read from its beginning, such as records."""

    def __init__(self, source):
        self.size = source.size
        self.epoch, self.open = source.epoch, source.open


def identity(image):
    return tf.cast(image, "float32")


def make_examples(labels):
    """Images that are their own number everywhere."""
    numbers = np.arange(len(labels), dtype="uint8")
    images = np.broadcast_to(
        numbers[:, None, None, None], (len(labels), 2, 2, 3)
    )
    return sources.from_arrays(
        images.copy(), np.asarray(labels), ("a", "b", "c")
    )


@pytest.mark.parametrize(
    ("counts", "wanted", "picked"),
    [
        ((20, 20, 20), 6, (2, 2, 2)),
        ((50, 2, 20), 12, (5, 2, 5)),
        ((3, 1, 0), 10, (3, 1, 0)),
    ],
)
def test_classes_are_taken_in_turn(counts, wanted, picked):
    labels = np.repeat(np.arange(3), counts)
    images = calibration.pick(make_examples(labels), wanted, identity)
    assert images.dtype == np.float32
    numbers = images[:, 0, 0, 0].astype(int)
    assert len(set(numbers)) == len(numbers)
    found = np.bincount(labels[numbers], minlength=3)
    assert tuple(found) == picked


def test_what_is_scored_is_not_taken(make_folder, tmp_path):
    folder = tmp_path / "photos"
    make_folder(folder / "train", {"a": 6, "b": 6})
    make_folder(folder / "validation", {"a": 2, "b": 2})
    # The same two files in both.
    for name in ("a", "b"):
        source = next((folder / "train" / name).iterdir())
        (folder / "validation" / name / "again.png").write_bytes(
            source.read_bytes()
        )
    splits = sources.load_splits(f"folder:{folder}", ("train", "validation"))
    train, scored = splits["train"], splits["validation"]
    known = set(scored.source.sha256)
    shared = sum(digest in known for digest in train.source.sha256)
    assert shared >= 2

    def preprocess(image):
        return tf.io.decode_image(image, 3)

    images = calibration.pick(train, 100, preprocess, scored)
    assert len(images) == train.size - shared > 0
    with pytest.raises(ValueError, match="would be scored, too"):
        calibration.pick(scored, 100, preprocess, scored)


def test_records_beyond_those_looked_at_are_named(monkeypatch, caplog):
    labels = np.arange(30) % 3
    found = make_examples(labels)
    stream = dataclasses.replace(found, source=Stream(found.source))
    monkeypatch.setattr(calibration, "_LOOKED_AT", 12)
    images = calibration.pick(stream, 9, identity)
    numbers = images[:, 0, 0, 0].astype(int)
    assert len(numbers) == 9 and numbers.max() < 12
    assert "Calibrated on the first 12 of 30 records." in caplog.text
    monkeypatch.setattr(calibration, "_LOOKED_AT", 30)
    caplog.clear()
    calibration.pick(stream, 9, identity)
    assert not caplog.text
