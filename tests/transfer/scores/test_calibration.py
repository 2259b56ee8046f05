import numpy as np
import pytest

from transfer.scores import calibration


def _softmax(logits):
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
def test_the_temperature_that_labels_were_drawn_by_is_found(true):
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (4_000, 5))
    shares = _softmax(logits / true)
    labels = (shares.cumsum(axis=1) > random.random((4_000, 1))).argmax(axis=1)
    found = calibration.fit_temperature(_softmax(logits), labels)
    assert found == pytest.approx(true, rel=0.06)


def test_a_few_right_images_are_no_reason_to_be_sure_of_everything():
    shares = np.array([[0.7, 0.2, 0.1]])
    labels = np.zeros(200, int)
    few, many = (
        calibration.fit_temperature(shares.repeat(count, 0), labels[:count])
        for count in (3, 200)
    )
    assert many < 0.4 < few < 1


def test_a_probability_of_zero_and_a_wrong_sure_one_are_taken():
    shares = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    found = calibration.fit_temperature(shares, np.array([0, 0, 1, 1]))
    assert 5 < found <= 20


def test_the_error_is_the_mean_gap_of_the_bins():
    # Bins of 1/15: 0.95 and 0.99 share the last one, as 1 does.
    confidence = np.array([0.95, 0.99, 1.0, 0.41, 0.45])
    hits = np.array([True, False, True, False, True])
    bins = calibration.bin_confidence(confidence, hits)
    np.testing.assert_allclose(bins.confidence, [0.43, 0.98])
    np.testing.assert_allclose(bins.accuracy, [0.5, 2 / 3])
    assert bins.images.tolist() == [2, 3]
    error = (2 * 0.07 + 3 * (0.98 - 2 / 3)) / 5
    assert bins.error == pytest.approx(error)


def test_coverage_is_the_accuracy_of_the_surest():
    confidence = np.array([0.5, 0.9, 0.7, 0.9])
    hits = np.array([False, True, True, False])
    # The two of 0.9 cannot be told apart.
    expected = [1 / 2, 1 / 2, 2 / 3, 2 / 4]
    np.testing.assert_allclose(calibration.cover(confidence, hits), expected)
