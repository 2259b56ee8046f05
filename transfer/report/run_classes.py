"""A run's classes: precision, recall, F1, and what was taken for what."""

import io

import numpy as np
from PIL import Image

from efficientnet_tf.utils import words
from transfer import diagnostics
from transfer.report import page, run_files

MOST_CLASSES = 200  # Of the table; the worst ones are shown.
MOST_CELLS = 20  # Classes of a matrix with numbers; of more, a picture.
MOST_PIXELS = 600  # Of its picture, a pixel for each class.
MOST_PAIRS = 20

# Of shares from 0 to 1, over a light or a dark page: right, and wrong.
_RIGHT, _WRONG = (9, 105, 218), (219, 80, 30)
_MOST_OPAQUE = 0.6


def measure(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Returns precision, recall and F1 of each class; NaN: not defined.

    Precision needs an image that was predicted as the class, recall one that
    is of it, F1 either.

    Args:
      counts: image counts [true class, predicted class].
    """
    hits = counts.diagonal()
    true, predicted = counts.sum(axis=1), counts.sum(axis=0)
    return {
        name: np.where(below > 0, above / np.maximum(below, 1), np.nan)
        for name, above, below in (
            ("precision", hits, predicted),
            ("recall", hits, true),
            ("F1", 2 * hits, true + predicted),
        )
    }


def show_classes(run: run_files.Run, counts: np.ndarray | None) -> str:
    """Returns the table of classes, the lowest F1 first, as HTML."""
    if counts is None:
        return page.paragraph("The run's row has no confusion matrix.")
    rates = measure(counts)
    trained = run_files.count_train_images(run)
    tested = counts.sum(axis=1)
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
    return page.paragraph(text, "muted") + page.table(header, rows)


def show_confusion(run: run_files.Run, counts: np.ndarray | None) -> str:
    """Returns the confusion matrix and the most confused pairs, as HTML."""
    if counts is None:
        return ""
    names = run.class_names
    if len(names) <= MOST_CELLS:
        matrix = _draw_matrix(counts, names)
    else:
        matrix = _draw_heat(counts)
    pairs = diagnostics.worst_pairs(counts, MOST_PAIRS)
    if not pairs:
        return matrix + page.paragraph("No image was misclassified.")
    totals = counts.sum(axis=1)
    rows = [
        (names[i], names[j], f"{counts[i, j]:,}", f"{totals[i]:,}")
        for i, j in pairs
    ]
    header = ("true class", "taken for", "images", "of")
    kinds = np.count_nonzero(counts) - np.count_nonzero(counts.diagonal())
    more = ""
    if kinds > len(pairs):
        more = page.paragraph(
            f"{words.count(kinds - len(pairs), 'rarer pair')} left out.",
            "muted",
        )
    title = "<h3>Most confused</h3>"
    return matrix + title + page.table(header, rows, words=2) + more


def _draw_matrix(counts, names):
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


def _draw_heat(counts):
    """Returns a picture of a matrix that has no room for numbers."""
    joined = -(-len(counts) // MOST_PIXELS)
    size = -(-len(counts) // joined)
    blocks = np.zeros((size, size))
    true, predicted = np.nonzero(counts)
    np.add.at(
        blocks, (true // joined, predicted // joined), counts[true, predicted]
    )
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
        "in alphabetical order of the class names; the diagonal, in blue, is "
        "right."
    )
    if joined > 1:
        text += f" A pixel stands for {joined} x {joined} classes."
    drawn = page.image(buffer.getvalue(), "png", "Confusion matrix", "heat")
    return page.paragraph(text, "muted") + drawn
