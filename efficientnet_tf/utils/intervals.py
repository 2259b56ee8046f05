"""Confidence intervals of a score, over samples of test images."""

import math
import statistics
from collections.abc import Sequence

import numpy as np

CONFIDENCE = 0.95
DRAWS = 10_000


def wilson(rate: float, images: int) -> tuple[float, float]:
    """Returns Wilson's score interval (low, high) of an accuracy.

    Wilson, 1927, equation 4 of Newcombe, 1998: unlike the normal approximation
    it stays within [0, 1], and has a width if all or no images were correct.

    Args:
      rate: the accuracy, in [0, 1].
      images: how many images it was measured on.
    """
    z = statistics.NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    center = rate + z**2 / (2 * images)
    spread = rate * (1 - rate) / images + z**2 / (4 * images**2)
    shrink = 1 + z**2 / images
    low = (center - z * spread**0.5) / shrink
    high = (center + z * spread**0.5) / shrink
    return max(0.0, low), min(1.0, high)


def bootstrap(
    rates: Sequence[float] | np.ndarray, images: Sequence[int] | np.ndarray
) -> tuple[float, float]:
    """Returns the bootstrap interval (low, high) of a mean over classes.

    Each draw resamples each class's images with replacement; how many of them
    are correct is binomial, so the images themselves are not needed.

    Args:
      rates: accuracy of each class, in [0, 1].
      images: how many images each class has; classes without any do not count.
    """
    rates, images = np.asarray(rates), np.asarray(images)
    rates, images = rates[images > 0], images[images > 0]
    random = np.random.default_rng(0)
    hits = random.binomial(images, rates, (DRAWS, len(rates)))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile((hits / images).mean(axis=1), [tail, 1 - tail])
    return float(low), float(high)


def is_better(wins: int, losses: int) -> bool:
    """Whether one of two classifiers gains more than one standard error.

    Breiman et al., 1984, 3.4.3: the simplest of what is within one standard
    error of the best. Under the hypothesis of McNemar's test, that either is
    right as often where only one of them is, it is the root of their number.

    Args:
      wins: images that only this classifier has right.
      losses: images that only the other has right.
    """
    return wins - losses > math.sqrt(wins + losses)


def paired_loss(lost: int, gained: int, images: int) -> tuple[float, float]:
    """Returns the interval (low, high) of how much accuracy a change costs.

    Agresti and Min, 2005, for two classifiers on the same images: Wald's
    interval with half an image more in each of the four cells, so that it has a
    width where nothing changed.

    Args:
      lost: images that only the former classifier has right.
      gained: images that only the new one has right.
      images: all images.
    """
    z = statistics.NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    lost_, gained_, count = lost + 0.5, gained + 0.5, images + 2
    center = (lost_ - gained_) / count
    variance = (lost_ + gained_) / count - center**2
    spread = z * math.sqrt(variance / count)
    return center - spread, center + spread


def bootstrap_difference(
    lost: np.ndarray, gained: np.ndarray, images: np.ndarray
) -> tuple[float, float]:
    """Returns the bootstrap interval (low, high) of a gain of accuracy.

    Of two classifiers on the same images. Each draw resamples each class's
    images, and takes the mean over classes; with one class, of all images, that
    is the accuracy. An image's part is -1, 0 or 1, so how many of each there
    are in a draw is multinomial.

    Args:
      lost: for each class, the images that only the first classifier has right.
      gained: those that only the second one has right.
      images: all of its images; classes without any do not count.
    """
    lost, gained, images = map(np.asarray, (lost, gained, images))
    random = np.random.default_rng(0)
    # One class at a time: of many classes, all draws would fill the memory.
    total = np.zeros(DRAWS)
    for minus, plus, count in zip(lost, gained, images, strict=True):
        if minus + plus:
            shares = [minus / count, plus / count, 1 - (minus + plus) / count]
            drawn = random.multinomial(count, np.maximum(shares, 0), DRAWS)
            total += (drawn[:, 1] - drawn[:, 0]) / count
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(total / np.count_nonzero(images), [tail, 1 - tail])
    return float(low), float(high)


def mcnemar(lost: int, gained: int) -> float:
    """Returns the p-value of McNemar's test, exact and two-sided.

    Under its hypothesis each image that one classifier alone has right is as
    likely to be the one's as the other's.

    Args:
      lost: images that only the first classifier has right.
      gained: those that only the second one has right.
    """
    changed, fewer = lost + gained, min(lost, gained)
    # By logarithms: 2 ** changed is no float from 1,024 on.
    logs = [
        math.lgamma(changed + 1)
        - math.lgamma(k + 1)
        - math.lgamma(changed - k + 1)
        - changed * math.log(2)
        for k in range(fewer + 1)
    ]
    return min(1.0, 2 * math.fsum(map(math.exp, logs)))
