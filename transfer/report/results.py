"""Rows of results.jsonl, joined over seeds, as a Markdown table."""

import collections
import json
import math
import os
import pathlib
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from absl import logging

from efficientnet_tf.models import variants
from efficientnet_tf.utils import (
    documents,
    image_sizes,
    intervals,
    run_folder,
    tables,
    untrusted,
)
from transfer.config import protocols
from transfer.scores import diagnostics

# Every row must have these.
FIELDS = ("task", "model", "recipe", "metric", "score")

COUNTS = ("epochs", "steps", "train_images", "resolution", "width")
SIZES = ("test_images", "parameters")
LISTS = {
    "class_names": list,
    "confusion": list,
    "train_counts": list,
    "curves": dict,
    "search_curves": dict,
    "changed": dict,
    "phases": dict,
    "searched": list,
}
# Lists of numbers of labels.
_SCORES = ("interval", "average_precision", "f1", "thresholds")
# How many classes a condition names.
LISTED_CLASSES = 3
# Fields of a recipe whose change is worded by another condition.
SHOWN = ("resolution", "width", "evaluate_on")

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


def read_results(paths: Iterable[str | os.PathLike]) -> list[dict]:
    """Returns the result rows of several files, each with its "folder".

    An unfinished last line, which a killed writer leaves, is skipped with a
    warning.

    Args:
      paths: files, or the folders with a results.jsonl.

    Raises:
      OSError: a file is missing.
      ValueError: a file holds no rows, or a row is not a result.
    """
    rows: list[dict] = []
    for path in map(pathlib.Path, paths):
        if path.is_dir():
            path /= run_folder.RESULTS_FILE
        if not path.exists():
            raise FileNotFoundError(
                f"There is no {path}; `efficientnet finetune` and "
                "`efficientnet grid` write it to their workdir when a run has "
                "ended."
            )
        found = _read_rows(path)
        if not found:
            raise ValueError(f"{path} holds no results.")
        # The folders in a grid's rows are relative to the grid's.
        rows += [
            {**row, "folder": str(path.parent / row.get("folder", ""))}
            for row in found
        ]
    return rows


def summarize(rows: Iterable[dict]) -> list[dict]:
    """Joins the seeds of each run into one row.

    Returns:
      A list of dicts, sorted by task, model and recipe: the row of the run's
      best seed, with "mean" and "best" of the scores; "sd", their standard
      deviation, None for one seed; "seeds", how many; "interval", the mean's
      confidence interval (low, high) over samples of test images, or None;
      "conditions" that differ from the paper's; and "runs", the rows of the
      seeds.
    """
    groups: dict[tuple, dict] = collections.defaultdict(dict)
    for row in rows:
        key = (*(row[field] for field in FIELDS[:4]), *_conditions(row))
        # If a seed was run twice, the last run counts.
        groups[key][row.get("seed")] = row
    ordered = sorted(groups.items(), key=lambda item: str(item[0]))
    joined = [_join(list(runs.values())) for _, runs in ordered]
    _name_differing_classes(joined)
    return joined


def _name_differing_classes(summary):
    """Adds a condition to rows of one task that differ in their classes."""
    classes = collections.defaultdict(set)
    for row in summary:
        if row.get("class_names"):
            classes[row["task"]].add(tuple(sorted(row["class_names"])))
    for row in summary:
        names = row.get("class_names") or ()
        if names and len(classes[row["task"]]) > 1:
            listed = ", ".join(map(str, names[:LISTED_CLASSES]))
            more = ", ..." if len(names) > LISTED_CLASSES else ""
            row["conditions"].append(f"{len(names)} classes: {listed}{more}")


def render(summary: Iterable[Mapping[str, Any]]) -> str:
    """Returns the Markdown table of `summarize`'s rows; scores in percent."""
    return tables.to_markdown(HEADER, map(_cells, summary))


