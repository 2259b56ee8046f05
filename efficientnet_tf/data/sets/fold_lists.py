"""The images of each training of a cross-validation, as lists of runs.

Each image is scored once, by a training that has seen neither it nor its group.
"""

import collections
import functools
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from absl import logging

from efficientnet_tf.data.folders import class_checks, layouts
from efficientnet_tf.data.sets import (
    divisions,
    labelled_files,
    run_images,
    split_duplicates,
    stratified,
)
from efficientnet_tf.utils import folder_options, run_folder, targets, words

# Of a fold's other images one in so many is for choosing, not for training.
VALIDATION_PARTS = 8
# In place of a split: given test images, which no fold has.
LEFT_OUT = "left out"


def write(
    layout: layouts.Layout,
    count: int,
    options: folder_options.Options,
    folder: str | os.PathLike,
    seed: int,
) -> None:
    """Divides a source into folds, and writes the list of each one's run.

    Training and validation images are divided; all, where no split is given.
    Each run has its fold as test split, and of the other images one in
    `VALIDATION_PARTS` as validation split. See `stratified` for how.

    Args:
      layout: see `readers.read`.
      count: how many folds.
      options: see `folder_options.Options`.
      folder: of the cross-validation; those of the runs are in it.
      seed: of the division.

    Raises:
      ValueError: --group_by fits no image.
      RuntimeError: a class of fewer images or groups than folds, or one in test
        only; files that cannot be read.
    """
    folder = pathlib.Path(folder)
    pool, rest = _find_pool(layout)
    group_of = labelled_files.find_groups(layout, options)
    _check_counts(layout, pool, count, group_of)
    good, bad = labelled_files.examine(
        layout.root, {None: pool}, options, folder
    )
    if bad:
        pool = {n: [f for f in own if f in good] for n, own in pool.items()}
        _check_counts(layout, pool, count, group_of)
    whole = divisions.make(
        layout.sort(pool) if layout.values is None else layout.values.names,
        {labelled_files.ALL: pool},
        good,
        {f: layout.weights[f] for f in good if f in layout.weights},
        layout.values,
    )
    _write_all(layout, whole, (count, group_of, seed), folder, [rest, bad])


def _write_all(layout, whole, how, folder, others):
    """Writes the list of each fold's run, and that of all."""
    count, group_of, seed = how
    rest, bad = others
    files, labels = zip(*whole.files[labelled_files.ALL], strict=True)
    images = _Images(
        files, np.array(labels), np.array([group_of(file) for file in files])
    )
    folds = images.divide(np.arange(len(files)), count, seed)
    names = [run_folder.name_fold(number) for number in range(count)]
    keep = functools.partial(_keep, layout, whole, bad)
    for number, name in enumerate(names):
        splits = images.split(folds == number, seed)
        _check_trained(layout, whole, splits["train"], number)
        splits["train"] += bad
        keep(folder / name, {**splits, LEFT_OUT: rest})
    parts = {n: list(images.files[folds == i]) for i, n in enumerate(names)}
    _write_twins(folder, layout.root, whole, parts)
    keep(folder, {**parts, LEFT_OUT: [*rest, *bad]})
    _log(layout, whole, parts, rest)


def _keep(layout, whole, bad, place, splits):
    """Writes the list of {split: files}."""
    texts = layout.find_labels()
    divided: dict[str, layouts.Classes] = {}
    for split, own in splits.items():
        for file in own:
            classes = divided.setdefault(split, {})
            classes.setdefault(texts[file], []).append(file)
    place.mkdir(parents=True, exist_ok=True)
    run_images.keep(place, layout.root, divided, whole, bad)


class _Images:
    """Files, their labels and their groups, in one order."""

    def __init__(self, files, labels, groups):
        self.files = np.empty(len(files), object)
        self.files[:] = files
        self.labels, self._groups = labels, groups

    def divide(self, places, parts, seed):
        """Returns the part of each of some images."""
        strata = stratified.find_strata(self.labels[places], parts)
        # Fewer parts than wanted, where all strata are small.
        parts = min(parts, np.unique(strata, return_counts=True)[1].max())
        if parts < 2:
            return np.ones(len(places), int)
        return stratified.divide(strata, self._groups[places], parts, seed)

    def split(self, tested, seed):
        """Returns {split: files} of the run that is tested on some."""
        rest = np.flatnonzero(~tested)
        held = np.zeros(len(tested), bool)
        parts = self.divide(rest, VALIDATION_PARTS, seed + 1)
        held[rest[parts == 0]] = True
        for group in self._find_last(rest, held):
            held[rest] &= self._groups[rest] != group
        if not held.any():  # All classes are down to their last image.
            held[rest[:1]] = True
        return {
            "train": list(self.files[~tested & ~held]),
            "validation": list(self.files[held]),
            "test": list(self.files[tested]),
        }

    def _find_last(self, rest, held):
        """Returns groups to train on, so that each class has an image."""
        if self.labels.ndim > 1 and not np.isin(self.labels, (0, 1)).all():
            return
        has = self.labels
        if has.ndim == 1:
            has = has[:, None] == np.unique(has)
        for column in has.T.astype(bool):
            own = rest[column[rest]]
            if len(own) and held[own].all():
                yield self._groups[own[0]]


