"""Images that are, nearly or exactly, in two splits: counted and named."""

import os
import pathlib
from collections.abc import Mapping

from absl import logging

from efficientnet_tf.data import folder_names, folder_walk, near_duplicates
from efficientnet_tf.utils import run_folder, tables

COLUMNS = ("split", "path", "other_split", "other_path", "exact")

# More images are not compared: the time grows with their square.
MAX_IMAGES = 100_000

Sketches = Mapping[str, Mapping[pathlib.Path, near_duplicates.Sketch]]


def write(
    folder: str | os.PathLike, root: pathlib.Path, sketches: Sketches
) -> None:
    """Writes the images of later splits that are like one of an earlier.

    Validation images are compared with training images, test images with both.

    Args:
      folder: the run's, for the list.
      root: the images' folder.
      sketches: {split: {file: its sketch}}.
    """
    path = pathlib.Path(folder) / run_folder.NEAR_DUPLICATES_FILE
    total = sum(map(len, sketches.values()))
    if total > MAX_IMAGES:
        logging.info(
            "%s images are too many to look for near-duplicates.", f"{total:,}"
        )
        path.unlink(missing_ok=True)
        return
    rows = _find(root, sketches)
    tables.write_csv(
        path, COLUMNS, (dict(zip(COLUMNS, row, strict=True)) for row in rows)
    )
    for split in sorted({row[0] for row in rows}):
        own = [row for row in rows if row[0] == split]
        logging.warning(
            "%d of %d %s images are, or nearly are, images of an earlier "
            "split, which flatters their score: %s; see %s.",
            len(own),
            len(sketches[split]),
            split,
            folder_walk.list_names(f"{row[1]} is like {row[3]}" for row in own),
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
    rows = [row for row in tables.read_csv(path) if row["split"] == scored_on]
    exact = sum(row["exact"] == "True" for row in rows)
    return {"exact_duplicates": exact, "near_duplicates": len(rows) - exact}


def _find(root, sketches):
    """Returns rows of `COLUMNS`."""
    rows, before = [], []
    for split in folder_names.SPLITS:
        own = list(sketches.get(split, {}).items())
        if own and before:
            ours = [sketch for _, sketch in own]
            theirs = [sketch for _, _, sketch in before]
            for number, other, exact in near_duplicates.match(ours, theirs):
                place, file, _ = before[other]
                mine = own[number][0].relative_to(root).as_posix()
                like = file.relative_to(root).as_posix()
                rows.append((split, mine, place, like, exact))
        before += [(split, file, sketch) for file, sketch in own]
    return rows
