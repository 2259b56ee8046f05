"""Images of data and results, for TensorBoard and reports."""

import io
import os
import typing
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from efficientnet_tf.utils import chart_text, extras, files

if typing.TYPE_CHECKING:
    from matplotlib import axes as mpl_axes, figure as mpl_figure

# Above this many classes a confusion matrix has no room for names.
MAX_NAMED_CLASSES = 30
# Characters of a class name that fit on a small image.
MAX_CAPTION = 24
# Pixels an inch.
DPI = 100


def image_grid(images: np.ndarray, columns: int = 4) -> np.ndarray:
    """Tiles images [N, H, W, 3] in [0, 255] into one uint8 image."""
    images = np.clip(np.asarray(images), 0, 255).astype("uint8")
    rows = -(-len(images) // columns)
    height, width = images.shape[1:3]
    grid = np.zeros((rows * height, columns * width, 3), "uint8")
    for i, image in enumerate(images):
        y, x = i // columns * height, i % columns * width
        grid[y : y + height, x : x + width] = image
    return grid


def curves_image(
    rows: Sequence[Mapping], charts: Mapping[str, Sequence[str]]
) -> np.ndarray:
    """Draws a run's metrics over its epochs; uint8 [H, W, 3].

    Args:
      rows: the rows of `metrics.jsonl`: dicts with "epoch".
      charts: {title: names of the columns in one chart}; columns that the rows
        lack are left out.
    """
    drawing, panels = make_figure(1, len(charts), (5.2 * len(charts), 3.8))
    epochs = [row["epoch"] for row in rows]
    for axes, (title, names) in zip(panels, charts.items(), strict=True):
        for name in names:
            if rows and name in rows[0]:
                values = [row.get(name, np.nan) for row in rows]
                axes.plot(epochs, values, label=name)
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        axes.legend()
    return rasterize(drawing)


def confusion_image(
    confusion: np.ndarray, class_names: Sequence[str]
) -> np.ndarray:
    """Draws counts [true, predicted] as shares of each true class.

    Returns:
      uint8 [H, W, 3].
    """
    counts = confusion.sum(axis=1, keepdims=True)
    shares = confusion / np.maximum(counts, 1)
    drawing, (axes,) = make_figure(1, 1, (8, 7.2))
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    drawing.colorbar(picture, label="share of the true class")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(class_names) <= MAX_NAMED_CLASSES:
        ticks = range(len(class_names))
        # A tick's text is set again when it is drawn.
        names = [chart_text.show(name, MAX_CAPTION) for name in class_names]
        axes.set_xticks(ticks, names, rotation=90)
        axes.set_yticks(ticks, names)
    return rasterize(drawing)


def make_figure(
    rows: int, columns: int, inches: tuple[float, float]
) -> tuple["mpl_figure.Figure", list["mpl_axes.Axes"]]:
    """Returns a Matplotlib figure and the list of its rows x columns axes."""
    extras.require("Charts", "matplotlib")
    # Not pyplot, whose global state belongs to the user's own figures.
    from matplotlib import figure
    from matplotlib.backends import backend_agg

    drawing = figure.Figure(figsize=inches, layout="constrained")
    backend_agg.FigureCanvasAgg(drawing)
    panels = drawing.subplots(rows, columns, squeeze=False)
    return drawing, list(panels.flat)


def write_texts(
    image: np.ndarray,
    texts: Iterable[tuple[float, float, str]],
    align: str = "center",
) -> np.ndarray:
    """Writes lines of text on an image, whose other pixels stay as they are.

    Args:
      image: uint8 [H, W, 3].
      texts: (x, y, text): a point at its line's foot, in pixels.
      align: what stands at x: "left", "center" or "right".
    """
    extras.require("Charts", "matplotlib")
    from matplotlib import figure
    from matplotlib.backends import backend_agg

    height, width = image.shape[:2]
    drawing = figure.Figure((width / DPI, height / DPI), dpi=DPI)
    backend_agg.FigureCanvasAgg(drawing)
    drawing.figimage(image)
    for x, y, text in texts:
        drawing.text(
            x / width,
            1 - y / height,
            text,
            fontsize=9,
            ha=align,
            va="baseline",
        )
    return rasterize(drawing)


def rasterize(drawing: "mpl_figure.Figure") -> np.ndarray:
    """Returns a figure as uint8 [H, W, 3]."""
    from PIL import Image

    chart_text.prepare(drawing)
    buffer = io.BytesIO()
    drawing.savefig(buffer, format="png", dpi=DPI)
    return np.asarray(Image.open(buffer).convert("RGB"))


def encode_png(image: np.ndarray) -> bytes:
    """Returns uint8 [H, W, 3] as the bytes of a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def write_png(path: str | os.PathLike, image: np.ndarray) -> None:
    """Writes uint8 [H, W, 3] as a PNG file, atomically."""
    files.write_bytes(path, encode_png(image))


def captioned_image(
    images: Sequence[np.ndarray], captions: Iterable[str], columns: int = 6
) -> np.ndarray:
    """Draws images of any sizes, each under its caption; uint8 [H, W, 3]."""
    rows = -(-len(images) // columns)
    drawing, panels = make_figure(rows, columns, (1.5 * columns, 1.75 * rows))
    for axes in panels:
        axes.set_axis_off()
    for axes, image, caption in zip(panels, images, captions, strict=False):
        axes.imshow(np.asarray(image))
        axes.set_title(chart_text.show(caption, MAX_CAPTION), fontsize=9)
    return rasterize(drawing)


def predictions_image(
    images: Sequence[np.ndarray],
    probabilities: np.ndarray,
    class_names: Sequence[str],
    most: int = 3,
) -> np.ndarray:
    """Draws each image beside its most likely classes; uint8 [H, W, 3].

    Args:
      images: uint8 [H, W, 3], of any sizes.
      probabilities: [N, classes].
      class_names: in the order of the outputs.
      most: how many classes to show.
    """
    most = min(most, len(class_names))
    rows = -(-len(images) // 2)
    drawing, panels = make_figure(rows, 4, (10, 1.6 * rows))
    for axes in panels:
        axes.set_axis_off()
    for i, (image, row) in enumerate(zip(images, probabilities, strict=True)):
        photo, bars = panels[2 * i : 2 * i + 2]
        photo.imshow(np.asarray(image))
        best = np.argsort(-np.asarray(row), kind="stable")[:most]
        _draw_bars(bars, [(class_names[c], row[c]) for c in best])
    return rasterize(drawing)


def _draw_bars(axes, pairs):
    """Draws [(name, share)] as labelled horizontal bars, from the top down."""
    axes.set_axis_on()
    names, shares = zip(*pairs, strict=True)
    places = range(len(pairs))
    axes.barh(places, shares, color="tab:blue", alpha=0.35)
    for place, (name, share) in enumerate(pairs):
        text = f"{chart_text.show(name, MAX_CAPTION)}  {share:.1%}"
        axes.text(0.02, place, text, verticalalignment="center", fontsize=9)
    axes.set_xlim(0, 1)
    axes.set_ylim(len(pairs) - 0.5, -0.5)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)