def to_text(rows: Iterable[dict]) -> str:
    """Returns the scores over seeds, with their intervals, as aligned text."""
    lines = []
    for row in summarize(rows):
        interval = ""
        if row["interval"]:
            low, high = row["interval"]
            interval = f"{100 * low:.1f} to {100 * high:.1f}"
        lines.append(
            (
                *(row[key] for key in FIELDS[:4]),
                f"{100 * row['mean']:.1f}",
                interval,
                str(row["seeds"]),
            )
        )
    header = (*FIELDS[:4], "%", "95 % interval", "seeds")
    return tables.to_text(header, lines, left=range(4))


def find_conditions(row: Mapping[str, Any]) -> list[str]:
    """Returns phrases for all conditions of a row that are not the paper's."""
    found = []
    published = row.get("published")
    if published and not row.get("complete"):
        found.append("subset: not the paper's images")
    if row.get("evaluated_on", "test") != "test":
        found.append(f"on {row['evaluated_on']} images")
    variant = variants.VARIANTS.get(row["model"])
    pixels = image_sizes.show_row(row)
    own = variant and str(variant.resolution)
    if published and variant and pixels not in ("–", own):
        found.append(f"at {pixels} px, not {own}")
    found += [
        f"{name}={value}"
        for name, value in row.get("changed", {}).items()
        if name not in SHOWN
    ]
    found += _choice_conditions(row)
    twins = row.get("exact_duplicates", 0) + row.get("near_duplicates", 0)
    if twins:
        scored_on = row.get("evaluated_on", "test")
        found.append(f"{twins} {scored_on} images are nearly in another split")
    if row.get("diverged"):
        found.append(f"{row['diverged']} more seeds diverged")
    if published and row["recipe"] not in protocols.PAPER_RECIPES:
        papers = " or ".join(protocols.PAPER_RECIPES)
        found.append(f"not the paper's recipe, {papers}")
    weights = row.get("weights", "imagenet")
    if published and weights != "imagenet":
        found.append(f"from {weights or 'random'} weights")
    return found


def _choice_conditions(row):
    """Returns a phrase if the recipe's own search did not choose its fields."""
    if row["recipe"] not in protocols.CHOSEN:
        return []
    points, wanted = row.get("chosen_from", 0), len(protocols.kornblith_grid())
    if points == wanted:
        return []
    names = " and ".join(protocols.CHOSEN[row["recipe"]])
    if not points:
        return [f"{names} not chosen on validation"]
    return [f"{names} chosen from {points}, not {wanted}"]


def _read_rows(path):
    with untrusted.open_file(path) as file:
        *whole, tail = file.read().split(b"\n")
    rows = []
    for number, line in enumerate([*whole, tail], start=1):
        place = f"{path}, row {number}"
        if not line.strip():
            continue
        try:
            row = documents.parse(line, place)
        except untrusted.DamagedError:
            if number > len(whole):
                logging.warning("%s is incomplete; skipping it.", place)
                continue
            raise
        try:
            _check_row(row, place)
        except ValueError as error:
            raise untrusted.DamagedError(untrusted.shorten(error)) from None
        rows.append(row)
    return rows


def _check_row(row, place):
    if not isinstance(row, dict):
        raise ValueError(f"{place} is not a result: {str(row)[:60]}")
    missing = [field for field in FIELDS if row.get(field) is None]
    if missing:
        raise ValueError(f"{place} lacks {', '.join(missing)}.")
    for name in ("score", "published", "seconds"):
        _check_number(row, name, place)
    # R² is negative where the mean would have been better.
    least = -math.inf if row["metric"] == "r2" else 0
    if not least <= row["score"] <= 1:
        raise ValueError(f"{place}: score is {row['score']}, not in [0, 1].")
    _check_targets(row, place)
    for name in (*FIELDS[:4], "evaluated_on", "folder"):
        if not isinstance(row.get(name, ""), str):
            raise ValueError(f"{place}: {name} is {row[name]!r}, not a string.")
    for name in (*COUNTS, *SIZES):
        value = row.get(name)
        if value is not None and not (
            isinstance(value, int) and value >= (name in SIZES)
        ):
            raise ValueError(f"{place}: {name} is {value!r}, not a count.")
    for name, kind in LISTS.items():
        if not isinstance(row.get(name, kind()), kind):
            raise ValueError(f"{place}: {name} is not a {kind.__name__}.")
    try:
        hash(row.get("seed"))
        diagnostics.check(row)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{place}: {error}.") from None


