"""Which images are drawn how often, and what they count."""

import numpy as np
import pytest
import tensorflow as tf

from efficientnet_tf.data import examples as examples_lib, sampling
from efficientnet_tf.data.sets import sources

COUNTS = (9, 2, 0, 5)


@pytest.fixture(scope="module")
def examples():
    """Images whose first pixel is their number."""
    labels = np.repeat(np.arange(4), COUNTS)
    images = np.zeros((16, 2, 2, 3), "uint8")
    images[:, 0, 0, 0] = np.arange(16)
    return sources.from_arrays(images, labels, ("a", "b", "none", "c"))


def draw(examples, seed, begin=0):
    """Returns the numbers and labels of an epoch's draws."""
    source = examples.source
    rows = source.epoch(tf.constant(seed, "int64"), begin)
    rows = rows.take(source.size - begin)
    found = rows.map(lambda _, row: source.open(row)).as_numpy_iterator()
    pairs = [(int(image[0, 0, 0]), int(label)) for image, label in found]
    return np.array(pairs).T


def test_each_class_is_drawn_equally_often(examples):
    balanced = sampling.balance(examples)
    assert balanced.size == 18  # Three classes of six draws.
    numbers, labels = draw(balanced, (0, 0))
    np.testing.assert_array_equal(np.bincount(labels), [6, 6, 0, 6])
    # A label stays with its image.
    np.testing.assert_array_equal(labels, examples.read_labels()[numbers])
    times = np.bincount(numbers, minlength=16)
    # Six of nine once; two three times each; five once, one of them twice.
    assert sorted(times[:9]) == [0] * 3 + [1] * 6
    assert list(times[9:11]) == [3, 3]
    assert sorted(times[11:]) == [1, 1, 1, 1, 2]


def test_draws_are_another_order_each_epoch_from_any_place(examples):
    balanced = sampling.balance(examples)
    first, _ = draw(balanced, (0, 0))
    np.testing.assert_array_equal(first, draw(balanced, (0, 0))[0])
    np.testing.assert_array_equal(first[7:], draw(balanced, (0, 0), 7)[0])
    seen = [draw(balanced, (0, epoch))[0] for epoch in range(1, 9)]
    assert all((first != other).any() for other in seen)
    # Large classes take turns: over some epochs every image is drawn.
    assert set(np.concatenate(seen)) == set(range(16))


def test_records_cannot_be_drawn_so():
    class Records:
        size = 3

    records = examples_lib.Examples(Records(), ("a",), "")
    with pytest.raises(ValueError, match="read in any order; .* tfds:NAME"):
        sampling.balance(records)


def test_a_mixed_image_weighs_as_its_parts_do():
    images = np.ones((2, 4, 4, 3), "float32")
    labels = np.array([[0, 3], [2, 1]], "float32")
    settings = {"classes": 3, "mixup_alpha": 0.5, "mixup_weight": "batch"}
    _, one_hot, weights = sampling.mix_weighted(
        tf.constant(images), tf.constant(labels), (1, 2), **settings
    )
    assert 0 < one_hot[0, 0] < 1
    np.testing.assert_allclose(
        weights, one_hot.numpy() @ np.array([3, 0, 1]), rtol=1e-6
    )
