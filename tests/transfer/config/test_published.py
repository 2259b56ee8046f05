import pytest

from efficientnet_tf.models import variants
from transfer.config import published


def test_both_halves_have_the_eight_sets():
    assert list(published.BEST_PUBLIC) == list(published.BEST_REPORTED)
    assert len(published.BEST_PUBLIC) == 8


ENTRIES = {
    (half, task): entry
    for half, table in published.HALVES.items()
    for task, entry in table.items()
}


@pytest.mark.parametrize("key", ENTRIES, ids=" ".join)
def test_the_numbers_of_a_line_agree_with_each_other(key):
    entry = ENTRIES[key]
    assert entry.model in variants.VARIANTS
    assert 0.8 < entry.accuracy < 1 and 0.8 < entry.peer_accuracy < 1
    if entry.ratio is None:
        assert entry.parameters is None and entry.peer_parameters is None
    elif key != ("best public models", "oxford_iiit_pet"):
        # Two digits are printed of each.
        exact = entry.peer_parameters / entry.parameters
        assert entry.ratio == pytest.approx(exact, rel=0.035)


def test_the_paper_counts_parameters_without_the_classifier():
    # tests/models/test_builder.py has the counts with it; the classifier has
    # (features + 1) * 1,000: B0 5,288,548 - 1,281,000, B7 66,347,960 -
    # 2,561,000.
    assert published.BEST_PUBLIC["cifar10"].parameters == round(4.007548)
    assert published.BEST_REPORTED["cifar10"].parameters == round(63.78696)
