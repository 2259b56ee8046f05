"""Figures of the report: accuracy over parameters, mistakes, curves."""

import collections
import itertools
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from efficientnet_tf.utils import figures
from transfer.config import published as published_lib
from transfer.scores import diagnostics

COLUMNS = 4  # Panels in a row.
MAX_LINES = 8  # More lines in a chart cannot be told apart.

# Of the gallery of mistakes, in pixels: between an image and its maps, after
# them, and for a line of text.
_TILE_GAP, _GROUP_GAP, _TITLE = 4, 12, 24
_NARROWEST = 600  # A title is as long as 80 letters.

# A colour for each of our recipes, and a style for each kind of its runs.
OURS = ("tab:red", "tab:green", "tab:purple", "tab:orange", "tab:pink")
STYLES = ("-", "--", ":", "-.")
# The colours of the paper's networks, and of those it compares with.
THEIRS, OTHERS = "tab:blue", "0.55"

# {task: (ours, published)}, see `accuracy_points`.
Points = dict[str, tuple[dict[tuple[str, str], list], list]]


def accuracy_points(summary: Iterable[Mapping[str, Any]]) -> Points:
    """Returns what Figure 6 shows: {task: (ours, published)}.

    `ours` maps (recipe, how these runs differ from its others) to a list of
    (label, millions of parameters, accuracy, (low, high) or None, whether the
    conditions are the paper's), sorted by parameters; `published` is a list of
    the first three. Rows without parameters are left out.
    """
    points: Points = {}
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


def draw_accuracy(points: Points) -> bytes:
    """Draws `accuracy_points` as the paper's Figure 6, a panel for each task.

    Returns a PNG, as all functions here that draw.
    """
    columns = min(COLUMNS, len(points))
    rows = -(-len(points) // columns)
    size = (max(4.2 * columns, 6), 3.8 * rows)
    drawing, panels = figures.make_figure(rows, columns, size)
    recipes = sorted({name for ours, _ in points.values() for name, _ in ours})
    for axes, (task, (ours, published)) in zip(
        panels, points.items(), strict=False
    ):
        _draw_published(axes, published)
        drawn: collections.Counter[str] = collections.Counter()
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


def draw_confusion(counts: np.ndarray, class_names: Sequence[str]) -> bytes:
    """Draws a confusion matrix [true, predicted]."""
    return figures.encode_png(figures.confusion_image(counts, class_names))


def draw_mistakes(
    pairs: Sequence[tuple[str, Sequence[pathlib.Path]]],
) -> bytes:
    """Draws [(title, paths of images)], a row of images for each pair.

    If there are any, beside each image its maps, for the true class and for the
    predicted one.
    """
    groups = [[_read_tiles(path) for path in paths] for _, paths in pairs]
    tiles = max(len(group) for row in groups for group in row)
    side, columns = diagnostics.THUMBNAIL, max(map(len, groups))
    width = tiles * (side + _TILE_GAP) + _GROUP_GAP
    height = side + _TITLE
    top = _TITLE * (tiles > 1)
    wide = max(columns * width, _NARROWEST)
    size = (top + len(pairs) * height + _TILE_GAP, wide)
    canvas = np.full((*size, 3), 255, "uint8")
    texts = []
    for i, (title, _) in enumerate(pairs):
        texts.append((0, top + i * height + _TITLE - 6, title))
        for j, group in enumerate(groups[i]):
            for k, tile in enumerate(group):
                y = top + i * height + _TITLE
                x = j * width + k * (side + _TILE_GAP)
                canvas[y : y + side, x : x + side] = tile
    if tiles > 1:
        texts += [
            (j * width + k * (side + _TILE_GAP), _TITLE - 6, text)
            for j in range(columns)
            for k, text in enumerate(("image", "for the true", "for predicted"))
        ]
    return figures.encode_png(figures.write_texts(canvas, texts, "left"))


def _read_tiles(path):
    """Returns squares of an image and of its maps, if it has any."""
    with Image.open(path) as image:
        pictures = [image.convert("RGB")]
    maps = diagnostics.find_maps(path)
    if maps is not None:
        with Image.open(maps) as image:
            both, half = image.convert("RGB"), image.width // 2
        for left in (0, half):
            pictures.append(both.crop((left, 0, left + half, both.height)))
    side = (diagnostics.THUMBNAIL, diagnostics.THUMBNAIL)
    return [
        np.asarray(ImageOps.pad(picture, side, color="white"))
        for picture in pictures
    ]


def draw_curves(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Draws the accuracy of runs of one task over their epochs.

    For a run that also trained on the validation images, the curve on these is
    that of the search's chosen run.
    """
    charts = {
        "training images": ("top1",),
        # If there is an EMA, it is what is scored.
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
                    axes.plot(
                        curves["epoch"],
                        percent,
                        color=f"C{i}",
                        label=label,
                        marker=".",
                    )
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
    """Returns what else points of a recipe must share to be on one line."""
    parts = [
        f"{name}={value}"
        for name, value in sorted(row.get("changed", {}).items())
        # The search chooses these for each network.
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
            # Hollow: not under the paper's conditions.
            markerfacecolor=color if same else "white",
            capsize=3,
            zorder=3,
        )
        # Labels alternate: neighbours have about as many parameters.
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
