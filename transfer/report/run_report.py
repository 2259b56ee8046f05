"""The report of one run: its sections, as one HTML page."""

import os
import pathlib

from absl import logging

from efficientnet_tf.utils import files, targets, words
from transfer.report import (
    charts,
    page,
    results,
    run_about,
    run_classes,
    run_files,
    run_folds,
    run_images,
    run_targets,
)
from transfer.scores import calibration

REPORT_FILE = "report.html"
METRICS = {"top1": "accuracy", "mean_per_class": "mean per class"}


def write(
    run: run_files.Run, output: str | os.PathLike | None = None
) -> pathlib.Path:
    """Writes the report of a finished fine-tuning run; returns its path.

    It is drawn from the run's files, without TensorFlow.

    Args:
      run: of `run_files.read`.
      output: the folder to write to; None: the run's own.

    Raises:
      OSError: the folder cannot be written to.
    """
    path = pathlib.Path(output or run.folder) / REPORT_FILE
    files.check_folder(path.parent)
    files.write_text(path, compose(run))
    return path


def write_missing(folder: str | os.PathLike) -> pathlib.Path | None:
    """Returns the path of a finished run's report, which it writes if needed.

    None: it cannot be made, which a warning says; the run itself is complete.
    """
    path = pathlib.Path(folder) / REPORT_FILE
    if path.exists():
        return path
    try:
        return write(run_files.read(folder))
    # Of any kind: the run itself is finished and saved.
    except Exception as error:
        logging.warning(
            "The run is complete, but its report could not be made: %s: %s",
            type(error).__name__,
            error,
        )
        return None


def compose(run: run_files.Run) -> str:
    """Returns the report of a run as HTML."""
    if run.row.get("target") in targets.METRICS:
        return page.make_page(run.title, _list_targets(run))
    sections = [
        ("", _summarize(run)),
        ("Folds", run_folds.show_folds(run)),
        ("Classes", run_classes.show_classes(run)),
        ("Confusion", run_classes.show_confusion(run)),
        ("Calibration", _show_calibration(run)),
        ("Accuracy over confidence", _show_coverage(run)),
        ("Unknown images", _show_unknown(run)),
        ("Most wrong", run_images.show_most_wrong(run)),
        ("Least sure", run_images.show_least_sure(run)),
        ("Likely wrong labels", run_images.show_wrong_labels(run)),
        ("Images in two splits", run_images.show_duplicates(run)),
        ("Learning curves", run_about.show_curves(run)),
        ("What was trained", run_about.show_training(run)),
        ("Made by", run_about.show_environment(run)),
    ]
    return page.make_page(run.title, sections)


def _list_targets(run):
    """Returns the sections of a run on labels or numbers."""
    kind = run.row["target"]
    return [
        ("", _describe(run, run_targets.summarize(run))),
        ("Folds", run_folds.show_folds(run)),
        (kind.capitalize(), run_targets.show_each(run)),
        ("Predicted and true", run_targets.show_scatter(run)),
        ("Most wrong", run_targets.show_most_wrong(run)),
        ("Images in two splits", run_images.show_duplicates(run)),
        ("Learning curves", run_about.show_curves(run)),
        ("What was trained", run_about.show_training(run)),
        ("Made by", run_about.show_environment(run)),
    ]


def _summarize(run):
    row, cells = run.row, run.cells
    low_high = results.find_interval([row], row["score"])
    metric = METRICS.get(row["metric"], row["metric"])
    if low_high is not None:
        low, high = (100 * side for side in low_high)
        metric += f", 95 % interval {low:.1f} to {high:.1f}"
    items = [(page.percent(row["score"]), metric)]
    if row["metric"] == "top1" and row.get("mean_per_class") is not None:
        items.append((page.percent(row["mean_per_class"]), "mean per class"))
    elif row["metric"] != "top1" and row.get("top1") is not None:
        items.append((page.percent(row["top1"]), "accuracy"))
    if cells is not None:
        true, predicted, images = cells.T
        wrong = images[true != predicted].sum()
        items.append((f"{wrong:,}", f"wrong of {images.sum():,} images"))
    items.append((f"{len(run.class_names):,}", "classes"))
    if row.get("ece") is not None:
        items.append((page.percent(row["ece"]), "calibration error"))
    return _describe(run, items)


