"""Scores of labels and of numbers, with intervals over draws of images."""

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from efficientnet_tf.utils import targets, words

DRAWS = 1_000
_FEWEST_DRAWS = 200
# Images times labels times draws: a few seconds.
_MOST_DRAWN = 200_000_000
_AT_ONCE = 20_000_000  # Numbers in memory.
_TAIL = 0.025
# Of probabilities in a log-loss.
_LEAST = 1e-7


@dataclasses.dataclass(frozen=True)
class Answers:
    """What images have, and what a network said of them, both [N, names].

    Labels are 0 or 1, their answers probabilities; numbers are as they are.
    """

    truth: np.ndarray
    found: np.ndarray

    @property
    def size(self) -> int:
        """The number of images."""
        return len(self.truth)


def place(
    network: Sequence[str], data: Sequence[str], kind: str
) -> list[int] | None:
    """Returns the network's output of each of the data's labels or numbers.

    None: they are the same, in the same order. A label of the network that no
    image of the data has is one that they lack.

    Raises:
      ValueError: the data have another one, or of numbers not all.
    """
    if tuple(network) == tuple(data):
        return None
    others = [name for name in data if name not in network]
    missing = [name for name in network if name not in data]
    if others or (missing and kind == targets.NUMBERS):
        word = "label" if kind == targets.LABELS else "number"
        raise ValueError(
            f"The data have {words.count(len(data), word)} "
            f"({', '.join(data[:5])}), the network {len(network)} "
            f"({', '.join(network[:5])}); {(others + missing)[0]!r} is of one "
            "of them only."
        )
    return [network.index(name) for name in data]


def spread(
    labels: np.ndarray, places: Sequence[int] | None, outputs: int
) -> np.ndarray:
    """Returns vectors [N, outputs] of data's [N, names], by `place`."""
    if places is None:
        return labels
    wide = np.zeros((len(labels), outputs), labels.dtype)
    wide[:, places] = labels
    return wide


def score(
    answers: Answers, kind: str, thresholds: Sequence[float] = ()
) -> dict[str, Any]:
    """Returns the fields of a row of results; None stands for undefined.

    Of labels "map", the mean of "average_precision" over labels that some
    image has, with its "interval"; and "f1" of each label and "mean_f1", at
    the thresholds. Of numbers "r2", "mae" and "rmse", means over the numbers;
    "numbers", the same of each; and the "interval" of r2. Units are the
    numbers' own.

    Args:
      answers: what was predicted of which images.
      kind: `targets.LABELS` or `targets.NUMBERS`.
      thresholds: of the labels; none: 0.5.
    """
    if kind == targets.LABELS:
        return _score_labels(answers, thresholds)
    return _score_numbers(answers)


def find_metric(truth: np.ndarray, found: np.ndarray, kind: str) -> float:
    """Returns mAP, or the mean R²; NaN: not defined."""
    if kind == targets.LABELS:
        pairs = zip(truth.T, found.T, strict=True)
        values = [average_precision(*pair) for pair in pairs if pair[0].any()]
    else:
        values = _measure(truth, found)[0]
    known = [float(value) for value in values if np.isfinite(value)]
    return statistics.fmean(known) if known else float("nan")


def compare(
    truth: np.ndarray, former: np.ndarray, found: np.ndarray, kind: str
) -> tuple[float, float, float]:
    """Returns how much of mAP or R² is lost, and its interval (low, high).

    Of two networks on the same images, the former and the new one; each draw
    of images is scored by both.
    """
    lost = find_metric(truth, former, kind) - find_metric(truth, found, kind)
    if np.array_equal(former, found):
        return lost, 0.0, 0.0
    draw = _draw_labels if kind == targets.LABELS else _draw_numbers
    both = draw(truth, former), draw(truth, found)
    differences = both[0] - both[1]
    interval = _to_interval(differences) or [lost, lost]
    return lost, *interval


def find_gain(former: Answers, new: Answers, kind: str) -> tuple[float, float]:
    """Returns how much mAP or R² grows, and the standard error of that.

    Of two networks on the same images, over the same draws of these.
    """
    truth = former.truth
    gain = find_metric(truth, new.found, kind)
    gain -= find_metric(truth, former.found, kind)
    draw = _draw_labels if kind == targets.LABELS else _draw_numbers
    differences = draw(truth, new.found) - draw(truth, former.found)
    return gain, float(np.nanstd(differences))


