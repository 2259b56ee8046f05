"""Whether a study's scores rank its candidates reliably."""

import itertools
from collections.abc import Sequence

import numpy as np


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """Returns Spearman's ρ of two lists of scores; NaN if one is constant."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")  # SciPy would warn.
    from scipy import stats  # Slow to import, and optional.

    return float(stats.spearmanr(one, other).statistic)


def agreement(scores: Sequence[Sequence[float]] | np.ndarray) -> dict:
    """Returns how well the seeds of a study agree on who is better.

    Args:
      scores: [seeds, candidates], accuracies.

    Returns:
      {"candidates", "seeds", "rho", "reliability", "chance"}: ρ is the mean
      over all pairs of seeds; `reliability` that of the means over all seeds,
      by the Spearman-Brown formula; `chance` the |ρ| that a pair of random
      rankings exceeds about once in twenty. They are None if undefined, as with
      fewer than two seeds or three candidates.
    """
    table = np.asarray(scores, float)
    seeds, candidates = table.shape if table.size else (len(table), 0)
    found: dict[str, float | None]
    found = dict.fromkeys(("rho", "reliability", "chance"))
    if seeds > 1 and candidates > 2:
        pairs = [spearman(*p) for p in itertools.combinations(table, 2)]
        rho = float(np.mean(pairs))
        if np.isfinite(rho):
            found["rho"] = round(rho, 4)
            if rho > 0:
                more = seeds * rho / (1 + (seeds - 1) * rho)
                found["reliability"] = round(more, 4)
        found["chance"] = round(min(1.0, 1.96 / (candidates - 1) ** 0.5), 4)
    return {"candidates": candidates, "seeds": seeds, **found}
