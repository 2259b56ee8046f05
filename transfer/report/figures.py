"""Figures of the report: accuracy over parameters, mistakes, curves."""

import collections
import itertools

import numpy as np

from efficientnet_tf.utils import figures
from transfer import diagnostics, published as published_lib

# So many panels in a row, and lines in a chart, can be told apart.
COLUMNS = 4
MAX_LINES = 8

# A colour a recipe of ours; the paper's networks, and whom it compares with.
OURS = ("tab:red", "tab:green", "tab:purple", "tab:orange", "tab:pink")
# A style for each kind of a recipe's runs.
STYLES = ("-", "--", ":", "-.")
THEIRS, OTHERS = "tab:blue", "0.55"


def accuracy_points(summary):
    """Returns what Figure 6 shows: {task: (ours, published)}.

    `ours` maps (recipe, how its runs differ from others of it) to a list of
    (label, millions of parameters, accuracy, (low, high) or None, whether the
    conditions are the paper's), by parameters; `published` is a list of the
    first three. Runs whose rows tell no parameters are left out.
    """
    points = {}
    for row in sorted(summary, key=lambda row: row.get("parameters") or 0):
        if row.get("parameters"):
            ours, _ = points.setdefault(
                row["task"], ({}, _published_points(row["task"]))
            )
            ours.setdefault((row["recipe"], _kind(row)), []).append(
                (
                    _short(row["model"]),
                    row["parameters"] / 1e6,
                    row["mean"],
                    row["interval"],
                    not row["conditions"],
                )
            )
    return dict(sorted(points.items()))


def draw_accuracy(points):
    """Draws `accuracy_points`, a panel a task, as the paper's Figure 6."""
    columns = min(COLUMNS, len(points))
    rows = -(-len(points) // columns)
    size = (max(4.2 * columns, 6), 3.8 * rows)
    drawing, panels = figures.make_figure(rows, columns, size)
    recipes = sorted({name for ours, _ in points.values() for name, _ in ours})
    for axes, (task, (ours, published)) in zip(
        panels, points.items(), strict=False
    ):
        _draw_published(axes, published)
        drawn = collections.Counter()
        for (recipe, kind), line in ours.items():
            color = OURS[recipes.index(recipe) % len(OURS)]
            style = STYLES[drawn[recipe] % len(STYLES)]
            drawn[recipe] += 1
            label = f"{recipe}, {kind}" if kind else recipe
            _draw_ours(axes, line, color, style, label)
        _label_panel(axes, task)
    for axes in panels[len(points) :]:
        axes.set_axis_off()
    return figures.encode_png(figures.rasterize(drawing))


def draw_confusion(counts, class_names):
    """Draws a confusion matrix."""
    return figures.encode_png(figures.confusion_image(counts, class_names))


def draw_mistakes(pairs):
    """Draws [(title, paths of images)], a row of images a pair."""
    from PIL import Image, ImageOps

    columns = diagnostics.IMAGES_PER_PAIR
    size = (1.5 * columns, 1.75 * len(pairs))
    drawing, panels = figures.make_figure(len(pairs), columns, size)
    for axes in panels:
        axes.set_axis_off()
    for i, (title, paths) in enumerate(pairs):
        row = panels[i * columns : (i + 1) * columns]
        row[0].set_title(title, fontsize=9, loc="left")
        for axes, path in zip(row, paths, strict=False):
            with Image.open(path) as image:
                side = diagnostics.THUMBNAIL
                square = ImageOps.pad(
                    image.convert("RGB"), (side, side), color="white"
                )
                axes.imshow(np.asarray(square))
    return figures.encode_png(figures.rasterize(drawing))


def draw_curves(rows):
    """Draws the accuracy of runs of one task over their epochs.

    Where a run trained on the validation images too, its search's chosen one
    is drawn for these.
    """
    charts = {
        "training images": ("top1",),
        # The average is what is scored where there is one.
        "validation images": ("val_ema_top1", "val_top1"),
    }
    drawing, panels = figures.make_figure(1, 2, (10.4, 4.2))
    rows = sorted(rows, key=lambda row: -row["mean"])[:MAX_LINES]
    for axes, (title, names) in zip(panels, charts.items(), strict=True):
        for i, row in enumerate(rows):
            # The run that scores on test has no validation images.
            for curves, name in itertools.product(
                (row["curves"], row.get("search_curves") or {}), names
            ):
                if name in curves:
                    label = f"{_short(row['model'])} {row['recipe']}"
                    percent = 100 * np.asarray(curves[name])
                    style = {"color": f"C{i}", "label": label, "marker": "."}
                    axes.plot(curves["epoch"], percent, **style)
                    break
        axes.set_title(f"on {title}", fontsize=10)
        axes.set_xlabel("epoch")
        axes.set_ylabel("top-1, %")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=8)
        else:
            axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes)
    return figures.encode_png(figures.rasterize(drawing))


