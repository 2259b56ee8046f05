"""The report's sections: paragraphs, tables and pictures of a summary."""

import collections
import itertools
import re

from efficientnet_tf.utils import image_sizes
from transfer.config import published as published_lib
from transfer.report import figures, html, table5
from transfer.scores import diagnostics

WORST_PAIRS = 5
RUNS_HEADER = (
    "task",
    "model",
    "recipe",
    "metric",
    "ours ± sd, %",
    "95% interval",
    "seeds",
    "train / test images",
    "parameters",
    "length",
    "pixels",
    "XLA",
    "minutes",
    "conditions",
)
HALF_HEADER = (
    "task",
    "model, recipe",
    "ours ± sd, %",
    "95% interval",
    "published, %",
    "Δ",
    "parameters",
    "other network",
    "ratio",
    "conditions",
)


def compose(summary: list[dict]) -> list[html.Section]:
    """Returns the report's sections, a list of `html.Section`."""
    tasks = collections.defaultdict(list)
    for row in summary:
        tasks[row["task"]].append(row)
    names = _file_names(tasks)
    sections = [_runs_section(summary)]
    for half, published in published_lib.HALVES.items():
        lines = table5.compare(summary, published)
        if lines:
            sections.append(_half_section(half, published, lines))
    sections.append(_accuracy_section(summary))
    for task, rows in tasks.items():
        sections.append(_task_section(task, rows, names[task]))
    return sections


def _runs_section(summary):
    rows = [
        (
            *(row[name] for name in ("task", "model", "recipe", "metric")),
            _score(row["mean"], row["sd"]),
            _interval(row["interval"]),
            str(row["seeds"]),
            f"{_text(row, 'train_images')} / {_text(row, 'test_images')}",
            _millions((row.get("parameters") or 0) / 1e6),
            _length(row),
            image_sizes.show_row(row),
            {True: "yes", False: "no"}.get(row.get("xla"), "–"),
            _minutes(row["runs"]),
            "; ".join(row["conditions"]),
        )
        for row in summary
    ]
    kinds = ["other" * bool(row["conditions"]) for row in summary]
    return html.Section(
        "Runs",
        [
            html.Table(RUNS_HEADER, rows, kinds),
            "The sd is over the seeds. The interval is over samples of as "
            "many test images: Wilson's for top-1, the bootstrap's for the "
            "mean per class. Parameters are without the classifier. The last "
            "column says how a run's conditions differ from the paper's; such "
            "rows are coloured.",
        ],
    )


def _length(row):
    """Returns the cell of a run's length."""
    if row.get("steps"):
        return f"{row['steps']:,} steps"
    if row.get("epochs") == 0:
        return "head only"
    if row.get("epochs") == 1:
        return "1 epoch"
    return f"{_text(row, 'epochs')} epochs"


def _half_section(half, published, lines):
    rows = [_half_cells(line) for line in lines]
    kinds = ["other" * bool(line["conditions"]) for line in lines]
    ratio, count = table5.average_ratio(lines)
    printed = table5.average_published_ratio(published)
    blank = ("",) * 6
    ours = f"{_times(ratio)} (sets: {count})" if ratio else "–"
    theirs = f"(the paper's, over all sets: {printed:.1f}×)"
    rows.append((table5.MEAN, *blank, theirs, ours, ""))
    return html.Section(
        f"Table 5: beside the {half}",
        [
            html.Table(HALF_HEADER, rows, [*kinds, "total"]),
            "Published: the paper's EfficientNet, its parameters, and Δ, ours "
            "less its accuracy. Other network: whom the paper compares with, "
            "its accuracy, its parameters, and in brackets how many times "
            "more than the paper's EfficientNet. Ratio: how many times more "
            "than ours; the mean takes the best run of each set, whatever its "
            "conditions and accuracy.",
        ],
    )


def _half_cells(line):
    peer = f"{line['peer']} {100 * line['peer_accuracy']:.1f}"
    if line["peer_parameters"]:
        peer += f", {_millions(line['peer_parameters'])}"
        peer += f" ({line['published_ratio']:g}×)"
    model = line["published_model"]
    if line["published_parameters"]:
        model += f", {_millions(line['published_parameters'])}"
    interval = None if line["low"] is None else (line["low"], line["high"])
    return (
        line["task"],
        f"{line['model']}, {line['recipe']}",
        _score(line["ours"], line["sd"]),
        _interval(interval),
        f"{100 * line['published']:.1f} ({model})",
        f"{100 * line['delta']:+.1f}",
        _millions(line["parameters"]),
        peer,
        _times(line["ratio"]),
        line["conditions"],
    )


