"""Accuracy over cost, and time and memory over cost, drawn from tables."""

from efficientnet_tf.models import costs, published, variants
from efficientnet_tf.utils import figures

# Family -> colour; peers are grey.
COLORS = {
    "EfficientNet": "tab:red",
    "EfficientNet-Lite": "tab:orange",
    "others": "0.45",
}


def accuracy_points():
    """Returns what Figures 1 and 5 of the paper show, from the tables.

    Returns:
      {family: [(label, millions of parameters, billions of multiply-adds,
      top-1 in percent)]}: published accuracy over cost, where the costs of
      this family are counted here and those of others are as published.
      Multiply-adds are None where nobody published them.
    """
    points = {
        "EfficientNet": [_counted(name) for name in published.EFFICIENTNETS],
        "EfficientNet-Lite": [_counted(name) for name in published.LITES],
        "others": [
            (name, row.params, row.multiply_adds, row.top1)
            for name, row in published.PEERS.items()
        ],
    }
    return points


def accuracy_image(points):
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
    return figures.rasterize(drawing)


def measured_image(rows):
    """Draws rows of `cost_table`: time and memory over what was counted."""
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
    return figures.rasterize(drawing)


def _counted(name):
    counted = costs.count_costs(name)
    label = variants.short_name(name)
    params, multiply_adds = counted.params, counted.multiply_adds
    top1 = published.VARIANTS[name].top1
    return label, params / 1e6, multiply_adds / 1e9, top1


def _draw(axes, family, points):
    """Draws (label, x, y) as dots; those of a family of sizes on a line."""
    line = "none" if family in (None, "others") else "-"
    color = COLORS.get(family, "tab:blue")
    points = sorted(points, key=lambda point: point[2])
    xs, ys = [x for _, x, _ in points], [y for *_, y in points]
    axes.plot(
        xs, ys, marker="o", ms=4, linestyle=line, color=color, label=family
    )
    for number, (label, x, y) in enumerate(points):
        # Neighbours that are no family have their labels on different sides.
        left = number % 2 if line == "none" else family == "EfficientNet"
        axes.annotate(
            label,
            (x, y),
            xytext=(-4, 2) if left else (4, -7),
            textcoords="offset points",
            horizontalalignment="right" if left else "left",
            fontsize=6,
            color=color,
        )
    if points:
        axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.grid(alpha=0.3)