def _describe(run, items):
    """Returns what was trained and scored, in a sentence, and tiles."""
    row = run.row
    split = row.get("evaluated_on", "test")
    trained = row.get("train_images")
    images = row.get("test_images")
    text = f"{row['model']}, recipe {row['recipe'] or 'of its own'}"
    if row.get("folds"):
        text += run_folds.describe(row)
    elif trained is not None and images is not None:
        text += (
            f": trained on {words.count(trained, 'image')}, scored on "
            f"{words.count(images, f'{split} image')} that it was not "
            "trained on"
        )
    twins = row.get("exact_duplicates", 0) + row.get("near_duplicates", 0)
    if twins:
        place = "fold" if row.get("folds") else "split"
        text += f", of which {twins:,} are nearly in another {place}"
    notes = [page.paragraph(note, "note") for note in run.notes]
    return page.paragraph(f"{text}.") + page.facts(items) + "".join(notes)


def _show_calibration(run):
    if run.found is None:
        return ""
    row = run.row
    after = calibration.bin_confidence(
        run.found.probabilities[:, 0], run.found.hits
    )
    curves = [("as saved", after)]
    temperature = row.get("temperature")
    if temperature is not None:
        before = calibration.bin_confidence(run.found.before, run.found.hits)
        curves = [("with the temperature", after), ("without", before)]
        text = (
            f"A temperature of {temperature:.2f} was fitted on "
            f"{row.get('calibration')}, and the classifier keeps it: all its "
            "probabilities have it. On the scored images, which it has not "
            f"seen, the expected calibration error (ECE) is "
            f"{page.percent(after.error)}, and was "
            f"{page.percent(before.error)} without."
        )
    else:
        text = (
            f"No temperature was fitted: {row.get('calibration') or 'unknown'}"
            ". The expected calibration error (ECE) is "
            f"{page.percent(after.error)}."
        )
    note = (
        f"Images of like confidence, in at most {calibration.BINS} bins of "
        "equal width: on the dashed line, as many are right as the "
        "probabilities say; below it, the network is too sure. Larger dots: "
        "more images; small ones say little."
    )
    axes = charts.share_axis("confidence, %"), charts.share_axis("right, %")
    chart = charts.draw(
        [_reliability(*curve) for curve in curves], *axes, note, ideal=True
    )
    return page.paragraph(text) + f'<div class="charts">{chart}</div>'


def _show_unknown(run):
    row = run.row
    if "unknown_by" not in row:
        return ""  # Of an earlier version.
    threshold, kept = row.get("unknown_threshold"), row.get("unknown_kept")
    if not files.is_a(threshold, float):
        return page.paragraph(f"None can be told: {row['unknown_by']}.")
    text = (
        "How unlike all classes an image is, is scored from 0 on; above "
        f'{threshold:.3f} `efficientnet predict --unknown` answers "none of '
        'these". The threshold keeps 95 % of the images that it was chosen '
        f"on: {row['unknown_by']}."
    )
    if files.is_a(kept, float):
        text += f" Of the scored images it keeps {page.percent(kept)}."
    return page.paragraph(text)


def _reliability(name, bins):
    share = bins.images / bins.images.max()
    points = zip(bins.confidence.tolist(), bins.accuracy.tolist(), strict=True)
    return charts.Series(name, list(points), (2 + 6 * share**0.5).tolist())


def _show_coverage(run):
    if run.found is None:
        return ""
    confidence = run.found.probabilities[:, 0]
    accuracy = calibration.cover(confidence, run.found.hits)
    images = run.found.size
    points = [((i + 1) / images, float(a)) for i, a in enumerate(accuracy)]
    lines = []
    for share in (0.5, 0.8, 0.9, 1.0):
        kept = max(1, round(share * images))
        least = float(sorted(confidence, reverse=True)[kept - 1])
        lines.append(
            (
                f"{100 * share:.0f} %",
                page.percent(least),
                f"{kept:,}",
                page.percent(float(accuracy[kept - 1])),
            )
        )
    chart = charts.draw(
        [charts.Series("accuracy", charts.thin(points))],
        charts.share_axis("images that are answered, surest first, %"),
        charts.share_axis("right, %", min(float(accuracy.min()), 0.99)),
        "What is gained by leaving the least sure images to a person.",
    )
    header = ("answered", "from confidence", "images", "right")
    table = page.table(header, lines, words=0)
    return f'<div class="charts">{chart}<div>{table}</div></div>'
