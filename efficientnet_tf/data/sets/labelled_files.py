"""The labelled images of a source by split: divided, checked, listed."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from absl import logging

from efficientnet_tf.data.folders import (
    class_checks,
    folder_names,
    folder_walk,
    layouts,
)
from efficientnet_tf.data.sets import (
    damaged_files,
    divisions,
    folder_splits,
    run_images,
    split_duplicates,
    split_list,
)
from efficientnet_tf.utils import configs, folder_options, words

# All labelled images, with or without split folders.
ALL = "all"
SPLITS = (*folder_names.SPLITS, ALL)


def divide(
    layout: layouts.Layout,
    splits: Sequence[str],
    options: folder_options.Options,
    seed: int = 0,
) -> divisions.Division:
    """Returns splits of what was read of a source.

    Splits that are given are kept; missing ones are cut from "train", see
    `folder_splits.cut`. All images are decoded before any is used. A run keeps
    its list of images: when it is resumed, the list holds.

    Args:
      layout: see `readers.read`.
      splits: some of `SPLITS`.
      options: see `folder_options.Options`.
      seed: of the cut.

    Raises:
      ValueError: an unknown split, "all" beside another, or --group_by that
        fits no image.
      RuntimeError: too small a class, one that is not in "train", files that
        cannot be read, or changes that a resumed run cannot go on with.
    """
    _check_splits(splits)
    if options.resumes and options.workdir is not None:
        rows = split_list.read(options.workdir)
        if rows is not None:
            return run_images.resume(layout, rows, splits, options)
    divided, notes = _divide(layout, splits, options, seed)
    if options.resumes and any(notes.values()):
        raise RuntimeError(
            f"{options.workdir} holds an unfinished run without a list of its "
            f"images, and {layout.name} does not say the split of all, so they "
            "cannot be divided as before. Delete the run."
        )
    total = {split: divided[split] for split in splits}
    class_names = _check_classes(layout, divided, total)
    good, bad = examine(layout.root, total, options, options.workdir)
    division = divisions.make(
        class_names,
        total,
        good,
        {f: layout.weights[f] for f in good if f in layout.weights},
        layout.values,
    )
    if layout.values is None:
        _check_all_classes(layout.name, division, splits)
    elif bad:
        layout.values.check(layout.name, _leave_out(total, bad))
    divisions.log(layout, division, notes)
    twins = _find_twins(layout.root, division)
    if options.workdir is not None:
        sizes = {split: len(own) for split, own in division.files.items()}
        split_duplicates.write(options.workdir, twins, sizes)
        run_images.keep(options.workdir, layout.root, divided, division, bad)
    return division


def _divide(layout, splits, options, seed):
    """Returns {split: classes}, and {split: how it was cut} of the cut ones."""
    listed = dict(layout.listed)
    if ALL in splits:
        every = {
            name: [f for c in listed.values() for f in c.get(name, ())]
            for name in layouts.list_names(listed)
        }
        return {ALL: every}, {}
    source = None if None in listed else "train"
    if source not in listed:
        lacking = [split for split in splits if split not in listed]
        if lacking:
            seen = ", ".join(
                f"{s} ({layout.places[s]})" if layout.places[s] else str(s)
                for s in listed
            )
            raise RuntimeError(
                f"{layout.name} holds {seen} and no training images, so there "
                f"is no split {lacking[0]!r}."
            )
        return listed, {}
    missing = [s for s in ("test", "validation") if s not in listed]
    group_of = find_groups(layout, options)
    if not missing:
        return listed, {}
    whole = listed.pop(source)
    values = layout.values
    divided, given = folder_splits.cut(
        whole if values is None else values.group(whole),
        missing,
        source=layout,
        group_of=group_of,
        seed=seed,
        strata=None if values is None else values.find_rarest(whole),
    )
    if given:
        logging.warning(
            "No image of some small classes (%d: %s) fell into each split by "
            "its hash; each gave the image with the nearest.",
            len(given),
            folder_walk.list_names(given),
        )
    if values is not None:
        divided = {s: values.ungroup(c, whole) for s, c in divided.items()}
    grouped = options.group_by or layout.groups
    how = "by group" if grouped else "by name"
    return listed | divided, dict.fromkeys(missing, how)


def find_groups(
    layout: layouts.Layout, options: folder_options.Options
) -> folder_splits.GroupOf:
    """Returns a file's group by file, and says what of groups is odd.

    Raises:
      OSError, ValueError: see `folder_splits.make_group_of`.
    """
    bases = {
        file: layout.base(split)
        for split, classes in layout.listed.items()
        for own in classes.values()
        for file in own
    }
    group_of, *lacking = folder_splits.make_group_of(
        options, layout.root, bases, layout.groups
    )
    how = f"--group_by={options.group_by}" if options.group_by else ""
    if layout.groups:
        how = f"The group column of {layout.name}"
    if how:
        _warn_of_groups(layout.listed, group_of, lacking, how)
    return group_of


def _warn_of_groups(listed, group_of, lacking, how):
    without, unused = lacking
    if unused:
        logging.warning(
            "%s names %s not among those read: %s.",
            how,
            words.count(len(unused), "image"),
            folder_walk.list_names(unused),
        )
    if without:
        logging.warning(
            "%s gives no group to %s; each stands alone.",
            how,
            words.count(without, "image"),
        )
    if len(listed) > 1:
        files_ = {
            s: [f for own in c.values() for f in own] for s, c in listed.items()
        }
        both = folder_splits.count_straddling(files_, group_of)
        if both:
            logging.warning(
                "%d groups have images in several splits: %s.",
                len(both),
                folder_walk.list_names(both),
            )


def examine(
    root: pathlib.Path,
    divided: Mapping[Any, layouts.Classes],
    options: folder_options.Options,
    folder: str | os.PathLike | None,
) -> tuple[dict[pathlib.Path, damaged_files.Facts], dict[pathlib.Path, str]]:
    """Decodes all images; see `damaged_files.examine` and its `check`."""
    paths = layouts.list_files(divided)
    good, bad = damaged_files.examine(root, paths)
    damaged_files.check(
        root,
        bad,
        len(paths),
        skip=options.skip_bad,
        share=options.bad_share,
        folder=folder,
    )
    return good, bad


def _check_classes(layout, divided, total):
    """Checks what splits have before images are decoded; returns names."""
    if layout.values is not None:
        layout.values.check(layout.name, total)
        return layout.values.names
    if ALL not in total:
        check_number_of_classes(layout)
    if "train" in total:
        class_checks.check_known_classes(layout.name, divided)
    return layout.sort(set().union(*total.values()))


def _leave_out(total, bad):
    return {
        split: {
            text: [file for file in own if file not in bad]
            for text, own in classes.items()
        }
        for split, classes in total.items()
    }


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


def check_number_of_classes(layout: layouts.Layout) -> None:
    """Raises RuntimeError for a source of a single class."""
    if len(layout.class_names) > 1:
        return
    (name,) = layout.class_names
    raise RuntimeError(
        f"{layout.name} holds one class, {name!r}; classification needs at "
        f"least two.{layout.one_class}"
    )


def _check_all_classes(source, division, splits):
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
                f"Class {absent[0]!r} in {source} has no readable image for "
                f"{split}."
            )
        if absent:
            logging.warning(
                "%s: %s has no images of %d of the %d classes (%s); its scores "
                "say nothing of them.",
                source,
                split,
                len(absent),
                len(division.class_names),
                folder_walk.list_names(absent),
            )


def _find_twins(root, division):
    sketches = {file: facts.sketch for file, facts in division.facts.items()}
    return split_duplicates.find(root, division.files, sketches)
