"""The table and the plot of a choice among networks."""

import pathlib

from efficientnet_tf.measure import choose, pareto
from efficientnet_tf.utils import figures, files, tables

_LIMIT_LINE = {"color": "0.3", "linestyle": "--", "linewidth": 1}
_COLORS = {"meets": "tab:blue", "over": "0.55", "skipped": "0.8"}


def as_table(rows, limits):
    """Returns rows of `choose.survey` as text; a star marks the front's."""
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


def check_output(path):
    """Raises an error if `write_image` could not write to `path`."""
    path = pathlib.Path(path)
    if path.suffix != ".png":
        raise ValueError(f"output={str(path)!r} must end in .png.")
    files.check_folder(path.parent)


def write_image(path, rows, limits):
    """Writes `image` as a PNG file."""
    figures.write_png(path, image(rows, limits))


def image(rows, limits):
    """Draws accuracy over each cost with a limit, and its Pareto front."""
    drawing, panels = figures.make_figure(
        1, len(limits.costs), (6.4 * len(limits.costs), 4.8)
    )
    for axes, cost in zip(panels, limits.costs, strict=True):
        _draw(axes, cost, rows)
        axes.axvline(getattr(limits, cost.limit), **_LIMIT_LINE)
        if limits.min_top1 is not None:
            axes.axhline(limits.min_top1, **_LIMIT_LINE)
        unit = cost.unit and f" ({cost.unit.strip()})"
        axes.set_xlabel(f"{cost.text}{unit}")
        axes.set_ylabel("top-1 (%)")
    # Nothing is both cheap and accurate, so there is room.
    panels[0].legend(loc="upper left")
    return figures.rasterize(drawing)


def _draw(axes, cost, rows):
    from matplotlib import ticker  # Of an extra: not everybody has it.

    known = [row for row in rows if row[cost.column] is not None]
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
    # Of this cost alone, so that the line never turns back.
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
    chosen = choose.best(rows)
    if chosen is not None:
        axes.plot(
            chosen[cost.column],
            chosen["top1"],
            "*",
            color="tab:red",
            ms=15,
            label="chosen",
        )
    for number, row in enumerate(known):
        axes.annotate(
            row["label"],
            (row[cost.column], row["top1"]),
            # Networks of nearly equal accuracy and cost follow each other.
            xytext=(6, 4 if number % 2 else -9),
            textcoords="offset points",
            fontsize=8,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.margins(x=0.15)
    axes.grid(alpha=0.3)
