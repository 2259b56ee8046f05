"""Who is best in several respects at once."""

import numpy as np


def pareto_front(points):
    """Returns the indices of the points that no other is better than.

    Args:
      points: rows of numbers, all of which are better when higher.
    """
    points = np.asarray(points, float)
    return [
        i
        for i, point in enumerate(points)
        if not any(
            (other >= point).all() and (other > point).any() for other in points
        )
    ]
