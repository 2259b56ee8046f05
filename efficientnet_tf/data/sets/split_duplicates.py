"""Images that are there twice: in two splits, or under two classes."""

import os
import pathlib
from collections.abc import Mapping, Sequence

from absl import logging

from efficientnet_tf.data.folders import folder_names, folder_walk
from efficientnet_tf.data.sets import divisions, near_duplicates
from efficientnet_tf.utils import run_folder, tables

COLUMNS = (
    *("split", "path", "other_split", "other_path", "exact", "same_class"),
)

# More images are not compared: the time grows with their square.
MAX_IMAGES = 100_000

# Of each split, its files with their labels.
Labelled = Mapping[str, Sequence[tuple[pathlib.Path, divisions.Label]]]
Sketches = Mapping[pathlib.Path, near_duplicates.Sketch]


def find(root: pathlib.Path, files: Labelled, sketches: Sketches) -> list[dict]:
    """Returns rows of `COLUMNS`, and says how many images have two labels.

    Validation images are compared with training images, test images with both;
    equal images of two classes are found within a split too.

    Args:
      root: the images' folder.
      files: of each split that is used.
      sketches: of all files.
    """
    images = [
        (split, file, label, sketches[file])
        for split in sorted(files, key=_place)
        for file, label in files[split]
    ]
    pairs = _find_two_labels(images)
    if len(images) > MAX_IMAGES:
        logging.info(
            "%s images are too many to look for near-duplicates.",
            f"{len(images):,}",
        )
    else:
        pairs = _find_across(images, list(files)) | pairs
    rows = [
        _make_row(root, images[ours], images[other], exact)
        for (ours, other), exact in sorted(pairs.items())
    ]
    other_class = [row for row in rows if not row["same_class"]]
    if other_class:
        logging.warning(
            "%d images are, or nearly are, images of another class, so that a "
            "label may be wrong: %s.",
            len({row["path"] for row in other_class}),
            _list(other_class),
        )
    return rows


def write(
    folder: str | os.PathLike, rows: Sequence[dict], sizes: Mapping[str, int]
) -> None:
    """Writes rows of `find`, and names the images that an earlier split has.

    Args:
      folder: the run's, for the list.
      rows: of `find`.
      sizes: {split: number of images}.
    """
    path = pathlib.Path(folder) / run_folder.NEAR_DUPLICATES_FILE
    if sum(sizes.values()) > MAX_IMAGES:  # "None" would be untrue.
        path.unlink(missing_ok=True)
        return
    tables.write_csv(path, COLUMNS, rows)
    for split, size in sizes.items():
        own = [
            row
            for row in rows
            if row["split"] == split != row["other_split"] and row["same_class"]
        ]
        if own:
            logging.warning(
                "%d of %d %s images are, or nearly are, images of an earlier "
                "split, which flatters their score: %s; see %s.",
                len({row["path"] for row in own}),
                size,
                split,
                _list(own),
                path,
            )


def count(folder: str | os.PathLike, scored_on: str) -> dict[str, int]:
    """Returns the part of a run's row about images in other splits.

    Args:
      folder: with the run's lists; {} if its images were not compared.
      scored_on: the split that the run was scored on.
    """
    path = pathlib.Path(folder) / run_folder.NEAR_DUPLICATES_FILE
    if not path.exists():
        return {}
    exact = {
        row["path"]: row["exact"] == "True"
        for row in tables.read_csv(path)
        if row["split"] == scored_on != row["other_split"]
    }
    equal = sum(exact.values())
    return {"exact_duplicates": equal, "near_duplicates": len(exact) - equal}


def _place(split):
    """Returns a split's place: those that are trained on come first."""
    order = folder_names.SPLITS
    return order.index(split) if split in order else len(order)


def _find_two_labels(images):
    """Returns {(number, an earlier one): True} of equal images."""
    first: dict[bytes, dict[int, int]] = {}
    pairs = {}
    for number, (_, _, label, sketch) in enumerate(images):
        known = first.setdefault(sketch.digest, {})
        for other_label, other in known.items():
            if other_label != label:
                pairs[number, other] = True
        known.setdefault(label, number)
    return pairs


def _find_across(images, splits):
    """Returns {(number, that of an earlier split): whether they are equal}."""
    pairs = {}
    for split in splits:
        own = [i for i, image in enumerate(images) if image[0] == split]
        before = range(own[0]) if own else range(0)
        if not before:
            continue
        found = near_duplicates.match(
            [images[i][3] for i in own], [images[i][3] for i in before]
        )
        for ours, other, exact in found:
            pairs[own[ours], other] = exact
    return pairs


def _make_row(root, image, other, exact):
    values = (
        *(image[0], image[1].relative_to(root).as_posix()),
        *(other[0], other[1].relative_to(root).as_posix()),
        *(exact, image[2] == other[2]),
    )
    return dict(zip(COLUMNS, values, strict=True))


def _list(rows):
    return folder_walk.list_names(
        f"{row['path']} is like {row['other_path']}" for row in rows
    )