def _check_targets(row, place):
    """Raises ValueError unless the scores of labels or numbers are such."""
    numbers = row.get("numbers", {})
    if not isinstance(numbers, dict):
        raise ValueError(f"{place}: numbers is not a dict.")
    fields = {name: row.get(name) for name in _SCORES}
    for name, values in {**fields, **numbers}.items():
        known = values is None or (
            isinstance(values, list)
            and all(v is None or isinstance(v, int | float) for v in values)
        )
        if not known:
            raise ValueError(f"{place}: {name} is not a list of numbers.")
    interval = row.get("interval")
    if interval and (len(interval) != 2 or None in interval):
        raise ValueError(f"{place}: interval is not two numbers.")


def _check_number(row, name, place):
    value = row.get(name)
    if value is not None and not isinstance(value, int | float):
        raise ValueError(f"{place}: {name} is {value!r}, not a number.")


def _conditions(row):
    """Returns what must be equal for runs to differ by their seeds alone."""
    names = ("evaluated_on", "weights")
    if "kept" not in row:  # `auto` may choose differently with each seed.
        names += ("epochs", "steps", "resolution", "width")
        names += ("learning_rate", "weight_decay")
    sizes = ("train_images", "test_images")
    changed = json.dumps(row.get("changed", {}), sort_keys=True)
    # Without a search a grid's row has 0, and a single run's has no such field.
    searched = row.get("chosen_from") or 0
    # The same folder may have held other classes; their order is no matter.
    classes = tuple(sorted(row.get("class_names") or ()))
    return (
        *(row.get(name) for name in (*names, *sizes)),
        searched,
        changed,
        classes,
    )


def _join(runs):
    best = max(runs, key=lambda row: row["score"])
    scores = [row["score"] for row in runs]
    mean = statistics.fmean(scores)
    return {
        **best,
        "mean": mean,
        "best": best["score"],
        "sd": statistics.stdev(scores) if len(runs) > 1 else None,
        "seeds": len(runs),
        "interval": find_interval(runs, mean),
        "conditions": find_conditions(best),
        "runs": runs,
    }


def find_interval(
    runs: Sequence[dict], mean: float
) -> tuple[float, float] | None:
    """Returns the interval (low, high) of a mean score; None if unknown.

    It is that of one run with this score, not of the mean of several: all
    seeds saw the same test images.
    """
    images = runs[0].get("test_images")
    interval = runs[0].get("interval")  # Of labels or numbers.
    if interval and len(runs) == 1:
        return interval[0], interval[1]
    if runs[0]["metric"] == "top1" and images:
        return intervals.wilson(mean, images)
    counts = diagnostics.confusion(runs)
    if runs[0]["metric"] != "mean_per_class" or counts is None:
        return None
    images = counts.sum(axis=1)
    rates = counts.diagonal() / images.clip(1)
    return intervals.bootstrap(rates, images // len(runs))


def _cells(row):
    mean, published = row["mean"], row.get("published")
    shape = ".3f" if row["metric"] == "r2" else ".1%"
    ours = format(mean, shape)
    if row["seeds"] > 1:
        best = format(row["best"], shape)
        ours += f" (mean of {row['seeds']}, best {best})"
    return (
        row["task"],
        row["model"],
        row["recipe"],
        row["metric"],
        ours,
        f"{published:.1%} ({row.get('published_model')})" if published else "–",
        f"{100 * (mean - published):+.1f}" if published else "–",
        f"{_count(row, 'train_images')} / {_count(row, 'test_images')}",
        "; ".join(row["conditions"]),
    )


def _count(row, name):
    return f"{row[name]:,}" if row.get(name) is not None else "?"
