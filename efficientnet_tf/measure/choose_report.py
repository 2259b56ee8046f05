"""The table and the plot of a choice among networks."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from efficientnet_tf.measure import choose, pareto
from efficientnet_tf.utils import chart_labels, figures, files, tables

_LIMIT_LINE: dict[str, Any] = {
    "color": "0.3",
    "linestyle": "--",
    "linewidth": 1,
}
_COLORS = {"meets": "tab:blue", "over": "0.55", "skipped": "0.8"}


def as_table(rows: Sequence[dict], limits: choose.Limits) -> str:
    """Returns rows of `choose.survey` as text, a star for the Pareto front."""
    columns = ("model", "pixels", "top-1", "params", "multiply-adds")
    measured = [cost for cost in limits.costs if cost.part]
    header = (*columns, *(cost.text for cost in measured), "", "")
    lines = []
    for row in rows:
        lines.append(
            (
                row["model"],
                str(row["resolution"]),
                f"{row['top1']:.1f}",
                f"{row['params'] / 1e6:.2f} M",
                f"{row['multiply_adds'] / 1e9:.2f} G",
                *(
                    choose.value_text(cost, row[cost.column])
                    for cost in measured
                ),
                "*" if row["on_front"] else "",
                " ".join((row["verdict"], row["note"])).strip(),
            )
        )
    return tables.to_text(header, lines, left=(0, len(header) - 1))


def check_output(path: str | os.PathLike) -> None:
    """Raises an error if `write_image` could not write to `path`.

    Raises:
      ValueError: it is not a .png file.
      OSError: its folder cannot be written to.
    """
    path = pathlib.Path(path)
    if path.suffix != ".png":
        raise ValueError(f"output={str(path)!r} must end in .png.")
    files.check_folder(path.parent)


def write_image(
    path: str | os.PathLike, rows: Sequence[dict], limits: choose.Limits
) -> None:
    """Writes `image` as a PNG file."""
    figures.write_png(pathlib.Path(path), image(rows, limits))


def image(rows: Sequence[dict], limits: choose.Limits) -> np.ndarray:
    """Draws accuracy over each limited cost, with its Pareto front.

    Args:
      rows: of `choose.survey`.
      limits: drawn as dashed lines.

    Returns:
      The plot, uint8 [H, W, 3].
    """
    drawing, panels = figures.make_figure(
        1, len(limits.costs), (6.4 * len(limits.costs), 4.8)
    )
    for axes, cost in zip(panels, limits.costs, strict=True):
        known = [row for row in rows if row[cost.column] is not None]
        _draw(axes, cost, known)
        axes.axvline(getattr(limits, cost.limit), **_LIMIT_LINE)
        if limits.min_top1 is not None:
            axes.axhline(limits.min_top1, **_LIMIT_LINE)
        unit = cost.unit and f" ({cost.unit.strip()})"
        axes.set_xlabel(f"{cost.text}{unit}")
        axes.set_ylabel("top-1 (%)")
        _scale(axes)
    names = {
        name: handle
        for axes in panels
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    drawing.legend(
        names.values(), names, loc="outside lower center", ncols=len(names)
    )
    for axes, cost in zip(panels, limits.costs, strict=True):
        _label(axes, cost, rows)
    return figures.rasterize(drawing)


def _scale(axes):
    """Gives the axis of costs as many numbers as there is room for."""
    from matplotlib import ticker  # An optional dependency.

    axes.set_xscale("log")
    low, high = axes.get_xlim()
    decades = np.log10(high / low)
    digits = next(
        digits
        for most, digits in (
            (1.3, (1, 2, 3, 5, 7)),
            (2.5, (1, 2, 5)),
            (99, (1,)),
        )
        if decades <= most
    )
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=digits))
    axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
    axes.xaxis.set_minor_locator(ticker.NullLocator())


def _label(axes, cost, rows):
    """Writes the networks' names, that of the chosen one first."""
    known = [row for row in rows if row[cost.column] is not None]
    chosen = choose.best(known)
    chart_labels.label_points(
        axes,
        [
            (
                row["label"],
                row[cost.column],
                row["top1"],
                "tab:red" if row is chosen else "black",
            )
            for row in sorted(known, key=lambda row: row is not chosen)
        ],
    )


def _draw(axes, cost, known):
    for verdict, color in _COLORS.items():
        points = [row for row in known if row["verdict"] == verdict]
        if points:
            axes.plot(
                [row[cost.column] for row in points],
                [row["top1"] for row in points],
                "o",
                color=color,
                label=choose.VERDICTS[verdict],
            )
    # The front of this cost alone, so that the line is monotonic.
    points = [(-row[cost.column], row["top1"]) for row in known]
    front = sorted(points[i] for i in pareto.pareto_front(points))
    axes.plot(
        [-x for x, _ in front],
        [y for _, y in front],
        "-",
        color="tab:blue",
        alpha=0.4,
        label="Pareto front",
    )
    chosen = choose.best(known)
    if chosen is not None:
        axes.plot(
            chosen[cost.column],
            chosen["top1"],
            "*",
            color="tab:red",
            ms=15,
            label="chosen",
        )
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.grid(alpha=0.3)