def _accuracy_section(summary):
    points = figures.accuracy_points(summary)
    parts = ["No row has its parameters."]
    if points:
        caption = (
            "Accuracy over parameters, as in Figure 6. Circles: ours, hollow "
            "under other conditions than the paper's, with 95% intervals. "
            "Behind them, from Table 5: blue squares, its EfficientNets; grey "
            "diamonds, the other networks."
        )
        png = figures.draw_accuracy(points)
        parts = [html.Picture("accuracy.png", png, caption)]
    without = len([row for row in summary if not row.get("parameters")])
    if points and without:
        parts.append(f"Rows without parameters, left out: {without}.")
    return html.Section("Figure 6: accuracy over parameters", parts)


def _task_section(task, rows, name):
    best = max(rows, key=lambda row: row["mean"])
    parts = [_describe(best)]
    counts = diagnostics.confusion(best["runs"])
    if counts is None:
        parts.append("Its rows hold no confusion matrix.")
    else:
        class_names = best["runs"][0]["class_names"]
        png = figures.draw_confusion(counts, class_names)
        caption = f"{task}: confusion matrix of the best run, all seeds."
        parts.append(html.Picture(f"confusion_{name}.png", png, caption))
        parts += _mistakes(best, counts, name)
    curves = [row for row in rows if (row.get("curves") or {}).get("epoch")]
    if curves:
        png = figures.draw_curves(curves)
        caption = (
            f"{task}: accuracy over the epochs, of each run's best seed. If it "
            "also trained on the validation images, the curve on these is that "
            "of the search's chosen run."
        )
        parts.append(html.Picture(f"curves_{name}.png", png, caption))
    else:
        parts.append("No learning curves: no run has recorded epochs.")
    return html.Section(task, parts)


def _describe(row):
    text = (
        f"The best run: {row['model']}, {row['recipe']}, "
        f"{_score(row['mean'], row['sd'])}% {row['metric']}."
    )
    if row["conditions"]:
        text += f" Not the paper's conditions: {'; '.join(row['conditions'])}."
    return text


def _mistakes(row, counts, name):
    """Returns a table of the most frequent mistakes, and images of them."""
    pairs = diagnostics.worst_pairs(counts, WORST_PAIRS)
    if not pairs:
        return ["No image was misclassified."]
    class_names = row["runs"][0]["class_names"]
    totals = counts.sum(axis=1)
    lines = [
        (class_names[i], class_names[j], f"{counts[i, j]:,} of {totals[i]:,}")
        for i, j in pairs
    ]
    header = ("true class", "predicted class", "images, all seeds")
    parts = [html.Table(header, lines, [""] * len(lines))]
    runs = [run for run in row["runs"] if "folder" in run]
    found = [
        (f"{line[0]} → {line[1]}: {line[2]}", paths)
        for line in lines
        if (paths := diagnostics.find_mistakes(runs, *line[:2]))
    ]
    if found:
        png = figures.draw_mistakes(found)
        caption = f"{row['task']}: some images of the most frequent mistakes."
        if any(
            map(diagnostics.find_maps, itertools.chain(*dict(found).values()))
        ):
            caption += (
                " Beside each, in colour, what of the part that the network "
                "saw spoke for the true class and for the predicted one: from "
                "violet, nothing, to yellow, the most of that map."
            )
        parts.append(html.Picture(f"mistakes_{name}.png", png, caption))
    if len(found) < len(pairs):
        parts.append(
            f"No images of {len(pairs) - len(found)} of these pairs: there are "
            f"none in {diagnostics.MISTAKES}/ beside the results."
        )
    return parts


def _file_names(tasks):
    """Returns {task: a name for files}, all different."""
    names = {}
    for number, task in enumerate(tasks):
        name = re.sub(r"\W+", "_", task)[-40:].strip("_")
        taken = not name or name in names.values()
        names[task] = f"{name}_{number}" if taken else name
    return names


def _score(mean, sd):
    text = f"{100 * mean:.1f}"
    return text if sd is None else f"{text} ± {100 * sd:.1f}"


def _interval(interval):
    if interval is None:
        return "–"
    return f"{100 * interval[0]:.1f}–{100 * interval[1]:.1f}"


def _millions(value):
    if not value:
        return "–"
    return f"{value:.0f}M" if value == round(value) else f"{value:.1f}M"


def _times(ratio):
    if not ratio:
        return "–"
    return f"{ratio:.0f}×" if ratio >= 100 else f"{ratio:.1f}×"


def _minutes(runs):
    seconds = [run["seconds"] for run in runs if run.get("seconds") is not None]
    if not seconds:
        return "–"
    return f"{sum(seconds) / len(seconds) / 60:.1f}"


def _text(row, name):
    return f"{row[name]:,}" if row.get(name) is not None else "–"
