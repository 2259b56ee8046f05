import numpy as np
import pytest
from scipy import special

from transfer.training import prototypes
from transfer.training.frozen_features import Features


def make(per_class, classes=4, width=12, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 1, (classes, width)) + 3
    labels = np.repeat(np.arange(classes), per_class)
    points = centres[labels] + rng.normal(0, spread, (len(labels), width))
    return Features(points.astype("float32"), labels)


def find_nearest(train, points):
    """By hand: the class whose mean direction has the highest cosine."""
    centre = train.features.mean(axis=0)

    def unit(rows):
        rows = rows - centre
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    means = np.stack(
        [
            unit(train.features)[train.labels == c].mean(axis=0)
            for c in np.unique(train.labels)
        ]
    )
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return (unit(points) @ means.T).argmax(axis=1)


@pytest.mark.parametrize("per_class", [1, 2, 5, 20])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_dense_layer_is_the_nearest_class_mean(per_class, seed):
    train, points = make(per_class, seed=seed), make(50, seed=seed + 9).features
    kernel, bias = prototypes.fit_head(train, 4)
    assert kernel.dtype == bias.dtype == "float32"
    found = (points @ kernel + bias).argmax(axis=1)
    np.testing.assert_array_equal(found, find_nearest(train, points))


def test_each_image_is_left_out_of_its_own_mean():
    train = make(3, spread=2.0)
    means = prototypes.average(train, 4)
    found = prototypes.predict_others(train, 4)
    for i, label in enumerate(train.labels):
        units = train.features - means.centre
        lengths = np.linalg.norm(units, axis=1, keepdims=True)
        units = units / lengths
        rest = (train.labels == label) & (np.arange(len(units)) != i)
        mean = units[rest].sum(axis=0)
        mean /= np.linalg.norm(mean)
        cosine = units[i] @ mean * lengths[i, 0] / means.length
        assert found[i, label] == pytest.approx(cosine, abs=1e-6)


def test_the_scale_makes_probabilities_mean_what_they_say():
    # The wider the classes, the less sure.
    scales = []
    for spread in (0.5, 1.5, 4.0):
        train = make(40, spread=spread)
        tested = make(400, spread=spread)
        kernel, bias = prototypes.fit_head(train, 4)
        shares = special.softmax(tested.features @ kernel + bias, axis=1)
        hits = shares.argmax(axis=1) == tested.labels
        assert abs(shares.max(axis=1).mean() - hits.mean()) < 0.06
        scales.append(prototypes.fit_scale(train, prototypes.average(train, 4)))
    assert scales == sorted(scales, reverse=True)


def test_one_image_a_class_has_the_standard_scale():
    train = make(1)
    means = prototypes.average(train, 4)
    assert prototypes.fit_scale(train, means) == prototypes.SCALE


def test_a_class_without_images_is_never_chosen():
    train = make(5)
    kernel, bias = prototypes.fit_head(train, 6)
    points = np.concatenate([make(50, seed=4).features, -train.features])
    assert (points @ kernel + bias).argmax(axis=1).max() < 4


def test_images_count_as_they_weigh():
    train = make(2)
    weights = np.tile([1.0, 0.0], 4).astype("float32")
    some = train.select(np.arange(0, 8, 2))
    weighed, alone = (
        prototypes.average(each, 4)
        for each in (train._replace(weights=weights), some)
    )
    np.testing.assert_allclose(weighed.directions, alone.directions, atol=1e-6)


@pytest.mark.parametrize(
    ("head", "per_class", "expected"),
    [
        ("linear", 1, True),
        ("linear", 5, False),
        ("prototypes", 5, True),
        ("random", 1, False),
        ("kept", 1, False),
    ],
)
def test_the_linear_head_of_very_few_images_is_prototypes(
    head, per_class, expected
):
    train = make(per_class)
    none = train.select(np.zeros(0, int))
    assert prototypes.are_chosen(head, train, none) == expected
