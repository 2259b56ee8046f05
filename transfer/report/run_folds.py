"""What the folds of a cross-validation have in common, and what not."""

from collections.abc import Mapping
from typing import Any

from efficientnet_tf.utils import run_folder, targets, words
from transfer.report import page, run_files


def describe(row: Mapping[str, Any]) -> str:
    """Returns what was trained and scored, the end of a sentence."""
    return (
        f": {row['folds']} runs, each on about "
        f"{words.count(row['train_images'], 'image')}; each of all "
        f"{words.count(row['test_images'], 'image')} is scored by the run that "
        "was not trained on it"
    )


def summarize(row: Mapping[str, Any]) -> str:
    """Returns the mean and the spread of the folds' scores."""
    shown = _find_unit(row)
    low, high = min(row["fold_scores"]), max(row["fold_scores"])
    return (
        f"{shown(row['fold_mean'])} on average, standard deviation "
        f"{shown(row['fold_sd'])}, from {shown(low)} to {shown(high)}"
    )


def show_folds(run: run_files.Run) -> str:
    """Returns the scores of the folds, as HTML; "" for other runs."""
    row = run.row
    if not row.get("folds"):
        return ""
    shown = _find_unit(row)
    lines: list[tuple[str, ...]] = []
    for number, score in enumerate(row["fold_scores"]):
        name = run_folder.name_fold(number)
        images, kept = row["fold_images"][number], row["fold_kept"][number]
        lines.append((name, f"{images:,}", shown(score), kept))
    header = ["run", "images", "score", "kept"]
    if not any(row["fold_kept"]):
        header.pop()
        lines = [line[:-1] for line in lines]
    text = (
        f"{summarize(row)}. Above, all images are scored at once, which is "
        "what the interval is of; each run's own report is in its folder, and "
        f"{run_folder.OUT_OF_FOLD_FILE} has each image's prediction."
    )
    return page.paragraph(text[0].upper() + text[1:], "muted") + page.table(
        header, lines, words=1
    )


def _find_unit(row):
    """Returns what writes a score: in percent, but R²."""
    if row.get("target") == targets.NUMBERS:
        return lambda value: f"{value:.3f}"
    return lambda value: page.percent(float(value))
