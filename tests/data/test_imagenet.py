import numpy as np
import pytest
import tensorflow as tf

import efficientnet_tf
from efficientnet_tf.data import imagenet
from efficientnet_tf.data.archives import tfds


def test_wordnet_ids_stand_in_the_order_of_tfds(data_dir):
    examples = tfds.load("imagenet2012", "train", data_dir)
    assert imagenet.wordnet_ids() == examples.class_names


def test_class_names_are_in_the_order_of_the_outputs():
    names = imagenet.class_names()
    assert len(names) == 1_000
    # The first, the giant panda and the last of ILSVRC 2012's list.
    assert names[0].startswith("tench")
    assert "panda" in names[388]
    assert "toilet" in names[999]


def test_predictions_are_decoded_as_by_keras():
    # Its imagenet_class_index.json has these under 388, 2 and 999.
    panda, shark, tissue = (
        ("n02510455", "giant_panda"),
        ("n01484850", "great_white_shark"),
        ("n15075141", "toilet_tissue"),
    )
    scores = np.zeros((2, 1000), np.float32)
    scores[0, [388, 2]] = 0.7, 0.2
    scores[1, [999, 388]] = 0.9, 0.1
    found = efficientnet_tf.decode_predictions(scores, top=2)
    assert [[row[:2] for row in rows] for rows in found] == [
        [panda, shark],
        [tissue, panda],
    ]
    np.testing.assert_allclose([row[2] for row in found[0]], [0.7, 0.2])
    assert len(imagenet.decode_predictions(tf.constant(scores))[1]) == 5


@pytest.mark.parametrize(
    "shape,top", [((2, 10), 5), ((1000,), 5), ((1, 1000), 0)]
)
def test_what_cannot_be_decoded_is_refused(shape, top):
    with pytest.raises(ValueError, match="shape|top=0"):
        imagenet.decode_predictions(np.zeros(shape), top)
