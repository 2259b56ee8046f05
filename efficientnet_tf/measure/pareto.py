"""The Pareto front of points with several objectives."""

from collections.abc import Sequence

import numpy as np


def pareto_front(points: Sequence[Sequence[float]]) -> list[int]:
    """Returns the indices of the points that no other point dominates.

    One dominates another if it is better in some objective and worse in none.

    Args:
      points: rows of objectives, in all of which higher is better.
    """
    rows = np.asarray(points, float)
    return [
        i
        for i, point in enumerate(rows)
        if not ((rows >= point).all(1) & (rows > point).any(1)).any()
    ]
