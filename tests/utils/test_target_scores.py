"""Scores of labels and numbers, beside scikit-learn's."""

import numpy as np
import pytest

from efficientnet_tf.utils import target_scores, targets

metrics = pytest.importorskip("sklearn.metrics")


def make_labels(ties):
    noise = np.random.default_rng(0)
    truth = (noise.random((60, 3)) < (0.5, 0.2, 0.05)).astype("float32")
    found = (truth * 0.3 + noise.random((60, 3)) * 0.7).astype("float32")
    return target_scores.Answers(truth, found.round(1) if ties else found)


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_is_scikit_learns(ties):
    answers = make_labels(ties)
    pairs = list(zip(answers.truth.T, answers.found.T, strict=True))
    found = [target_scores.average_precision(*pair) for pair in pairs]
    expected = [metrics.average_precision_score(*pair) for pair in pairs]
    np.testing.assert_allclose(found, expected)
    weights = np.random.default_rng(1).integers(0, 3, (5, 60)).astype(float)
    for draws, pair in zip(
        [target_scores.average_precision(*pair, weights) for pair in pairs],
        pairs,
        strict=True,
    ):
        expected = [
            metrics.average_precision_score(*pair, sample_weight=row)
            for row in weights
        ]
        np.testing.assert_allclose(draws, expected)


def test_scores_of_labels_leave_out_what_no_image_has():
    answers = make_labels(ties=False)
    answers.truth[:, 2] = 0
    row = target_scores.score(answers, targets.LABELS, (0.5, 0.4, 0.9))
    assert row["average_precision"][2] is None
    assert row["map"] == pytest.approx(np.mean(row["average_precision"][:2]))
    low, high = row["interval"]
    assert low < row["map"] < high
    chosen = answers.found >= np.array((0.5, 0.4, 0.9))
    for i in range(2):
        expected = metrics.f1_score(answers.truth[:, i], chosen[:, i])
        assert row["f1"][i] == pytest.approx(expected)


def test_thresholds_have_the_best_f1():
    answers = make_labels(ties=True)
    limits = target_scores.choose_thresholds(answers)
    for truth, found, limit in zip(
        answers.truth.T, answers.found.T, limits, strict=True
    ):
        best = max(
            metrics.f1_score(truth, found >= v) for v in np.unique(found)
        )
        assert metrics.f1_score(truth, found >= limit) == pytest.approx(best)
    answers.truth[:, 0] = 0
    assert target_scores.choose_thresholds(answers)[0] == 0.5


def test_scores_of_numbers_are_scikit_learns():
    noise = np.random.default_rng(0)
    truth = noise.normal((100, -3), (20, 0.1), (80, 2)).astype("float32")
    found = (truth + noise.normal(0, (10, 0.2), (80, 2))).astype("float32")
    row = target_scores.score(
        target_scores.Answers(truth, found), targets.NUMBERS
    )
    for key, expected in (
        ("r2", metrics.r2_score(truth, found, multioutput="raw_values")),
        ("mae", np.abs(found - truth).mean(axis=0)),
        ("rmse", np.sqrt(((found - truth) ** 2).mean(axis=0))),
    ):
        np.testing.assert_allclose(row["numbers"][key], expected, rtol=1e-4)
        assert row[key] == pytest.approx(np.mean(expected), rel=1e-4)
    low, high = row["interval"]
    assert low < row["r2"] < high


def test_a_difference_is_that_of_the_same_draws():
    answers = make_labels(ties=False)
    compare = target_scores.compare
    same = compare(answers.truth, answers.found, answers.found, targets.LABELS)
    assert same == (0, 0, 0)
    loss, low, high = compare(
        answers.truth, answers.truth, answers.found, targets.LABELS
    )
    assert 0 < low < loss < high


def test_data_with_other_names_are_placed_or_refused():
    network = ("a", "b", "c")
    assert target_scores.place(network, network, targets.LABELS) is None
    places = target_scores.place(network, ("c", "a"), targets.LABELS)
    wide = target_scores.spread(np.array([[1.0, 0.0]]), places, 3)
    np.testing.assert_array_equal(wide, [[0, 0, 1]])
    for data, kind in (
        (("a", "d"), targets.LABELS),
        (("a", "b"), targets.NUMBERS),
    ):
        with pytest.raises(ValueError, match="'[cd]' is of one"):
            target_scores.place(network, data, kind)
