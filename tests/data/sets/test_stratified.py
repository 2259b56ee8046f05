import numpy as np
import pytest

from efficientnet_tf.data.sets import stratified


def test_strata_are_classes_rarest_labels_or_ranges_of_numbers():
    np.testing.assert_array_equal(
        stratified.find_strata(np.array([2, 0, 1]), 2), [2, 0, 1]
    )
    labels = np.array([[1, 0], [1, 1], [1, 0], [0, 0]], "float32")
    # The second label is rarer; 2 stands for none.
    assert stratified.find_strata(labels, 2).tolist() == [0, 1, 0, 2]
    numbers = np.array([[9.0], [1.5], [7.0], [3.0]], "float32")
    assert stratified.find_strata(numbers, 2).tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("parts", [2, 3, 5])
def test_each_stratum_is_spread_evenly(parts, seed):
    rng = np.random.default_rng(seed)
    strata = np.repeat([0, 1, 2], [31, 12, parts])
    rng.shuffle(strata)
    groups = [str(i) for i in range(len(strata))]
    found = stratified.divide(strata, groups, parts, seed)
    for stratum, size in zip(
        *np.unique(strata, return_counts=True), strict=True
    ):
        own = np.bincount(found[strata == stratum], minlength=parts)
        assert own.sum() == size and own.max() - own.min() <= 1


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_whole_and_strata_nearly_even(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 5, 60)
    groups = np.repeat([f"g{i}" for i in range(60)], sizes)
    strata = np.repeat(rng.integers(0, 3, 60), sizes)
    found = stratified.divide(strata, groups, 3, seed)
    for group in set(groups):
        assert len(set(found[groups == group])) == 1
    for stratum in range(3):
        own = np.bincount(found[strata == stratum], minlength=3)
        assert own.min() > 0.2 * own.sum()


def test_a_stratum_may_be_smaller_than_the_parts():
    strata = np.array([0] * 9 + [1])
    found = stratified.divide(strata, list("abcdefghij"), 3, 0)
    assert np.bincount(found[:9]).tolist() == [3, 3, 3]
