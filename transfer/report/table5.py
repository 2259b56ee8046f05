"""Our results beside both halves of the paper's Table 5."""

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from transfer.config import published as published_lib

MEAN = "geometric mean"


def compare(
    summary: Iterable[Mapping[str, Any]],
    published: Mapping[str, published_lib.Comparison],
) -> list[dict]:
    """Returns lines of our runs beside one half of Table 5.

    Args:
      summary: rows of `results.summarize`.
      published: a value of `published.HALVES`.

    Returns:
      A list of dicts in the paper's order of data sets: task, model, recipe,
      metric; "ours", "sd", "low", "high" and "published" in [0, 1]; "delta",
      ours less published; "parameters" and "peer_parameters" in millions;
      "ratio", the peer's parameters over ours; "conditions". Unknown values are
      None.
    """
    return [
        _compare(row, published[task])
        for task in published
        for row in summary
        if row["task"] == task
    ]


def average_ratio(
    lines: Iterable[Mapping[str, Any]],
) -> tuple[float | None, int]:
    """Returns the geometric mean of the data sets' ratios, and their number.

    A data set's ratio is its best run's; without any the answer is (None, 0).
    """
    best: dict[str, float] = {}
    for line in sorted(lines, key=lambda line: line["ours"]):
        if line["ratio"]:
            best[line["task"]] = line["ratio"]
    if not best:
        return None, 0
    return statistics.geometric_mean(best.values()), len(best)


def average_published_ratio(
    published: Mapping[str, published_lib.Comparison],
) -> float:
    """Returns the geometric mean of the ratios that the paper prints."""
    return statistics.geometric_mean(
        entry.ratio for entry in published.values() if entry.ratio
    )


def _compare(row, entry):
    low, high = row["interval"] or (None, None)
    parameters = row.get("parameters")
    millions = parameters / 1e6 if parameters else None
    ratio = None
    if millions and entry.peer_parameters:
        ratio = entry.peer_parameters / millions
    return {
        "task": row["task"],
        "model": row["model"],
        "recipe": row["recipe"],
        "metric": row["metric"],
        "ours": row["mean"],
        "sd": row["sd"],
        "seeds": row["seeds"],
        "low": low,
        "high": high,
        "published_model": entry.model,
        "published": entry.accuracy,
        "delta": row["mean"] - entry.accuracy,
        "parameters": millions,
        "published_parameters": entry.parameters,
        "peer": entry.peer,
        "peer_accuracy": entry.peer_accuracy,
        "peer_parameters": entry.peer_parameters,
        "ratio": ratio,
        "published_ratio": entry.ratio,
        "conditions": "; ".join(row["conditions"]),
    }
