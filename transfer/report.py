"""Rows of results.jsonl as the paper's transfer table, in Markdown."""

import collections
import statistics

from efficientnet_tf import files

# Without these, a row cannot stand in the table.
FIELDS = ("task", "model", "recipe", "metric", "score")

HEADER = (
    "task",
    "model",
    "recipe",
    "metric",
    "ours",
    "published",
    "Δ",
    "train / test images",
    "note",
)


def read_results(paths):
    """Returns the result rows of several files.

    Raises:
      OSError: a file is missing.
      ValueError: a file holds no rows, or a row lacks a field.
    """
    rows = []
    for path in paths:
        found = files.read_json_lines(path)
        if not found:
            raise ValueError(f"{path} holds no results.")
        for number, row in enumerate(found, start=1):
            _check_row(row, f"{path}, row {number}")
        rows += found
    return rows


def summarize(rows):
    """Joins the seeds of each run into one row with mean and best score.

    Returns:
      A list of dicts, sorted by task, model and recipe: a row of the run with
      "mean", "best" and "seeds" added.
    """
    groups = collections.defaultdict(dict)
    for row in rows:
        key = (*(row[field] for field in FIELDS[:4]), *_conditions(row))
        # The last one counts where a seed was run twice.
        groups[key][row.get("seed")] = row
    return [
        {
            **(best := max(runs.values(), key=lambda row: row["score"])),
            "mean": statistics.fmean(row["score"] for row in runs.values()),
            "best": best["score"],
            "seeds": len(runs),
        }
        for _, runs in sorted(groups.items(), key=lambda item: str(item[0]))
    ]


def render(summary):
    """Returns the Markdown table of `summarize`'s rows; scores in percent."""
    lines = [HEADER, ("---",) * len(HEADER), *map(_cells, summary)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _check_row(row, place):
    if not isinstance(row, dict):
        raise ValueError(f"{place} is not a result: {str(row)[:60]}")
    missing = [field for field in FIELDS if row.get(field) is None]
    if missing:
        raise ValueError(f"{place} lacks {', '.join(missing)}.")
    if not isinstance(row["score"], int | float):
        raise ValueError(f"{place}: score is {row['score']!r}, not a number.")


def _conditions(row):
    """What else must be equal for scores to be of one kind."""
    names = ("evaluated_on", "epochs", "resolution", "weights")
    sizes = ("train_images", "test_images")
    return tuple(row.get(name) for name in (*names, *sizes))


def _cells(row):
    mean, published = row["mean"], row.get("published")
    ours = f"{mean:.1%}"
    if row["seeds"] > 1:
        ours += f" (mean of {row['seeds']}, best {row['best']:.1%})"
    return (
        row["task"],
        row["model"],
        row["recipe"],
        row["metric"],
        ours,
        f"{published:.1%} ({row.get('published_model')})" if published else "–",
        f"{100 * (mean - published):+.1f}" if published else "–",
        f"{_count(row, 'train_images')} / {_count(row, 'test_images')}",
        _note(row),
    )


def _count(row, name):
    return f"{row[name]:,}" if row.get(name) is not None else "?"


def _note(row):
    notes = []
    if row.get("published") and not row.get("complete"):
        notes.append("subset: not the paper's images")
    if row.get("evaluated_on", "test") != "test":
        notes.append(f"on {row['evaluated_on']} images")
    return "; ".join(notes)