def average_precision(
    truth: np.ndarray, found: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Returns the average precision of one label; NaN: no image has it.

    As scikit-learn's `average_precision_score`: the sum over thresholds of the
    precision times what the recall grows by, without interpolation.

    Args:
      truth: 0 or 1, [N].
      found: scores [N], of any scale.
      weights: what each image counts, [draws, N]; None: alike, a scalar.
    """
    order = np.argsort(-found, kind="stable")
    truth, found = truth[order], found[order]
    weights = np.ones(len(truth)) if weights is None else weights[..., order]
    hits = np.cumsum(weights * truth, axis=-1)
    taken = np.cumsum(weights, axis=-1)
    # Images of equal scores are above a threshold together, or below.
    ends = np.flatnonzero(np.append(np.diff(found) != 0, True))
    hits, taken = hits[..., ends], taken[..., ends]
    gained = np.diff(hits, axis=-1, prepend=0)
    total = hits[..., -1]
    sums = (gained * hits / np.maximum(taken, 1e-12)).sum(axis=-1)
    return np.where(total > 0, sums / np.maximum(total, 1e-12), np.nan)


def f1(truth: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Returns F1 of each label [names]; NaN: neither there nor predicted."""
    hits = (truth * chosen).sum(axis=0)
    both = truth.sum(axis=0) + chosen.sum(axis=0)
    return np.where(both > 0, 2 * hits / np.maximum(both, 1), np.nan)


def lose(answers: Answers, kind: str) -> np.ndarray:
    """Returns the loss of each image [N]: the log-loss, or squared errors.

    The errors are in deviations of the true numbers.
    """
    return lose_each(answers, kind).mean(axis=1)


def lose_each(answers: Answers, kind: str) -> np.ndarray:
    """Returns the loss of each label or number of each image [N, names]."""
    truth, found = answers.truth, answers.found.astype("float64")
    if kind == targets.NUMBERS:
        spread = np.maximum(truth.std(axis=0), 1e-12)
        return ((found - truth) / spread) ** 2
    found = np.clip(found, _LEAST, 1 - _LEAST)
    return -(truth * np.log(found) + (1 - truth) * np.log(1 - found))


def choose_thresholds(answers: Answers) -> tuple[float, ...]:
    """Returns the threshold of the best F1 of each label.

    In the middle between two images' probabilities; 0.5 for a label that no
    image, or every one, has.
    """
    return tuple(
        _choose_threshold(truth, found)
        for truth, found in zip(answers.truth.T, answers.found.T, strict=True)
    )


def _choose_threshold(truth, found):
    if not truth.any() or truth.all():
        return targets.THRESHOLD
    order = np.argsort(-found, kind="stable")
    truth, found = truth[order], found[order].astype("float64")
    ends = np.flatnonzero(np.append(np.diff(found) != 0, True))
    values = 2 * np.cumsum(truth)[ends] / (ends + 1 + truth.sum())
    best = int(values.argmax())
    if best + 1 == len(ends):
        return float(found[-1]) / 2
    return float(found[ends[best]] + found[ends[best] + 1]) / 2


def _score_labels(answers, thresholds):
    truth, found = answers.truth, answers.found
    limits = np.array(thresholds or [targets.THRESHOLD] * truth.shape[1])
    precision = np.array(
        [
            average_precision(*pair)
            for pair in zip(truth.T, found.T, strict=True)
        ]
    )
    each = f1(truth, found >= limits)
    return {
        "map": _mean(precision),
        "interval": _to_interval(_draw_labels(truth, found)),
        "average_precision": _to_list(precision),
        "f1": _to_list(each),
        "mean_f1": _mean(each),
        "equal_sets": float(((found >= limits) == truth).all(axis=1).mean()),
    }


def _score_numbers(answers):
    r2, mae, rmse = _measure(answers.truth, answers.found)
    return {
        "r2": _mean(r2),
        "mae": float(mae.mean()),
        "rmse": float(rmse.mean()),
        "interval": _to_interval(_draw_numbers(answers.truth, answers.found)),
        "numbers": {
            "r2": _to_list(r2),
            "mae": _to_list(mae),
            "rmse": _to_list(rmse),
        },
    }


def _measure(truth, found):
    """Returns R², mean absolute error and root of the squared, [names]."""
    truth, found = truth.astype("float64"), found.astype("float64")
    errors = found - truth
    spread = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    left = (errors**2).sum(axis=0)
    r2 = np.where(spread > 0, 1 - left / np.maximum(spread, 1e-300), np.nan)
    return r2, np.abs(errors).mean(axis=0), np.sqrt(left / len(truth))


def _draw_labels(truth, found):
    """Returns mAP of draws of the images, each time the same draws."""
    images, names = truth.shape
    draws = int(np.clip(_MOST_DRAWN // (images * names), _FEWEST_DRAWS, DRAWS))
    means = []
    for counts in _draw_counts(images, draws):
        rows = [
            average_precision(t, f, counts)
            for t, f in zip(truth.T, found.T, strict=True)
            if t.any()
        ]
        if rows:
            means.append(np.nanmean(rows, axis=0))
    return np.concatenate(means) if means else np.zeros(0)


def _draw_numbers(truth, found):
    """Returns the mean R² of draws of the images, each time the same draws."""
    truth, found = truth.astype("float64"), found.astype("float64")
    means = []
    for counts in _draw_counts(len(truth), DRAWS):
        mean = counts @ truth / len(truth)
        spread = counts @ truth**2 - len(truth) * mean**2
        left = counts @ (found - truth) ** 2
        # Of a draw of one image over and over there is no spread.
        some = spread > 1e-9 * np.maximum(mean**2, 1e-300) * len(truth)
        r2 = np.where(some, 1 - left / np.where(some, spread, 1), np.nan)
        r2[~some.any(axis=1)] = 0.0  # Left in, so that draws stay paired.
        means.append(np.nanmean(r2, axis=1))
    return np.concatenate(means)


def _draw_counts(images, draws):
    """Yields how often each image is drawn, [some draws, N]."""
    random = np.random.default_rng(0)
    step = max(1, _AT_ONCE // images)
    for begin in range(0, draws, step):
        yield random.multinomial(
            images, np.full(images, 1 / images), min(step, draws - begin)
        ).astype("float64")


def _to_interval(means):
    means = means[np.isfinite(means)]
    if not len(means):
        return None
    return [float(v) for v in np.quantile(means, [_TAIL, 1 - _TAIL])]


def _mean(values):
    known = [float(v) for v in values if np.isfinite(v)]
    return statistics.fmean(known) if known else None


def _to_list(values):
    """Returns numbers as JSON has them; None for NaN."""
    return [float(v) if np.isfinite(v) else None for v in values]
