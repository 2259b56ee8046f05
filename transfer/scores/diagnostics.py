"""What a run records beside its score: confusion, mistakes, curves."""

import collections
import math
import os
import pathlib
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging
from PIL import Image

from efficientnet_tf.utils import files, messages, run_folder

if typing.TYPE_CHECKING:
    import keras

    from efficientnet_tf.inference import evaluate

# In a run's folder: images that it misclassified.
MISTAKES = "mistakes"
MISTAKEN_PAIRS = 8
IMAGES_PER_PAIR = 4
THUMBNAIL = 96  # Pixels of the longer side.
# Begins the names of pictures of what the network looked at: for the true class
# at the left and for the predicted one at the right.
MAPS = "maps_"

# Begins the names of batch-norm statistics, which the paper does not count.
STATISTICS = "moving_"

# Maps (image, classes) of images to pictures of a map of each class.
DrawMaps = Callable[
    [Iterable[tuple[np.ndarray, Sequence[int]]]],
    Iterable[Sequence[np.ndarray]],
]

# Columns of metrics.jsonl.
CURVES = (
    *("epoch", "top1", "val_top1", "val_ema_top1", "loss", "val_loss"),
    *("map", "val_map", "val_ema_map", "r2", "val_r2", "val_ema_r2"),
)


def collect(
    network: "keras.Model",
    class_names: Sequence[str],
    scores: "evaluate.Scores",
    metrics_path: str | os.PathLike,
) -> dict:
    """Returns the diagnostics of a result row.

    Args:
      network: the model that was scored.
      class_names: in the order of the network's outputs.
      scores: of the network on the evaluated images.
      metrics_path: the run's metrics.jsonl, which need not exist.

    Returns:
      A dict: "parameters", without the classifier, as the paper counts them
      in Table 5; "class_names"; "confusion", [true, predicted, images] of each
      cell that is not empty; "curves", {column: values}.
    """
    cells = np.argwhere(scores.confusion)
    return {
        "class_names": list(class_names),
        "confusion": [
            [int(i), int(j), int(scores.confusion[i, j])] for i, j in cells
        ],
        **describe(network, metrics_path),
    }


def describe(
    network: "keras.Model", metrics_path: str | os.PathLike
) -> dict[str, Any]:
    """Returns "parameters" and "curves", see `collect`."""
    return {
        "parameters": sum(
            math.prod(variable.shape)
            for layer in network.layers
            if layer.name != "predictions"
            for variable in layer.weights
            if not variable.name.startswith(STATISTICS)
        ),
        "curves": _curves(pathlib.Path(metrics_path)),
    }


def check(row: Mapping[str, Any]) -> None:
    """Raises ValueError if a row's confusion or curves cannot be drawn."""
    classes = len(row.get("class_names") or ())
    for cell in row.get("confusion") or ():
        if not _is_cell(cell, classes):
            raise ValueError(
                f"confusion holds {cell!r}, not [true, predicted, images] of "
                f"{classes} classes"
            )
    for field in ("curves", "search_curves"):
        curves = row.get(field) or {}
        for name, column in curves.items():
            if not _is_column(column, len(curves.get("epoch") or ())):
                raise ValueError(
                    f"{field}: {name} is not a number for each epoch"
                )


def confusion(runs: Sequence[Mapping[str, Any]]) -> np.ndarray | None:
    """Returns the summed counts [true, predicted] of rows.

    Classes are those of the first row, in its order. None if a row has no
    confusion matrix or other classes.
    """
    if not all(row.get("confusion") for row in runs):
        return None
    names = runs[0]["class_names"]
    places = {name: place for place, name in enumerate(names)}
    total = np.zeros((len(names), len(names)), np.int64)
    for row in runs:
        if sorted(row["class_names"]) != sorted(names):
            return None
        # The same classes may stand in another order.
        order = np.array([places[name] for name in row["class_names"]])
        true, predicted, images = np.transpose(row["confusion"])
        np.add.at(total, (order[true], order[predicted]), images)
    return total


def worst_pairs(counts: np.ndarray, most: int) -> list[tuple[int, int]]:
    """Returns [(true, predicted)] of the most frequent mistakes, worst first.

    Args:
      counts: [true, predicted].
      most: how many pairs at most.
    """
    wrong = np.array(counts)
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = zip(*np.unravel_index(order, wrong.shape), strict=True)
    return [(int(i), int(j)) for i, j in pairs if wrong[i, j]]


