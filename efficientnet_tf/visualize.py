"""Pictures of data and results, for TensorBoard and reports."""

import io

import numpy as np

# Above this many classes a confusion matrix has no room for names.
MAX_NAMED_CLASSES = 30


def image_grid(images, columns=4):
    """Tiles images [N, H, W, 3] in [0, 255] into one uint8 image."""
    images = np.clip(np.asarray(images), 0, 255).astype("uint8")
    rows = -(-len(images) // columns)
    height, width = images.shape[1:3]
    grid = np.zeros((rows * height, columns * width, 3), "uint8")
    for i, image in enumerate(images):
        y, x = i // columns * height, i % columns * width
        grid[y : y + height, x : x + width] = image
    return grid


def curves_image(rows, charts):
    """Draws columns of a run's metrics over its epochs; uint8 [H, W, 3].

    Args:
      rows: of `metrics.jsonl`: dicts with "epoch".
      charts: {title: names of the columns in one chart}; a column that a run
        does not have is left out.
    """
    drawing, panels = make_figure(1, len(charts), (5.2 * len(charts), 3.8))
    epochs = [row["epoch"] for row in rows]
    for axes, (title, names) in zip(panels, charts.items(), strict=True):
        for name in names:
            if rows and name in rows[0]:
                axes.plot(epochs, [row[name] for row in rows], label=name)
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        axes.legend()
    return rasterize(drawing)


def confusion_image(confusion, class_names):
    """Draws counts [true, predicted] as shares of each true class; uint8."""
    counts = confusion.sum(axis=1, keepdims=True)
    shares = confusion / np.maximum(counts, 1)
    drawing, (axes,) = make_figure(1, 1, (8, 7.2))
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    drawing.colorbar(picture, label="share of the true class")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(class_names) <= MAX_NAMED_CLASSES:
        ticks = range(len(class_names))
        axes.set_xticks(ticks, class_names, rotation=90)
        axes.set_yticks(ticks, class_names)
    return rasterize(drawing)


def make_figure(rows, columns, inches):
    """Returns a Matplotlib figure and the list of its rows x columns axes."""
    # Not pyplot: it would take over the user's own figures.
    from matplotlib import figure
    from matplotlib.backends import backend_agg

    drawing = figure.Figure(figsize=inches, layout="constrained")
    backend_agg.FigureCanvasAgg(drawing)
    panels = drawing.subplots(rows, columns, squeeze=False)
    return drawing, list(panels.flat)


def rasterize(drawing):
    """Returns a figure as uint8 [H, W, 3]."""
    from PIL import Image

    buffer = io.BytesIO()
    drawing.savefig(buffer, format="png", dpi=100)
    return np.asarray(Image.open(buffer).convert("RGB"))
