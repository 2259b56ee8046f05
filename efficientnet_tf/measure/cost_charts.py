"""Charts of accuracy, time and memory over cost, drawn from tables."""

from collections.abc import Mapping, Sequence

import numpy as np

from efficientnet_tf.models import costs, published, variants
from efficientnet_tf.utils import chart_labels, figures

# (label, millions of parameters, billions of multiply-adds, top-1 in percent);
# multiply-adds are None if nobody published them.
Point = tuple[str, float, float | None, float]

# Family -> colour; other networks are grey.
COLORS = {
    "EfficientNet": "tab:red",
    "EfficientNet-Lite": "tab:orange",
    "EfficientNetV2": "tab:purple",
    "others": "0.45",
}


def accuracy_points() -> dict[str, list[Point]]:
    """Returns the points of the paper's Figures 1 and 5, from the tables.

    Returns:
      {family: points} with published accuracies. The costs of EfficientNets are
      counted here, those of others are as published.
    """
    return {
        "EfficientNet": [_counted(name) for name in published.EFFICIENTNETS],
        "EfficientNet-Lite": [_counted(name) for name in published.LITES],
        "EfficientNetV2": [_counted(name) for name in published.V2S],
        "others": [
            (name, row.params, row.multiply_adds, row.top1)
            for name, row in published.PEERS.items()
        ],
    }


def accuracy_image(points: Mapping[str, Sequence[Point]]) -> np.ndarray:
    """Draws `accuracy_points`: over parameters, and over multiply-adds."""
    drawing, panels = figures.make_figure(1, 2, (13, 6))
    titles = ("parameters (millions)", "multiply-adds (billions)")
    for place, (axes, title) in enumerate(
        zip(panels, titles, strict=True), start=1
    ):
        for family, rows in points.items():
            known = [
                (row[0], row[place], row[3])
                for row in rows
                if row[place] is not None
            ]
            _draw(axes, family, known)
        axes.set_xlabel(title)
        axes.set_ylabel("ImageNet top-1 (%), as published")
    panels[0].legend(loc="lower right")
    for place, axes in enumerate(panels, start=1):
        _label(axes, points, place)
    return figures.rasterize(drawing)


def measured_image(rows: Sequence[dict]) -> np.ndarray:
    """Draws rows of `cost_table`: time and memory over counted costs."""
    charts = (
        ("multiply_adds_g", "latency_p50_ms"),
        ("multiply_adds_g", "images_per_second"),
        ("activation_memory_mb", "training_memory_mb"),
    )
    drawing, panels = figures.make_figure(1, len(charts), (15, 4.6))
    for axes, (x, y) in zip(panels, charts, strict=True):
        known = [row for row in rows if row[x] and row[y]]
        points = [
            (variants.short_name(row["model"]), row[x], row[y]) for row in known
        ]
        _draw(axes, None, points)
        if known:
            axes.set_yscale("log")
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        chart_labels.label_points(
            axes, [(*point, COLORS["others"]) for point in points], size=7
        )
    return figures.rasterize(drawing)


def _counted(name):
    counted = costs.count_costs(name)
    label = variants.short_name(name)
    params, multiply_adds = counted.params, counted.multiply_adds
    top1 = published.VARIANTS[name].top1
    return label, params / 1e6, multiply_adds / 1e9, top1


def _label(axes, points, place):
    """Writes all names, the families' first; `place`: of a point's cost."""
    chart_labels.label_points(
        axes,
        [
            (row[0], row[place], row[3], COLORS[family])
            for family, rows in points.items()
            for row in rows
            if row[place] is not None
        ],
        size=7,
    )


def _draw(axes, family, points):
    """Draws (label, x, y) as dots, joined by a line within a family."""
    line = "none" if family in (None, "others") else "-"
    color = COLORS.get(family, "tab:blue")
    points = sorted(points, key=lambda point: point[2])
    xs, ys = [x for _, x, _ in points], [y for *_, y in points]
    axes.plot(
        xs, ys, marker="o", ms=4, linestyle=line, color=color, label=family
    )
    if points:
        axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.grid(alpha=0.3)
