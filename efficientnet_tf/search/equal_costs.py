"""Weighted beside uniform scaling in a study, at equal cost."""

import itertools
import math
from collections.abc import Iterable, Sequence

from efficientnet_tf.utils import tables

UNIFORM, WEIGHTED, BASE = "compound", "weighted", "base"
# Of a study's rows: what may be equal, and its name in the report.
COSTS = {
    "multiply_adds": ("multiply-adds, M", 1e6),
    "step_ms": ("training step, ms", 1.0),
}


def compare(rows: Iterable[dict], cost: str) -> list[dict]:
    """Returns uniform networks, each with weighted accuracy at the same cost.

    Networks of exactly one cost do not exist: repeats and filters are integers,
    and a step takes what it takes. So it is read off the line between the two
    weighted networks around it, or a weighted one and the base, over the
    logarithm of the cost.

    Args:
      rows: of `compound_study.read_results`.
      cost: a key of `COSTS`.

    Returns:
      Rows of "base", "growth", "cost", "uniform" and "weighted", which is None
      where no two networks are around the cost.
    """
    known = [
        row
        for row in rows
        if row["accuracy"] is not None and row[cost] is not None
    ]
    return [
        {
            "base": row["base"],
            "growth": row["growth"],
            "cost": row[cost],
            "uniform": row["accuracy"],
            "weighted": _read_off(known, row, cost),
        }
        for row in known
        if row["direction"] == UNIFORM
    ]


def equal_table(rows: Sequence[dict]) -> str:
    """Returns `compare` for all costs as Markdown; "" for nothing."""
    lines = []
    if not any(row["direction"] == WEIGHTED for row in rows):
        return ""
    for cost, (name, unit) in COSTS.items():
        for found in compare(rows, cost):
            weighted = found["weighted"]
            uniform = found["uniform"]
            lines.append(
                [
                    found["base"],
                    name,
                    f"{found['cost'] / unit:.1f}",
                    f"{uniform:.4f}",
                    "–" if weighted is None else f"{weighted:.4f}",
                    "–" if weighted is None else f"{weighted - uniform:+.4f}",
                ]
            )
    if not lines:
        return ""
    header = ("network", "equal", "cost", "uniform", "weighted", "difference")
    return tables.to_markdown(header, lines)


def _read_off(known, row, cost):
    """Returns the accuracy of weighted networks at a row's cost, or None."""
    points = sorted(
        (other[cost], other["accuracy"])
        for other in known
        if other["base"] == row["base"]
        and other["direction"] in (WEIGHTED, BASE)
    )
    for (low, first), (high, last) in itertools.pairwise(points):
        if low <= row[cost] <= high:
            if low == high:
                return (first + last) / 2
            share = math.log(row[cost] / low) / math.log(high / low)
            return first + share * (last - first)
    return None
