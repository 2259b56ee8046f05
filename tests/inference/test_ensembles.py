import dataclasses

import keras
import numpy as np
import pytest

from efficientnet_tf.inference import classifier, ensembles, evaluate
from efficientnet_tf.models import builder

NAMES = ("a", "b", "c")


class Fixed:
    """A network whose answers are looked up by the first pixel's value."""

    def __init__(self, rows):
        self.rows = np.array(rows, "float32")

    def predict_on_batch(self, images):
        return self.rows[np.asarray(images)[:, 0, 0, 0].astype(int)]


def make_batches(*labels):
    images = np.zeros((len(labels), 2, 2, 1), "float32")
    images[:, 0, 0, 0] = np.arange(len(labels))
    return [
        (images[:2], np.array(labels[:2])),
        (images[2:], np.array(labels[2:])),
    ]


def test_the_mean_of_several_networks_is_scored():
    # Of three images each network has one right that the other has wrong.
    first = Fixed([[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.1, 0.0, 0.9]])
    second = Fixed([[0.4, 0.6, 0.0], [0.1, 0.9, 0.0], [0.0, 0.5, 0.5]])
    labels = np.array([0, 1, 2])
    batches = make_batches(*labels)
    alone = [evaluate.evaluate(each, batches).top1 for each in (first, second)]
    assert alone == [pytest.approx(2 / 3), pytest.approx(1 / 3)]
    found = ensembles.evaluate_mean(
        [(first, batches), (second, batches)], labels
    )
    assert found.top1 == 1.0 and found.images == 3
    np.testing.assert_array_equal(found.confusion, np.eye(3))
    # Of data with another order of classes.
    turned = [(images, 2 - labels) for images, labels in batches]
    found = ensembles.evaluate_mean(
        [(first, turned), (second, turned)], 2 - labels, outputs=(2, 1, 0)
    )
    assert found.top1 == 1.0
    with pytest.raises(ValueError, match="no networks to average"):
        ensembles.evaluate_mean([], labels)


@pytest.fixture(scope="module")
def networks(tiny_row):
    made = [
        builder.build(tiny_row, classes=3, input_shape=(32, 32, 3))
        for _ in range(2)
    ]
    return [
        classifier.Classifier(network, NAMES, 32, "bilinear", 0)
        for network in made
    ]


def test_a_mirror_image_counts_as_much_as_the_image(networks):
    images = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3))
    images = images.astype("float32")
    found = ensembles.with_flip(networks[0]).model.predict_on_batch(images)
    mirrored = images[:, :, ::-1]
    model = networks[0].model
    expected = model.predict_on_batch(images), model.predict_on_batch(mirrored)
    np.testing.assert_allclose(found, np.mean(expected, axis=0), atol=1e-6)
    again = ensembles.with_flip(networks[0]).model.predict_on_batch(mirrored)
    np.testing.assert_allclose(found, again, atol=1e-6)
    assert np.abs(found - expected[0]).max() > 1e-4


def test_weights_are_averaged_of_one_network(networks, tiny_row):
    first, second = networks
    found = ensembles.average_weights(
        [first, dataclasses.replace(second, temperature=2.0)]
    )
    for mean, a, b in zip(
        found.model.get_weights(),
        first.model.get_weights(),
        second.model.get_weights(),
        strict=True,
    ):
        np.testing.assert_allclose(mean, (a + b) / 2, atol=1e-7)
    assert found.temperature == 1.0 and found.class_names == NAMES
    assert found.model.count_params() == first.model.count_params()
    other = dataclasses.replace(second, class_names=("a", "b", "x"))
    with pytest.raises(ValueError, match="only of classifiers with the same"):
        ensembles.average_weights([first, other])
    wider = dataclasses.replace(tiny_row, width=2.0)
    network = builder.build(wider, classes=3, input_shape=(32, 32, 3))
    with pytest.raises(ValueError, match="only of one and the same network"):
        ensembles.average_weights(
            [first, dataclasses.replace(second, model=network)]
        )
    keras.backend.clear_session()


def test_folds_answer_with_their_mean_whatever_their_preparation(tmp_path):
    class Member:
        class_names, target = NAMES, "class"

        def __init__(self, rows, thresholds=()):
            self.rows, self.thresholds = rows, thresholds

        def predict_each(self, paths, batch_size):
            for path in paths:
                yield path, self.rows[path]

    broken = OSError("no image")
    first = Member({"x": np.array([0.8, 0.2, 0]), "y": broken}, (0.2, 0.5, 0.4))
    second = Member(
        {"x": np.array([0.2, 0.4, 0.4]), "y": broken}, (0.4, 0.5, 0)
    )
    both = ensembles.Ensemble([first, second], ["one", "two"])
    found = dict(both.predict_each(["x", "y"]))
    np.testing.assert_allclose(found["x"], [0.5, 0.3, 0.2])
    assert found["y"] is broken
    assert both.outputs.thresholds == pytest.approx((0.3, 0.5, 0.2))
    second.target = "labels"
    with pytest.raises(ValueError, match="one and two have different classes"):
        ensembles.Ensemble([first, second], ["one", "two"])
