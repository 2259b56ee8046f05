"""A run's classes: precision, recall, F1, and what was taken for what."""

import io

import numpy as np
from PIL import Image

from efficientnet_tf.utils import words
from transfer.report import page, run_files

MOST_CLASSES = 200  # Of the table; the worst ones are shown.
MOST_CELLS = 20  # Classes of a matrix with numbers; of more, a picture.
MOST_PIXELS = 600  # Of its picture, a pixel for each class.
MOST_PAIRS = 20

# Of shares from 0 to 1, over a light or a dark page: right, and wrong.
_RIGHT, _WRONG = (9, 105, 218), (219, 80, 30)
_MOST_OPAQUE = 0.6


def measure(cells: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    """Returns precision, recall and F1 of each class; NaN: not defined.

    Precision needs an image that was predicted as the class, recall one that
    is of it, F1 either.

    Args:
      cells: rows [true class, predicted class, images].
      classes: how many there are.
    """
    true, predicted = _sum_cells(cells, classes)
    right = cells[cells[:, 0] == cells[:, 1]]
    hits = np.bincount(right[:, 0], right[:, 2], classes)
    return {
        name: np.where(below > 0, above / np.maximum(below, 1), np.nan)
        for name, above, below in (
            ("precision", hits, predicted),
            ("recall", hits, true),
            ("F1", 2 * hits, true + predicted),
        )
    }


def _sum_cells(cells, classes):
    """Returns images [classes] by true class, and by predicted class."""
    true, predicted = (
        np.bincount(cells[:, column], cells[:, 2], classes).astype(int)
        for column in (0, 1)
    )
    return true, predicted


def show_classes(run: run_files.Run) -> str:
    """Returns the table of classes, the lowest F1 first, as HTML."""
    if run.cells is None:
        return page.paragraph("The run's row has no confusion matrix.")
    classes = len(run.class_names)
    rates = measure(run.cells, classes)
    trained = run_files.count_train_images(run)
    tested, _ = _sum_cells(run.cells, classes)
    # What is not defined stands last: nothing is wrong with it.
    order = np.argsort(np.nan_to_num(rates["F1"], nan=2), kind="stable")
    rows = [
        (
            run.class_names[i],
            "–" if trained is None else f"{trained[i]:,}",
            f"{tested[i]:,}",
            *(page.percent(float(column[i])) for column in rates.values()),
        )
        for i in order[:MOST_CLASSES]
    ]
    split = run.row.get("evaluated_on", "test")
    header = ("class", "train images", f"{split} images", *rates)
    text = (
        "The lowest F1 first. Precision: of the images that were taken for the "
        "class, how many are of it. Recall: of its images, how many were found."
    )
    if len(order) > MOST_CLASSES:
        text += (
            f" {len(order) - MOST_CLASSES:,} classes with a higher F1 are left "
            "out."
        )
    return page.paragraph(text, "muted") + page.long_table(header, rows)


def show_confusion(run: run_files.Run) -> str:
    """Returns the confusion matrix and the most confused pairs, as HTML."""
    cells, names = run.cells, run.class_names
    if cells is None:
        return ""
    if len(names) <= MOST_CELLS:
        matrix = _draw_matrix(cells, names)
    else:
        matrix = _draw_heat(cells, len(names))
    wrong = cells[cells[:, 0] != cells[:, 1]]
    wrong = wrong[np.argsort(-wrong[:, 2], kind="stable")]
    if not len(wrong):
        return matrix + page.paragraph("No image was misclassified.")
    totals, _ = _sum_cells(cells, len(names))
    rows = [
        (names[i], names[j], f"{images:,}", f"{totals[i]:,}")
        for i, j, images in wrong[:MOST_PAIRS]
    ]
    header = ("true class", "taken for", "images", "of")
    more = ""
    if len(wrong) > MOST_PAIRS:
        more = page.paragraph(
            f"{words.count(len(wrong) - MOST_PAIRS, 'pair')} with no more "
            "images are left out.",
            "muted",
        )
    title = "<h3>Most confused</h3>"
    return matrix + title + page.table(header, rows, words=2) + more


def _draw_matrix(cells, names):
    counts = np.zeros((len(names), len(names)), int)
    counts[cells[:, 0], cells[:, 1]] = cells[:, 2]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    head = "".join(
        f'<th class="column" title="{page.escape(name)}">'
        f"<span>{page.name(name)}</span></th>"
        for name in names
    )
    lines = []
    for i, name in enumerate(names):
        cells = "".join(
            _draw_cell(int(counts[i, j]), shares[i, j], i == j)
            for j in range(len(names))
        )
        lines.append(
            f'<tr><th class="row" title="{page.escape(name)}">'
            f"{page.name(name)}</th>{cells}</tr>"
        )
    text = (
        "Images of each true class (rows) by predicted class (columns). The "
        "colour is the share of the row; the diagonal is right."
    )
    return (
        page.paragraph(text, "muted")
        + f'<div class="wide"><table class="matrix"><tr><th></th>{head}</tr>'
        + "".join(lines)
        + "</table></div>"
    )


def _draw_cell(count, share, right):
    if not count:
        return '<td class="muted">·</td>'
    red, green, blue = _RIGHT if right else _WRONG
    # The rarest mistake still has a colour.
    alpha = _MOST_OPAQUE * (0.25 + 0.75 * share)
    return (
        f'<td style="background:rgba({red},{green},{blue},{alpha:.2f})">'
        f"{count:,}</td>"
    )


def _draw_heat(cells, classes):
    """Returns a picture of a matrix that has no room for numbers."""
    joined = -(-classes // MOST_PIXELS)
    size = -(-classes // joined)
    blocks = np.zeros((size, size))
    np.add.at(blocks, tuple(cells[:, :2].T // joined), cells[:, 2])
    shares = blocks / np.maximum(blocks.sum(axis=1, keepdims=True), 1)
    pixels = np.zeros((size, size, 4), "uint8")
    pixels[..., :3] = _WRONG
    pixels[np.arange(size), np.arange(size), :3] = _RIGHT
    # By its root, so that single mistakes are seen.
    pixels[..., 3] = np.rint(255 * np.sqrt(shares))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png", optimize=True)
    text = (
        "True classes from top to bottom, predicted ones from left to right, "
        "in the order of the classes; the diagonal, in blue, is "
        "right."
    )
    if joined > 1:
        text += f" A pixel stands for {joined} x {joined} classes."
    drawn = page.image(buffer.getvalue(), "png", "Confusion matrix", "heat")
    return page.paragraph(text, "muted") + drawn