def save_mistakes(
    examples: Iterable,
    scores: "evaluate.Scores",
    workdir: str | os.PathLike,
    decode: Callable[[Any], Any],
    draw_maps: DrawMaps | None = None,
) -> None:
    """Saves thumbnails of the most frequent mistakes, and maps of them.

    An image that cannot be read any more ends it with a warning: a run that has
    come this far does not fail by it.

    Args:
      examples: (image, label) in the order in which they were scored.
      scores: of these examples.
      workdir: the run's folder.
      decode: maps an image to a uint8 tensor [H, W, 3].
      draw_maps: maps (uint8 [H, W, 3], (true class, predicted)) of each image
        to pictures of two maps; None: no maps.
    """
    pairs = worst_pairs(scores.confusion, MISTAKEN_PAIRS)
    if not pairs:
        return
    rows = zip(examples, scores.predicted, strict=True)
    save_pictures(
        _pick_mistakes(rows, pairs, decode),
        pathlib.Path(workdir) / MISTAKES,
        draw_maps,
        THUMBNAIL,
    )


def save_pictures(
    pictures: Iterable[tuple[str, np.ndarray, Sequence[int]]],
    folder: pathlib.Path,
    draw_maps: DrawMaps | None,
    side: int,
) -> None:
    """Saves thumbnails and, beside them, maps; replaces the folder.

    An image that cannot be read any more ends it with a warning: a run that has
    come this far does not fail by it.

    Args:
      pictures: (file name, uint8 [H, W, 3], classes for maps) of each.
      folder: where to.
      draw_maps: see `save_mistakes`.
      side: pixels of a thumbnail's longer side.
    """
    import tensorflow as tf

    names: list[str] = []
    with files.atomic(folder) as temporary:
        temporary.mkdir()

        def keep():
            for name, pixels, pair in pictures:
                _save(_shrink(pixels, side), temporary / name)
                names.append(name)
                yield pixels, pair

        try:
            if draw_maps is None:
                collections.deque(keep(), maxlen=0)
                return
            for i, maps in enumerate(draw_maps(keep())):
                tiles = [np.asarray(_shrink(each, side)) for each in maps]
                both = Image.fromarray(np.concatenate(tiles, axis=1))
                _save(both, temporary / f"{MAPS}{names[i]}")
        except tf.errors.OpError as error:
            logging.warning(
                "Not all of %s/ is shown: %s",
                folder.name,
                messages.without_graph(error.message),
            )


def _pick_mistakes(rows, pairs, decode):
    """Yields (name, pixels, pair) of the first images of each pair."""
    missing = dict.fromkeys(pairs, IMAGES_PER_PAIR)
    for (image, label), predicted in rows:
        pair = int(label), int(predicted)
        if missing.get(pair):
            missing[pair] -= 1
            name = _name(*pair, IMAGES_PER_PAIR - 1 - missing[pair])
            yield name, np.asarray(decode(image)), pair


def _shrink(pixels, side):
    thumbnail = Image.fromarray(pixels)
    thumbnail.thumbnail((side, side))
    return thumbnail


def _save(picture, path):
    # Only of a JPEG is the quality read.
    picture.save(path, quality=85)


def find_mistakes(
    runs: Iterable[Mapping[str, Any]], true: str, predicted: str
) -> list[pathlib.Path]:
    """Returns the paths of the images that runs mistook in one way.

    Args:
      runs: rows with their "folder" and "class_names".
      true: the class's name.
      predicted: the name of the class that it was taken for.
    """
    found: dict[bytes, pathlib.Path] = {}
    for run in runs:
        names = run["class_names"]
        # The files are numbered in the order of their own run.
        pattern = _name(names.index(true), names.index(predicted), "*")
        folder = pathlib.Path(run["folder"]) / MISTAKES
        for path in sorted(folder.glob(pattern)):
            # Another seed may have mistaken the same image.
            found.setdefault(path.read_bytes(), path)
    return list(found.values())[:IMAGES_PER_PAIR]


def find_maps(path: pathlib.Path) -> pathlib.Path | None:
    """Returns the picture of the maps of an image of `find_mistakes`.

    None if the run is of an earlier version, or its network has no such maps.
    """
    maps = path.with_name(f"{MAPS}{path.name}")
    return maps if maps.exists() else None


def _name(true, predicted, number):
    return f"{true}__{predicted}__{number}.png"


def _curves(path):
    rows = run_folder.read_metrics(path)
    # An epoch is there twice if a kill lost its checkpoint.
    epochs = {row["epoch"]: row for row in rows}
    rows = [epochs[epoch] for epoch in sorted(epochs)]
    return {
        name: [round(row[name], 5) for row in rows]
        for name in CURVES
        if rows and all(name in row for row in rows)
    }


def _is_cell(cell, classes):
    return (
        isinstance(cell, list)
        and [type(value) for value in cell] == [int] * 3
        and 0 <= min(cell)
        and max(cell[:2]) < classes
    )


def _is_column(column, length):
    return (
        isinstance(column, list)
        and len(column) == length
        and all(isinstance(value, int | float) for value in column)
    )
