import numpy as np
import pytest
from PIL import Image

from efficientnet_tf.data.sets import near_duplicates, sources
from transfer.config import tasks


def _smooth(number, count):
    """Images of large soft shapes, like photographs: enlarged noise."""
    noise = np.random.default_rng(number)
    coarse = noise.integers(20, 236, (count, 6, 6, 3), np.uint8)
    pictures = [Image.fromarray(pixels).resize((48, 48)) for pixels in coarse]
    return np.stack([np.asarray(picture) for picture in pictures])


def test_exact_and_near_duplicates_are_told_from_others():
    train, test = _smooth(0, 40), _smooth(1, 6)
    test[1] = train[7]
    test[2] = train[7]
    # Lighter and shifted by a pixel, like a second shot of the same.
    test[4] = np.roll(train[30], 1, axis=1) + 4
    train_labels, test_labels = np.zeros(40, int), np.zeros(6, int)
    test_labels[2] = 1
    pairs = near_duplicates.find(
        sources.from_arrays(train, train_labels, ("cat", "dog")),
        sources.from_arrays(test, test_labels, ("cat", "dog")),
    )
    assert pairs == [
        near_duplicates.Pair("image 1 (cat)", "image 7 (cat)", True, True),
        near_duplicates.Pair("image 2 (dog)", "image 7 (cat)", False, True),
        near_duplicates.Pair("image 4 (cat)", "image 30 (cat)", True, False),
    ]


def test_the_same_shape_in_other_colours_is_another_image():
    train = _smooth(0, 3)
    test = (train[:1] // 3).astype("uint8")
    labels = np.zeros(3, int)
    pairs = near_duplicates.find(
        sources.from_arrays(train, labels, ("a", "b")),
        sources.from_arrays(test, labels[:1], ("a", "b")),
    )
    assert pairs == []


# Found on the shared subsets: (exact, near); each pair was checked by eye.
SHARED = {
    "cifar10": (0, 3),
    "cifar100": (0, 1),
    "oxford_flowers102": (1, 0),
    "cars196": (0, 0),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHARED)
def test_duplicates_of_real_sets_are_found(data_dir, name):
    examples = tasks.load_examples(tasks.get_task(name), data_dir)
    train = examples["train"].concatenate(examples["validation"])
    pairs = near_duplicates.find(train, examples["test"])
    exact = sum(pair.exact for pair in pairs)
    assert (exact, len(pairs) - exact) == SHARED[name]
    assert all(pair.same_label for pair in pairs)