def _find_pool(layout):
    """Returns {class: files} to divide, and the files of a given test split."""
    listed = layout.listed
    if None not in listed and "train" not in listed:
        raise RuntimeError(
            f"{layout.name} holds no training images, so there is nothing to "
            "divide into folds."
        )
    if layout.values is None:
        labelled_files.check_number_of_classes(layout)
        if None not in listed:
            class_checks.check_known_classes(layout.name, listed)
    pool = collections.defaultdict(list)
    for split, classes in listed.items():
        if split != "test":
            for name, own in classes.items():
                pool[name] += own
    rest = [f for own in listed.get("test", {}).values() for f in own]
    return dict(pool), rest


def _check_counts(layout, pool, count, group_of):
    """Raises RuntimeError if a class has fewer images than there are folds."""
    values = layout.values
    if values is None:
        parts = {f"Class {name!r}": own for name, own in pool.items()}
    elif values.kind == targets.LABELS:
        parts = {
            f"Label {name!r}": [
                file
                for text, own in pool.items()
                for file in own
                if name in values.of_text[text]
            ]
            for name in values.names
        }
    else:
        parts = {"The set": layouts.list_files({None: pool})}
    sizes = {
        name: (len({group_of(file) for file in own}), len(own))
        for name, own in parts.items()
    }
    name = min(sizes, key=lambda each: sizes[each])
    groups, images = sizes[name]
    if groups >= count:
        return
    have = words.count(images, "image")
    if groups < images:
        have += f" in {words.count(groups, 'group')}"
    others = sum(size[0] < count for size in sizes.values()) - 1
    more = f" (and {others} more too)" if others else ""
    advice = f"use --folds={groups} at most, or add images"
    if groups < 2:
        advice = "add images of it, or leave it out"
    raise RuntimeError(
        f"{name} in {layout.name} has {have}, fewer than --folds={count}{more}"
        f": {advice}."
    )


def _check_trained(layout, whole, files, number):
    """Raises RuntimeError if a fold's training lacks a class."""
    source = f"{layout.name}, fold {number}"
    if layout.values is not None:
        texts = layout.find_labels()
        found: dict[str, list] = {}
        for file in files:
            found.setdefault(texts[file], []).append(file)
        layout.values.check(source, {"train": found})
        return
    labels = dict(whole.files[labelled_files.ALL])
    absent = set(range(len(whole.class_names))) - {labels[f] for f in files}
    if absent:
        name = whole.class_names[min(absent)]
        raise RuntimeError(
            f"{source}: no image of class {name!r} is left to train on; add "
            "images of it, or use more folds or smaller groups."
        )


def _write_twins(
    folder: pathlib.Path,
    root: pathlib.Path,
    whole: divisions.Division,
    parts: Mapping[str, Sequence[pathlib.Path]],
) -> None:
    labels = dict(whole.files[labelled_files.ALL])
    divided = {
        name: [(file, labels[file]) for file in own]
        for name, own in parts.items()
    }
    sketches = {file: facts.sketch for file, facts in whole.facts.items()}
    rows = split_duplicates.find(root, divided, sketches)
    sizes = {name: len(own) for name, own in parts.items()}
    split_duplicates.write(folder, rows, sizes)


def _log(layout, whole, parts, rest):
    sizes = sorted({len(own) for own in parts.values()})
    logging.info(
        "%s: %s; %d folds of %s images.",
        layout.name,
        layout.values or words.count(len(whole.class_names), "class"),
        len(parts),
        " to ".join(f"{size:,}" for size in {sizes[0]: 0, sizes[-1]: 0}),
    )
    if layout.left_out:
        logging.warning("Left out in %s: %s.", layout.name, layout.left_out)
    if rest:
        logging.warning(
            "%s has %s, which no fold has; `efficientnet evaluate "
            "--split=test` scores the finished folds on them.",
            layout.name,
            words.count(len(rest), "test image"),
        )