def _kind(row):
    """What else points of a recipe must share to be joined by a line."""
    parts = [
        f"{name}={value}"
        for name, value in sorted(row.get("changed", {}).items())
        # Each network has its own choice.
        if name not in row.get("searched", ())
    ]
    if row.get("chosen_from"):
        parts.append(f"best of {row['chosen_from']}")
    if row.get("weights", "imagenet") != "imagenet":
        parts.append(f"from {row['weights'] or 'random'} weights")
    if row.get("train_images") and row.get("complete") is False:
        parts.append(f"{row['train_images']:,} images")
    if row.get("evaluated_on", "test") != "test":
        parts.append(f"on {row['evaluated_on']}")
    return ", ".join(parts)


def _published_points(task):
    points = []
    for half in published_lib.HALVES.values():
        entry = half.get(task)
        if entry and entry.parameters:
            points += [
                (entry.model, entry.parameters, entry.accuracy),
                (entry.peer, entry.peer_parameters, entry.peer_accuracy),
            ]
    return points


def _draw_published(axes, points):
    for label, millions, accuracy in points:
        known = label.startswith("efficientnet")
        color, marker = (THEIRS, "s") if known else (OTHERS, "D")
        place = (millions, 100 * accuracy)
        axes.plot(*place, marker, color=color, alpha=0.6, zorder=1)
        _annotate(axes, _short(label), place, color)


def _draw_ours(axes, points, color, line_style, name):
    _, millions, accuracy, _, _ = zip(*points, strict=True)
    percent = 100 * np.asarray(accuracy)
    style = {"color": color, "zorder": 2, "label": name}
    axes.plot(millions, percent, line_style, alpha=0.5, **style)
    for i, (label, x, y, interval, same) in enumerate(points):
        low, high = interval or (y, y)
        reach = [[100 * max(y - low, 0)], [100 * max(high - y, 0)]]
        axes.errorbar(
            x,
            100 * y,
            yerr=reach,
            fmt="o",
            color=color,
            # Hollow: under other conditions than the paper's.
            markerfacecolor=color if same else "white",
            capsize=3,
            zorder=3,
        )
        # Neighbours have about as many parameters.
        end = high if i % 2 else low
        _annotate(axes, label, (x, 100 * end), color, below=i % 2 == 0)


def _annotate(axes, text, place, color, *, below=False):
    axes.annotate(
        text,
        place,
        xytext=(0, -10 if below else 5),
        textcoords="offset points",
        fontsize=7,
        color=color,
        horizontalalignment="center",
    )


def _label_panel(axes, task):
    from matplotlib import ticker

    axes.set_xscale("log")
    axes.margins(0.15)
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    axes.set_title(task[-40:], fontsize=10)
    axes.set_xlabel("million parameters")
    axes.set_ylabel("accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)


def _short(model):
    return model.removeprefix("efficientnet_").replace("_", " ")
