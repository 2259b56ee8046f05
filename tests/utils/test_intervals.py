import numpy as np
import pytest

from efficientnet_tf.utils import intervals

# Newcombe, 1998, Statistics in Medicine 17, table I, method 3 (the score's,
# without continuity correction): hits, of, low, high.
NEWCOMBE = [
    (81, 263, 0.2553, 0.3662),
    (15, 148, 0.0624, 0.1605),
    (0, 20, 0.0000, 0.1611),
    (1, 29, 0.0061, 0.1718),
]


@pytest.mark.parametrize("hits,images,low,high", NEWCOMBE)
def test_wilson_is_as_published(hits, images, low, high):
    found = intervals.wilson(hits / images, images)
    assert found == pytest.approx((low, high), abs=5e-5)


def test_wilson_stays_in_range_and_is_symmetric():
    low, high = intervals.wilson(1.0, 20)
    assert high == 1.0
    # The mirror image of 0 of 20 above.
    assert low == pytest.approx(1 - 0.1611, abs=5e-5)


def test_the_bootstrap_of_equal_classes_is_as_wide_as_theory():
    # 100 classes of 50 images at 0.8: the mean's variance is 0.16 / 5,000.
    low, high = intervals.bootstrap(np.full(100, 0.8), np.full(100, 50))
    spread = 1.96 * (0.16 / 5_000) ** 0.5
    # 10,000 draws give a bound to about 2 % of the standard deviation.
    assert (low, high) == pytest.approx((0.8 - spread, 0.8 + spread), abs=5e-4)


def test_small_classes_widen_the_mean_over_classes():
    # One class of 2 images counts as much as one of 1,000.
    low, high = intervals.bootstrap([0.5, 0.9], [2, 1_000])
    # Its hits are 0, 1 or 2 with a quarter, a half, a quarter.
    assert low == pytest.approx((0.0 + 0.9) / 2, abs=0.02)
    assert high == pytest.approx((1.0 + 0.9) / 2, abs=0.02)


def test_a_class_without_images_does_not_count():
    some = intervals.bootstrap([0.5, 0.9], [40, 60])
    assert intervals.bootstrap([0.5, 0.0, 0.9], [40, 0, 60]) == some


# Images that only the one, and only the other, has right: whether it is better.
COMPARED = [
    (0, 0, False),
    (1, 0, False),  # One image more is within a standard error.
    (2, 0, True),
    (3, 1, False),
    (4, 1, True),
    (10, 10, False),
    (16, 9, True),
    (15, 10, False),
    (3, 20, False),
]


@pytest.mark.parametrize("wins,losses,better", COMPARED)
def test_more_than_a_standard_error_must_be_gained(wins, losses, better):
    assert intervals.is_better(wins, losses) == better


@pytest.mark.parametrize(
    "lost,gained", [(0, 0), (1, 12), (7, 7), (3, 0), (40, 90), (2_000, 1_900)]
)
def test_mcnemars_test_is_the_exact_binomial_one(lost, gained):
    stats = pytest.importorskip("scipy.stats")
    expected = 1.0
    if lost + gained:
        expected = stats.binomtest(lost, lost + gained).pvalue
    assert intervals.mcnemar(lost, gained) == pytest.approx(expected, rel=1e-6)


def test_the_paired_bootstrap_has_the_width_of_the_paired_variance():
    lost, gained, images = 20, 60, 1_000
    low, high = intervals.bootstrap_difference([lost], [gained], [images])
    difference = (gained - lost) / images
    variance = ((lost + gained) / images - difference**2) / images
    assert (low + high) / 2 == pytest.approx(difference, abs=0.001)
    assert high - low == pytest.approx(2 * 1.96 * variance**0.5, rel=0.05)
    # Over classes: the mean of two, one without a change, one without images.
    pair = intervals.bootstrap_difference(
        [lost, 0, 0], [gained, 0, 0], [images, 50, 0]
    )
    assert pair == pytest.approx((low / 2, high / 2), abs=0.001)
