import numpy as np
import pytest
from sklearn import linear_model, metrics, pipeline, preprocessing

from transfer.config import class_weights
from transfer.training import linear_head


def _clusters(classes, present, per_class=30, width=8):
    """Overlapping clusters of features, and their labels."""
    noise = np.random.default_rng(0)
    centres = noise.normal(0, 1, (classes, width))
    labels = np.repeat(present, per_class)
    points = centres[labels] + noise.normal(0, 0.8, (len(labels), width))
    return points.astype("float32"), labels


PRESENT = {
    "all classes": (4, [0, 1, 2, 3]),
    "two classes": (2, [0, 1]),
    "one class missing": (4, [0, 2, 3]),
    "two of three": (3, [0, 2]),
}


def _pipeline(strength):
    return pipeline.make_pipeline(
        preprocessing.StandardScaler(),
        linear_model.LogisticRegression(C=strength, max_iter=300),
    )


@pytest.mark.parametrize("classes,present", PRESENT.values(), ids=PRESENT)
def test_the_dense_layer_predicts_what_scikit_learn_predicts(classes, present):
    points, labels = _clusters(classes, present)
    kernel, bias = linear_head.fit_classifier((points, labels), classes, 0.3)
    assert kernel.shape == (8, classes) and bias.shape == (classes,)
    solver = _pipeline(0.3).fit(points, labels)
    logits = points @ kernel + bias
    np.testing.assert_array_equal(logits.argmax(axis=1), solver.predict(points))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        shares[:, present], solver.predict_proba(points), atol=1e-4
    )
    absent = np.setdiff1d(np.arange(classes), present)
    assert shares[:, absent].sum() < 1e-6


@pytest.mark.parametrize("value", [1e-4, 1e-2])
def test_a_feature_that_one_image_has_outvotes_no_other(value):
    points, labels = _clusters(4, [0, 1, 2, 3])
    rare = np.zeros((len(points), 1), "float32")
    rare[0] = value
    points = np.concatenate([points, rare], axis=1)
    kernel, bias = linear_head.fit_classifier((points, labels), 4, 3.0)
    assert np.abs(kernel[-1]).max() < 1e-2 * np.abs(kernel[:-1]).max()
    found = (points @ kernel + bias).argmax(axis=1)
    # Standardized to deviation 1, it would decide these for one class.
    points[:, -1] = 1.0
    np.testing.assert_array_equal(
        found, (points @ kernel + bias).argmax(axis=1)
    )


def _split(points, labels):
    return (points[::2], labels[::2]), (points[1::2], labels[1::2])


@pytest.fixture
def few(monkeypatch):
    """So few images are enough to choose on, without cross-validation."""
    monkeypatch.setattr(linear_head, "ENOUGH_TO_CHOOSE", 1)


def test_the_strength_is_the_surest_of_the_best_on_validation(few):
    points = _clusters(4, [0, 1, 2, 3], per_class=60, width=4)
    train, validation = _split(*points)
    sweep = (0.1, 1e-4, 0.01)
    found = linear_head.choose_strength(train, validation, sweep)
    hits, losses = {}, {}
    for c in sweep:
        solver = _pipeline(c).fit(*train)
        hits[c] = solver.predict(validation[0]) == validation[1]
        losses[c] = metrics.log_loss(
            validation[1], solver.predict_proba(validation[0])
        )
    best = max(hits.values(), key=np.sum)
    equal = [
        c
        for c in sweep
        if best.sum() - hits[c].sum() <= (best != hits[c]).sum() ** 0.5
    ]
    assert 1e-4 not in equal  # So there is a choice by accuracy too.
    assert found.C == min(equal, key=losses.get)
    assert (found.images, found.folds) == (120, 1)
    kernel, bias = linear_head.fit_classifier(train, 4, found.C)
    predicted = (validation[0] @ kernel + bias).argmax(axis=1)
    assert (predicted == validation[1]).mean() == pytest.approx(found.accuracy)


TIES = {
    "all right": (3.0, 1.0),
    # Far from all others, one image is wrong under any penalty.
    "one always wrong": (3.0, 59 / 60),
}


@pytest.mark.parametrize("name", TIES)
def test_of_equal_accuracies_the_smaller_log_loss_wins(few, name):
    distance, accuracy = TIES[name]
    points, labels = _clusters(4, [0, 1, 2, 3])
    points += distance * np.eye(4, 8, dtype="float32")[labels] * 5
    train, validation = _split(points, labels.copy())
    if accuracy < 1:
        validation[1][0] = 1
    sweep = (1e-3, 0.01, 0.1, 1.0)
    found = linear_head.choose_strength(train, validation, sweep)
    losses = {
        c: metrics.log_loss(
            validation[1], _pipeline(c).fit(*train).predict_proba(validation[0])
        )
        for c in sweep
    }
    assert found.accuracy == pytest.approx(accuracy)
    assert found.C == min(losses, key=losses.get)
    assert found.log_loss == pytest.approx(losses[found.C], rel=0.02)


def test_with_few_validation_images_all_are_cross_validated():
    points, labels = _clusters(3, [0, 1, 2], per_class=10)
    held = np.arange(30) % 10 == 0
    pairs = (points[~held], labels[~held]), (points[held], labels[held])
    found = linear_head.choose_strength(*pairs, (0.01, 1.0))
    assert (found.images, found.folds) == (30, linear_head.FOLDS)
    assert "30 images in 5-fold cross-validation" in str(found)
    # With one image a class nothing can be divided.
    alone = (points[::10], labels[::10]), (points[:0], labels[:0])
    found = linear_head.choose_strength(alone[0], pairs[1], (1.0,))
    assert found.folds == 2
    # The only image of a class is fitted on, and the others are divided.
    rare = (points[:10], labels[:10]), (points[10:21], labels[10:21])
    found = linear_head.choose_strength(*rare, (0.01, 1.0))
    assert (found.images, found.folds, found.accuracy) == (20, 5, 1.0)


def test_balanced_classes_are_scikit_learns():
    points, labels = _clusters(3, [0, 1, 2])
    keep = (labels > 0) | (np.arange(90) % 10 == 0)
    points, labels = points[keep], labels[keep]
    kernel, bias = linear_head.fit_classifier(
        (points, labels),
        3,
        0.3,
        weighing=class_weights.Weighing(class_weight="auto"),
    )
    solver = _pipeline(0.3)
    solver.named_steps["logisticregression"].class_weight = "balanced"
    solver.fit(points, labels)
    logits = points @ kernel + bias
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, solver.predict_proba(points), atol=1e-3)


@pytest.mark.parametrize(
    ("sweep", "distance", "told"),
    [
        ((1e-4, 0.1, 1.0), 0, False),
        ((1e-4, 1e-2), 0, True),
        ((1e-4,), 0, False),
        # All are right under any penalty: no other would help.
        ((1e-2, 1.0), 9, False),
    ],
)
def test_a_choice_at_the_end_is_told_where_more_would_help(
    few, sweep, distance, told, caplog
):
    points, labels = _clusters(4, [0, 1, 2, 3], per_class=60, width=4)
    points += distance * np.eye(4, dtype="float32")[labels]
    with caplog.at_level("INFO", "absl"):
        linear_head.choose_strength(*_split(points, labels), sweep)
    assert ("is at the end of l2_sweep" in caplog.text) == told
