"""The labelled images of a folder by split: read, divided, checked, listed."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence

from absl import logging

from efficientnet_tf.data import (
    class_checks,
    class_folders,
    damaged_files,
    folder_names,
    folder_splits,
    folder_walk,
    split_duplicates,
    split_list,
)
from efficientnet_tf.utils import configs, folder_options, words

# All labelled images, with or without split folders.
ALL = "all"
SPLITS = (*folder_names.SPLITS, ALL)


@dataclasses.dataclass(frozen=True)
class Division:
    """The images of a folder by split, all of them readable."""

    class_names: tuple[str, ...]
    files: Mapping[str, list[tuple[pathlib.Path, int]]]  # With their labels.
    facts: Mapping[pathlib.Path, damaged_files.Facts]


def divide(
    path: str | os.PathLike,
    splits: Sequence[str],
    options: folder_options.Options,
    seed: int = 0,
) -> Division:
    """Reads splits of a folder of class folders.

    Split folders are kept, see `class_folders.read`; missing ones are cut from
    "train", see `folder_splits.cut`. All images are decoded before any is used.
    A run keeps its list of images: when it is resumed, the list holds.

    Args:
      path: the folder.
      splits: some of `SPLITS`.
      options: see `folder_options.Options`.
      seed: of the cut.

    Raises:
      ValueError: an unknown split, "all" beside another, or --group_by that
        fits no image.
      FileNotFoundError: there is no such folder.
      RuntimeError: a folder that is not understood, too small a class, one
        that is not in "train", files that cannot be read, or changes that a
        resumed run cannot go on with.
    """
    _check_splits(splits)
    layout = class_folders.read(path)
    if options.resumes and options.workdir is not None:
        rows = split_list.read(options.workdir)
        if rows is not None:
            return _resume(layout, rows, splits, options)
    divided, notes = _divide(layout, splits, options, seed)
    if options.resumes and any(notes.values()):
        raise RuntimeError(
            f"{options.workdir} holds an unfinished run without a list of its "
            f"images, and {layout.root} has no folders for all splits, so they "
            "cannot be divided as before. Delete the run."
        )
    total = {split: divided[split] for split in splits}
    _check_number_of_classes(layout, splits)
    if "train" in splits:
        class_checks.check_known_classes(layout.root, divided)
    class_names = tuple(sorted(set().union(*total.values())))
    good, bad = _examine(layout.root, total, options)
    division = _make_division(class_names, total, good)
    _check_all_classes(layout.root, division, splits)
    _log(layout, division, notes)
    twins = _find_twins(layout.root, division)
    if options.workdir is not None:
        sizes = {split: len(own) for split, own in division.files.items()}
        split_duplicates.write(options.workdir, twins, sizes)
        _keep(options.workdir, layout.root, divided, division, bad)
    return division


def warn_of_changes(
    path: str | os.PathLike, workdir: str | os.PathLike
) -> None:
    """Says what changed in a folder since a finished run, if anything did."""
    rows = split_list.read(workdir)
    if rows is None:
        return
    try:
        layout = class_folders.read(path)
    except (OSError, RuntimeError) as error:
        logging.warning("The run's images have changed: %s", error)
        return
    changes = _compare(rows, layout)
    if changes:
        logging.warning(
            "The images in %s have changed since this run: %s. Nothing is "
            "trained; choose another workdir to train on them.",
            layout.root,
            changes,
        )


def _resume(layout, rows, splits, options):
    """Returns the division of a run's list, if its files are as they were."""
    root = layout.root
    changes = _compare(rows, layout)
    if not changes.harmless:
        raise RuntimeError(
            f"The images in {root} have changed since the run in "
            f"{options.workdir} began: {changes}. Restore them to go on with "
            "it, or choose another workdir."
        )
    if changes:
        logging.warning(
            "Images in %s since the run began: %s. It goes on with its own "
            "list, without them.",
            root,
            changes,
        )
    class_names = tuple(sorted({row.label for row in rows}))
    divided: dict[str, class_folders.Classes] = {
        split: {name: [] for name in class_names} for split in splits
    }
    for row in rows:
        if row.split in divided:
            divided[row.split][row.label].append(root / row.path)
    # Without `damaged_files.check`, which would replace the run's own list.
    paths = _list_files(divided)
    good, bad = damaged_files.examine(root, paths)
    if bad:
        raise RuntimeError(
            f"{len(bad):,} of the run's {len(paths):,} images can no longer be "
            f"read; {next(iter(bad.values()))} It was readable when the run "
            "began."
        )
    division = _make_division(class_names, divided, good)
    _log(layout, division, {})
    return division


def _compare(rows, layout):
    return split_list.compare(rows, layout.root, _list_files(layout.listed))


def _list_files(divided):
    """Returns the files of {split: classes}."""
    return [
        file
        for classes in divided.values()
        for own in classes.values()
        for file in own
    ]


