"""The images of a source by split, with their labels and weights."""

import dataclasses
import pathlib
from collections.abc import Mapping

from absl import logging

from efficientnet_tf.data.folders import layouts, target_values
from efficientnet_tf.data.sets import damaged_files
from efficientnet_tf.utils import targets, words

Label = int | tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Division:
    """The images of a source by split, all of them readable.

    `weights` are those of images in the loss, of all files or of none.
    """

    class_names: tuple[str, ...]
    # With their labels, each the place of a class or a vector.
    files: Mapping[str, list[tuple[pathlib.Path, Label]]]
    facts: Mapping[pathlib.Path, damaged_files.Facts]
    weights: Mapping[pathlib.Path, float]
    target: str = targets.CLASS


def make(
    class_names: tuple[str, ...],
    divided: Mapping[str, layouts.Classes],
    good: Mapping[pathlib.Path, damaged_files.Facts],
    weights: Mapping[pathlib.Path, float],
    values: target_values.Values | None = None,
) -> Division:
    """Returns a `Division` of the readable files among {split: classes}."""
    labels: dict[str, Label]
    if values is None:
        labels = {name: label for label, name in enumerate(class_names)}
    else:
        texts = {text for classes in divided.values() for text in classes}
        labels = {text: values.to_vector(text) for text in texts}
    return Division(
        class_names,
        {
            split: [
                (file, labels[name])
                for name, own in sorted(classes.items())
                for file in sorted(own)
                if file in good
            ]
            for split, classes in divided.items()
        },
        good,
        weights,
        targets.CLASS if values is None else values.kind,
    )


def log(
    layout: layouts.Layout, division: Division, notes: Mapping[str, str]
) -> None:
    """Says in a line what was understood, and in one what was left out.

    Args:
      layout: what was read.
      division: its images.
      notes: {split: how it was cut} of splits that are not given.
    """
    parts = []
    for split, own in division.files.items():
        place = layout.places.get(split)
        if split in notes:
            place = f"cut {notes[split]}"
        parts.append(
            f"{split} {words.count(len(own), 'image')}"
            + (f" ({place})" if place else "")
        )
    logging.info(
        "%s: %s; %s.",
        layout.name,
        layout.values or words.count(len(division.class_names), "class"),
        ", ".join(parts),
    )
    if layout.left_out:
        logging.warning("Left out in %s: %s.", layout.name, layout.left_out)
