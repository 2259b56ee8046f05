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


def confusion_image(confusion, class_names):
    """Draws counts [true, predicted] as shares of each true class; uint8."""
    # Not pyplot: it would take over the user's own figures.
    from matplotlib import backends, figure  # noqa: F401
    from matplotlib.backends import backend_agg
    from PIL import Image

    counts = confusion.sum(axis=1, keepdims=True)
    shares = confusion / np.maximum(counts, 1)
    drawing = figure.Figure(figsize=(8, 7.2), layout="constrained")
    backend_agg.FigureCanvasAgg(drawing)
    axes = drawing.add_subplot()
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    drawing.colorbar(picture, label="share of the true class")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(class_names) <= MAX_NAMED_CLASSES:
        ticks = range(len(class_names))
        axes.set_xticks(ticks, class_names, rotation=90)
        axes.set_yticks(ticks, class_names)
    buffer = io.BytesIO()
    drawing.savefig(buffer, format="png", dpi=100)
    return np.asarray(Image.open(buffer).convert("RGB"))