def _divide(layout, splits, options, seed):
    """Returns {split: classes}, and {split: how it was cut} of the cut ones."""
    listed = dict(layout.listed)
    if ALL in splits:
        every = {
            name: [f for c in listed.values() for f in c.get(name, ())]
            for name in layout.class_names
        }
        return {ALL: every}, {}
    source = None if None in listed else "train"
    if source not in listed:
        lacking = [split for split in splits if split not in listed]
        if lacking:
            seen = ", ".join(f"{s} ({layout.folders[s]})" for s in listed)
            raise RuntimeError(
                f"{layout.root} holds {seen} and no training images, so there "
                f"is no split {lacking[0]!r}."
            )
        return listed, {}
    missing = [s for s in ("test", "validation") if s not in listed]
    bases = {
        file: layout.root / layout.folders[split]
        for split, classes in listed.items()
        for own in classes.values()
        for file in own
    }
    group_of, *lacking = folder_splits.make_group_of(
        options, layout.root, bases
    )
    _warn_of_groups(listed, group_of, lacking, options)
    if not missing:
        return listed, {}
    divided, given = folder_splits.cut(
        listed.pop(source),
        missing,
        root=layout.root,
        group_of=group_of,
        seed=seed,
    )
    if given:
        logging.warning(
            "No image of some small classes (%d: %s) fell into each split by "
            "its hash; each gave the image with the nearest.",
            len(given),
            folder_walk.list_names(given),
        )
    how = "by group" if options.group_by else "by name"
    return listed | divided, dict.fromkeys(missing, how)


def _warn_of_groups(listed, group_of, lacking, options):
    without, unused = lacking
    if unused:
        logging.warning(
            "%s names %s not among those read: %s.",
            options.group_by,
            words.count(len(unused), "image"),
            folder_walk.list_names(unused),
        )
    if without:
        logging.warning(
            "--group_by=%s gives no group to %s; each stands alone.",
            options.group_by,
            words.count(without, "image"),
        )
    if len(listed) > 1 and options.group_by:
        files_ = {
            s: [f for own in c.values() for f in own] for s, c in listed.items()
        }
        both = folder_splits.count_straddling(files_, group_of)
        if both:
            logging.warning(
                "%d groups have images in several split folders: %s.",
                len(both),
                folder_walk.list_names(both),
            )


def _examine(root, divided, options):
    paths = _list_files(divided)
    good, bad = damaged_files.examine(root, paths)
    damaged_files.check(
        root,
        bad,
        len(paths),
        skip=options.skip_bad,
        share=options.bad_share,
        folder=options.workdir,
    )
    return good, bad


def _make_division(class_names, divided, good):
    labels = {name: label for label, name in enumerate(class_names)}
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
    )


def _check_splits(splits):
    for split in splits:
        if split not in SPLITS:
            raise ValueError(configs.unknown("split", split, SPLITS))
    others = [split for split in splits if split != ALL]
    if others and ALL in splits:
        raise ValueError(
            f"The split {ALL!r} is every labelled image, {others[0]!r} among "
            "them; it stands alone. Choose one of "
            f"{', '.join(folder_names.SPLITS)} instead."
        )


def _check_number_of_classes(layout, splits):
    if len(layout.class_names) > 1 or ALL in splits:
        return
    (name,) = layout.class_names
    raise RuntimeError(
        f"{layout.root} holds one class, {name!r}; classification needs at "
        "least two class folders. If its sub-folders are the classes, give "
        f"{layout.root / name}."
    )


def _check_all_classes(root, division, splits):
    """Raises RuntimeError if no readable image to train on is left of a class.

    Other splits may lack classes, which a line names.
    """
    for split in splits:
        found = {label for _, label in division.files[split]}
        absent = [
            name
            for label, name in enumerate(division.class_names)
            if label not in found
        ]
        if not found or (absent and split in ("train", ALL)):
            raise RuntimeError(
                f"Class {absent[0]!r} in {root} has no readable image for "
                f"{split}."
            )
        if absent:
            logging.warning(
                "%s: %s has no images of %d of the %d classes (%s); its scores "
                "say nothing of them.",
                root,
                split,
                len(absent),
                len(division.class_names),
                folder_walk.list_names(absent),
            )


def _log(layout, division, notes):
    """Says in a line what was understood, and in one what was left out."""
    parts = []
    for split, own in division.files.items():
        place = layout.folders.get(split)
        if split in notes:
            place = f"cut {notes[split]}"
        parts.append(
            f"{split} {words.count(len(own), 'image')}"
            + (f" ({place})" if place else "")
        )
    logging.info(
        "%s: %s; %s.",
        layout.root,
        words.count(len(division.class_names), "class"),
        ", ".join(parts),
    )
    if layout.left_out:
        logging.warning("Left out in %s: %s.", layout.root, layout.left_out)


def _find_twins(root, division):
    sketches = {file: facts.sketch for file, facts in division.facts.items()}
    return split_duplicates.find(root, division.files, sketches)


def _keep(workdir, root, divided, division, bad):
    """Writes a run's list of images."""
    rows = [
        (split_list.UNREADABLE if file in bad else split, name, file)
        for split, classes in divided.items()
        for name, own in sorted(classes.items())
        for file in sorted(own)
    ]
    split_list.write(workdir, root, rows, division.facts)
