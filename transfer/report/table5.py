"""Our results beside both halves of the paper's Table 5."""

import statistics

MEAN = "geometric mean"


def compare(summary, published):
    """Returns lines of our runs beside one half of Table 5.

    Args:
      summary: of `report.summarize`.
      published: a value of `paper.HALVES`.

    Returns:
      A list of dicts in the paper's order of sets: task, model, recipe,
      metric; "ours", "sd", "low", "high" and "published" in [0, 1], "delta"
      between them; "parameters" and "peer_parameters" in millions; "ratio" of
      those; "conditions". A value is None where there is nothing to tell.
    """
    return [
        _compare(row, published[task])
        for task in published
        for row in summary
        if row["task"] == task
    ]


def average_ratio(lines):
    """Returns the geometric mean of the ratios, each set's best run, and how
    many sets it is of; (None, 0) without ratios.
    """
    best = {}
    for line in sorted(lines, key=lambda line: line["ours"]):
        if line["ratio"]:
            best[line["task"]] = line["ratio"]
    if not best:
        return None, 0
    return statistics.geometric_mean(best.values()), len(best)


def average_published_ratio(published):
    """Returns the paper's geometric mean of the ratios that it prints."""
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
