"""The list of images that a run keeps, and what has changed since."""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

from absl import logging

from efficientnet_tf.data.folders import folder_names, layouts
from efficientnet_tf.data.sets import damaged_files, divisions, split_list
from efficientnet_tf.utils import folder_options, targets


def warn_of_changes(
    read: Callable[[], layouts.Layout], workdir: str | os.PathLike
) -> None:
    """Says what changed in a source since a finished run, if anything did.

    Args:
      read: reads the source as it is now.
      workdir: the run's folder.
    """
    rows = split_list.read(workdir)
    if rows is None:
        return
    try:
        layout = read()
    except (OSError, RuntimeError, ValueError) as error:
        logging.warning("The run's images have changed: %s", error)
        return
    changes = split_list.compare(rows, layout.root, layout.find_labels())
    if changes:
        logging.warning(
            "The images in %s have changed since this run: %s. Nothing is "
            "trained; choose another workdir to train on them.",
            layout.name,
            changes,
        )


def resume(
    layout: layouts.Layout,
    rows: Sequence[split_list.Row],
    splits: Sequence[str],
    options: folder_options.Options,
) -> divisions.Division:
    """Returns the division of a run's list, if its files are as they were.

    Raises:
      RuntimeError: some are gone, differ or have another label.
    """
    root = layout.root
    changes = split_list.compare(rows, root, layout.find_labels())
    if not changes.harmless:
        raise RuntimeError(
            f"The images in {layout.name} have changed since the run in "
            f"{options.workdir} began: {changes}. Restore them to go on with "
            "it, or choose another workdir."
        )
    if changes:
        logging.warning(
            "Images in %s since the run began: %s. It goes on with its own "
            "list, without them.",
            layout.name,
            changes,
        )
    # Of the list, not of the source, which may have other classes by now.
    class_names = tuple(dict.fromkeys(row.label for row in rows))
    values = layout.values
    if values is not None:
        values = values.keep_used(row.label for row in rows if row.sha256)
    divided: dict[str, layouts.Classes] = {
        split: {name: [] for name in class_names} for split in splits
    }
    weights = {}
    for row in rows:
        if row.split in divided:
            divided[row.split][row.label].append(root / row.path)
            if row.weight is not None:
                weights[root / row.path] = row.weight
    # Without `damaged_files.check`, which would replace the run's own list.
    paths = layouts.list_files(divided)
    good, bad = damaged_files.examine(root, paths)
    if bad:
        raise RuntimeError(
            f"{len(bad):,} of the run's {len(paths):,} images can no longer be "
            f"read; {next(iter(bad.values()))} It was readable when the run "
            "began."
        )
    if values is not None:
        class_names = values.names
    division = divisions.make(class_names, divided, good, weights, values)
    divisions.log(layout, division, {})
    return division


def keep(
    workdir: str | os.PathLike,
    root: pathlib.Path,
    divided: Mapping[str, layouts.Classes],
    division: divisions.Division,
    bad: Mapping[pathlib.Path, str],
) -> None:
    """Writes a run's list of images, its classes in the order of their labels.

    Args:
      workdir: the run's folder.
      root: the images' folder.
      divided: {split: classes} of all splits.
      division: of the splits that are used.
      bad: {file: why it cannot be read}.
    """
    # Training images first, which have all classes: `resume` goes by the order.
    order = [*folder_names.SPLITS, *sorted(divided.keys())]
    rows = []
    for split in sorted(divided, key=order.index):
        classes = divided[split]
        names = sorted(classes)
        if division.target == targets.CLASS:
            others = sorted(classes.keys() - set(division.class_names))
            names = [*division.class_names, *others]
        rows += [
            (split_list.UNREADABLE if file in bad else split, name, file)
            for name in names
            for file in sorted(classes.get(name, ()))
        ]
    split_list.write(workdir, root, rows, division.facts, division.weights)
