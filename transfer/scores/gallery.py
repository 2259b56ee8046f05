"""The images that a run's report shows: the most wrong and the least sure."""

import pathlib
import shutil
import typing
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import logging

from efficientnet_tf.utils import files, target_scores, targets
from transfer.scores import diagnostics, predictions as predictions_lib

if typing.TYPE_CHECKING:
    from efficientnet_tf.inference import classifier as classifier_lib

# In a run's folder: thumbnails, named by their place among the scored images,
# and beside them maps, see `compared_classes` and `compared_labels`.
GALLERY = "gallery"
MOST_WRONG = LEAST_SURE = 12
THUMBNAIL = 192  # Pixels of the longer side.


def find_most_wrong(found: predictions_lib.Predictions) -> np.ndarray:
    """Returns the places of wrong images, the surest of them first."""
    wrong = np.flatnonzero(~found.hits)
    sure = found.probabilities[wrong, 0]
    return wrong[np.argsort(-sure, kind="stable")][:MOST_WRONG]


def find_least_sure(found: predictions_lib.Predictions) -> np.ndarray:
    """Returns the places of images of the lowest probability, lowest first.

    Without those of `find_most_wrong`, which are shown already.
    """
    order = np.argsort(found.probabilities[:, 0], kind="stable")
    return order[~np.isin(order, find_most_wrong(found))][:LEAST_SURE]


def compared_classes(
    found: predictions_lib.Predictions, place: int
) -> tuple[int, int]:
    """Returns the two classes that an image's maps are of.

    Of a wrong image the true and the predicted one; of a right one the
    predicted one and the next.
    """
    label, best = int(found.labels[place]), int(found.predicted[place])
    if label != best:
        return label, best
    return best, int(found.classes[place, min(1, found.classes.shape[1] - 1)])


def save(
    examples: Any,
    found: predictions_lib.Predictions,
    workdir: pathlib.Path,
    decode: Callable[[Any], Any],
    draw_maps: diagnostics.DrawMaps | None,
) -> None:
    """Saves the images that the report shows, and maps of them.

    Args:
      examples: that were scored.
      found: the predictions of these.
      workdir: the run's folder.
      decode: maps an image to uint8 [H, W, 3].
      draw_maps: see `diagnostics.save_mistakes`.
    """
    places = np.union1d(find_most_wrong(found), find_least_sure(found))
    rows = zip(places.tolist(), examples.pick(places), strict=True)
    pictures = (
        (_name(i), np.asarray(decode(image)), compared_classes(found, i))
        for i, (image, _) in rows
    )
    diagnostics.save_pictures(pictures, workdir / GALLERY, draw_maps, THUMBNAIL)


def pick_worst(losses: np.ndarray) -> np.ndarray:
    """Returns the places of the largest losses, of labels or numbers."""
    return np.argsort(-losses, kind="stable")[:MOST_WRONG]


def compared_labels(
    answers: target_scores.Answers, place: int
) -> tuple[int, ...]:
    """Returns the labels, at most two, that an image's maps are of.

    They are the most wrong ones: of the largest log-loss, that first.
    """
    one = target_scores.Answers(
        answers.truth[place : place + 1], answers.found[place : place + 1]
    )
    (losses,) = target_scores.lose_each(one, targets.LABELS)
    order = np.argsort(-losses, kind="stable")[:2]
    return tuple(int(label) for label in order)


def save_worst(
    examples: Any,
    answers: target_scores.Answers,
    workdir: pathlib.Path,
    decode: Callable[[Any], Any],
    draw_maps: diagnostics.DrawMaps | None,
) -> None:
    """Saves the most wrong images of labels or numbers, and maps of labels.

    Args:
      examples: that were scored.
      answers: what was said of these.
      workdir: the run's folder.
      decode: maps an image to uint8 [H, W, 3].
      draw_maps: see `diagnostics.save_mistakes`; numbers have none.
    """
    kind = examples.target
    places = np.sort(pick_worst(target_scores.lose(answers, kind)))
    if kind == targets.NUMBERS:
        draw_maps = None
    rows = zip(places.tolist(), examples.pick(places), strict=True)
    pictures = (
        (_name(i), np.asarray(decode(image)), compared_labels(answers, i))
        for i, (image, _) in rows
    )
    diagnostics.save_pictures(pictures, workdir / GALLERY, draw_maps, THUMBNAIL)


def make_drawer(
    classifier: "classifier_lib.Classifier",
) -> diagnostics.DrawMaps | None:
    """Returns what draws class activation maps; None if there are none.

    They are drawn while the images are at hand as they are, not as thumbnails.
    """
    from efficientnet_tf.inference import explain, overlays

    try:
        compute = explain.make_maps(classifier)
    except ValueError as error:
        logging.info("No activation maps: %s", error)
        return None
    return lambda examples: map(
        overlays.overlay_maps,
        explain.explain_pixels(classifier, compute, examples),
    )


def gather(
    folders: Sequence[pathlib.Path],
    sizes: Sequence[int],
    places: np.ndarray,
    workdir: pathlib.Path,
) -> None:
    """Copies images that several runs have saved into the folder of all.

    Args:
      folders: of the runs.
      sizes: how many images each was scored on.
      places: of the images among those of all runs.
      workdir: the folder of all.
    """
    ends = np.cumsum(sizes)
    with files.atomic(workdir / GALLERY) as temporary:
        temporary.mkdir()
        for place in places.tolist():
            run = int(np.searchsorted(ends, place, side="right"))
            own = place - int(ends[run] - sizes[run])
            for path in find(folders[run], own):
                name = path.name.replace(_name(own), _name(place))
                shutil.copyfile(path, temporary / name)


def find(workdir: pathlib.Path, place: int) -> list[pathlib.Path]:
    """Returns the files of an image: itself and, if there are any, its maps."""
    path = workdir / GALLERY / _name(place)
    found = [path, diagnostics.find_maps(path)]
    return [each for each in found if each is not None and each.exists()]


def _name(place):
    return f"{place}.jpg"
