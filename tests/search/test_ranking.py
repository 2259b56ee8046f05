"""Rankings, checked against numbers computed by hand and SciPy's ρ."""

import numpy as np
import pytest
from scipy import stats

from efficientnet_tf.search import ranking

# One list of scores, another, Spearman's ρ.
RHOS = [
    ([1, 2, 3], [10, 20, 90], 1.0),
    ([1, 2, 3], [3, 2, 1], -1.0),
    ([1, 2, 3, 4], [2, 1, 4, 3], 0.6),
    # The first two share rank 1.5.
    ([1, 1, 2], [1, 2, 3], 3**0.5 / 2),
]


@pytest.mark.parametrize("one,other,expected", RHOS)
def test_spearman_is_of_ranks(one, other, expected):
    assert ranking.spearman(one, other) == pytest.approx(expected)


def test_equal_scores_share_a_rank_as_in_scipy():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 4, (2, 30))
    expected = stats.spearmanr(one, other).statistic
    assert ranking.spearman(one, other) == pytest.approx(expected)


def test_seeds_that_agree_have_rho_one_and_noise_is_within_chance():
    scores = np.arange(10.0)
    found = ranking.agreement([scores, scores + 1, 2 * scores])
    assert (found["rho"], found["reliability"]) == (1.0, 1.0)
    assert found["chance"] == pytest.approx(1.96 / 3, abs=1e-4)
    noise = np.random.default_rng(0).normal(size=(3, 200))
    found = ranking.agreement(noise)
    assert abs(found["rho"]) < found["chance"] < 0.14


def test_means_over_seeds_rank_better_than_one_seed():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=500)
    groups = truth + rng.normal(size=(2, 4, 500))
    found = ranking.agreement(groups[0])
    means = groups.mean(axis=1)
    assert found["reliability"] > found["rho"] > 0.4
    assert found["reliability"] == pytest.approx(
        ranking.spearman(*means), abs=0.05
    )


@pytest.mark.parametrize("shape", [(1, 5), (3, 2), (2, 0)])
def test_too_little_says_nothing(shape):
    found = ranking.agreement(np.zeros(shape))
    assert found["rho"] is None and found["reliability"] is None
    assert (found["seeds"], found["candidates"]) == shape


def test_equal_accuracies_say_nothing():
    assert ranking.agreement(np.ones((2, 5)))["rho"] is None
