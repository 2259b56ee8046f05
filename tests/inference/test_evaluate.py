import numpy as np
import pytest

from efficientnet_tf.inference import evaluate


class Table:
    """A model whose scores for image i are row i of a table."""

    def __init__(self, scores):
        self.scores = np.asarray(scores, "float32")
        self.seen = []

    def predict_on_batch(self, images):
        self.seen += list(images)
        return self.scores[images]


def _score(scores, labels, batch_size=2, outputs=None):
    table = Table(scores)
    numbers = np.arange(len(labels))
    batches = [
        (numbers[i : i + batch_size], np.asarray(labels)[i : i + batch_size])
        for i in range(0, len(labels), batch_size)
    ]
    return evaluate.evaluate(table, batches, outputs=outputs), table


# Seven classes; the ranks of the labels are 1, 2, 5, 6, 1.
SCORES = [
    [9, 1, 2, 3, 4, 5, 6],
    [9, 8, 1, 2, 3, 4, 5],
    [9, 8, 7, 6, 5, 0, 1],
    [9, 8, 7, 6, 5, 4, 0],
    [0, 0, 0, 0, 0, 0, 1],
]
LABELS = [0, 1, 4, 5, 6]


def test_accuracies_are_those_counted_by_hand():
    scores, _ = _score(SCORES, LABELS)
    assert scores.images == 5
    assert scores.top1 == pytest.approx(2 / 5)
    assert scores.top5 == pytest.approx(4 / 5)


def test_confusion_has_the_true_class_in_rows():
    scores, _ = _score(SCORES, LABELS)
    expected = np.zeros((7, 7), int)
    for true, predicted in [(0, 0), (1, 0), (4, 0), (5, 0), (6, 6)]:
        expected[true, predicted] += 1
    np.testing.assert_array_equal(scores.confusion, expected)


def test_classes_without_images_do_not_count_in_the_mean():
    # Class 0: 3 of 4; class 1: 0 of 1; class 2 has no images.
    logits = np.eye(3)[[0, 0, 0, 1, 0]]
    scores, _ = _score(logits, [0, 0, 0, 0, 1])
    np.testing.assert_array_equal(scores.per_class, [0.75, 0.0, np.nan])
    assert scores.mean_per_class == pytest.approx(0.375)
    assert scores.top1 == pytest.approx(0.6)


@pytest.mark.parametrize("label", range(7))
def test_a_tie_does_not_depend_on_the_order_of_classes_in_top5(label):
    scores, _ = _score(np.ones((1, 7)), [label])
    assert scores.top5 == 1.0
    # Top-1 is one class only: the first.
    assert scores.top1 == (label == 0)


def test_with_few_classes_every_label_is_in_the_top5():
    scores, _ = _score(np.eye(3), [2, 0, 1])
    assert (scores.top1, scores.top5) == (0.0, 1.0)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 9])
def test_the_result_does_not_depend_on_the_batch_size(batch_size):
    scores, table = _score(SCORES, LABELS, batch_size)
    assert table.seen == [0, 1, 2, 3, 4]
    assert (scores.top1, scores.top5) == (2 / 5, 4 / 5)


def test_progress_counts_every_image():
    counts = []
    batches = [(np.arange(2), np.array([0, 1])), (np.array([2]), np.array([4]))]
    evaluate.evaluate(Table(SCORES), batches, progress=counts.append)
    assert counts == [2, 1]


def test_nothing_to_evaluate_and_foreign_labels_are_refused():
    with pytest.raises(ValueError, match="empty"):
        evaluate.evaluate(Table(SCORES), [])
    for label in (7, -1):
        with pytest.raises(ValueError, match=f"Label {label} .* 7 classes"):
            _score(SCORES, [label])


def test_outputs_that_are_not_numbers_are_no_accuracy():
    with pytest.raises(FloatingPointError, match="not finite"):
        _score([[np.nan] * 7], [0])


def test_labels_are_those_of_the_outputs_that_they_are_mapped_to():
    # The data's labels 0 and 1 are the outputs 5 and 2.
    logits = np.eye(7)[[5, 2, 2, 0]]
    scores, _ = _score(logits, [0, 1, 0, 0], outputs=(5, 2))
    assert scores.top1 == 2 / 4
    # Output 0 does not compete, and of the tie output 5 comes first.
    assert scores.top1_among == 3 / 4
    expected = np.zeros((7, 7), int)
    for true, predicted in [(5, 5), (2, 2), (5, 2), (5, 0)]:
        expected[true, predicted] += 1
    np.testing.assert_array_equal(scores.confusion, expected)
    assert scores.mean_per_class == pytest.approx((1 / 3 + 1) / 2)
    with pytest.raises(ValueError, match="Label 2 .* 2 classes"):
        _score(logits, [2, 0, 0, 0], outputs=(5, 2))


def test_all_outputs_compete_where_the_data_have_all_classes():
    scores, _ = _score(SCORES, LABELS)
    assert scores.top1_among == scores.top1
