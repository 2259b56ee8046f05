import numpy as np
import tensorflow as tf

from efficientnet_tf.data import examples as examples_lib
from efficientnet_tf.data.sets import sources


def _numbers(size):
    """Returns examples whose only pixel is the number of the image."""
    images = np.zeros((size, 1, 1, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(size)
    return sources.from_arrays(images, np.arange(size) % 3, ["a", "b", "c"])


def test_joined_examples_are_both_sets():
    joined = _numbers(4).concatenate(_numbers(3))
    assert joined.size == len(list(joined.dataset)) == 7
    assert joined.fingerprint not in {
        e.fingerprint for e in (_numbers(4), _numbers(3))
    }


def test_names_and_hashes_stay_with_their_images():
    numbers = np.arange(4)
    source = examples_lib.Indexed(
        (numbers,), None, ["w", "x", "y", "z"], "abcd"
    )
    rest, held = source.hold_out(2)
    for part, wanted in (
        (rest, ("xz", "bd")),
        (held, ("wy", "ac")),
        (rest.concatenate(held), ("xzwy", "bdac")),
        (rest.concatenate(examples_lib.Indexed((numbers,), None)), None),
    ):
        if wanted is None:
            assert part.names is part.sha256 is None
        else:
            found = "".join(part.names), "".join(part.sha256)
            assert found == wanted


def test_the_shuffle_of_an_index_is_a_permutation():
    for size in (1, 2, 10, 1000):
        source = examples_lib.Indexed((np.arange(size),), None)
        order = [int(n) for n in source.numbers(tf.constant([3, 4], "int64"))]
        assert sorted(order) == list(range(size))


def test_labels_and_chosen_images_are_in_the_order_of_the_data_set():
    joined = _numbers(5).concatenate(_numbers(4))
    assert joined.read_labels().tolist() == [0, 1, 2, 0, 1, 0, 1, 2, 0]
    found = [
        (int(image[0, 0, 0]), int(label))
        for image, label in joined.pick(np.array([8, 0, 4]))
    ]
    assert found == [(0, 0), (4, 1), (3, 0)]
