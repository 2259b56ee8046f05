"""A few images of each class, as if there were no others."""

import collections
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging

from efficientnet_tf.data import examples as examples_lib
from efficientnet_tf.data.folders import folder_walk
from efficientnet_tf.data.sets import split_list
from efficientnet_tf.utils import targets, words
from transfer.config import recipes

Examples = examples_lib.Examples

# Of a class's images one in so many, but at least one, stands for validation
# images: those of the set would not be there either.
VALIDATION_PARTS = 5


def draw(
    examples: Mapping[str, Examples],
    config: recipes.FinetuneConfig,
    workdir: str | os.PathLike | None = None,
    lists: str | os.PathLike | None = None,
) -> dict[str, Examples]:
    """Returns {split: images} with `config.shots` images a class to train on.

    They are drawn by the seed out of the splits that are trained on; larger
    draws contain smaller ones. If that is train and validation, the drawn ones
    are divided again. What was drawn before is returned as it is.

    Args:
      examples: {split: its images}.
      config: of the run.
      workdir: of the run, whose list of images says it then; None: it has
        none.
      lists: the folder whose list it has had till now, if that is another: a
        grid's, whose other runs draw others.

    Raises:
      ValueError: images have no class.
    """
    examples = dict(examples)
    if not config.shots:
        return examples
    train = examples["train"]
    targets.check_class(train.target, f"shots={config.shots}", "The task")
    both = config.train_on == "train+validation"
    pool = train.concatenate(examples["validation"]) if both else train
    labels = pool.read_labels()
    counts = np.bincount(labels, minlength=len(pool.class_names))
    if counts.max() <= config.shots:
        return examples
    rng = np.random.default_rng(config.seed)
    own = [
        rng.permutation(np.flatnonzero(labels == c))[: config.shots]
        for c in range(len(counts))
    ]
    _say(pool, counts, config)
    if both:
        examples |= _divide(pool, own)
    else:
        examples["train"] = pool.select(np.sort(np.concatenate(own)))
    if workdir is not None:
        split_list.copy(lists or workdir, workdir)
        keep_list(workdir, examples)
    return examples


def _divide(pool, own):
    held = [_hold_out(places) for places in own]
    places = np.concatenate(held)
    if not len(places):  # Of one image a class; both are trained on.
        places = own[-1]
    rest = np.setdiff1d(np.concatenate(own), places)
    return {
        "train": pool.select(rest),
        "validation": pool.select(np.sort(places)),
    }


def count_ignored(
    workdir: str | os.PathLike,
    examples: Mapping[str, Examples],
    drawn: Mapping[str, Examples],
) -> dict[str, int]:
    """Returns the field of a run's row that counts what `draw` left out.

    Args:
      workdir: the run's folder, whose list has it of files: of a resumed run
        `examples` are drawn already.
      examples: {split: images} before.
      drawn: the same after; the same as before without `shots`.
    """
    rows = split_list.read(workdir) or ()
    count = sum(row.split == split_list.IGNORED for row in rows)
    sizes = [(examples[split].size, drawn[split].size) for split in drawn]
    count = count or sum(before - after for before, after in sizes)
    return {"ignored_images": count} if count else {}


def redraw(
    examples: Mapping[str, Examples], fields: Mapping[str, Any]
) -> dict[str, Examples]:
    """Does `draw` for a finished run, by the fields of its configuration."""
    names = ("shots", "seed", "train_on")
    own = {name: fields[name] for name in names if name in fields}
    return draw(examples, recipes.FinetuneConfig(**own))


def keep_list(
    workdir: str | os.PathLike, drawn: Mapping[str, Examples]
) -> None:
    """Writes a draw into a run's list of images, if it has one of its own.

    Args:
      workdir: the run's folder.
      drawn: {split: images}, of files.
    """
    splits = collections.defaultdict(list)
    for split, part in drawn.items():
        hashes = getattr(part.source, "sha256", None) or ()
        labels = [part.class_names[i] for i in part.read_labels()]
        for key in zip(labels, hashes, strict=False):
            splits[key].append(split)
    split_list.divide_again(workdir, splits)


def _hold_out(places):
    """Returns those of a class that stand for validation images."""
    if len(places) < 2:
        return places[:0]
    return places[: max(1, len(places) // VALIDATION_PARTS)]


def _say(pool, counts, config):
    kept = np.minimum(counts, config.shots)
    fewer = [
        n
        for n, c in zip(pool.class_names, counts, strict=True)
        if c < config.shots
    ]
    logging.warning(
        "shots=%d: %s of %s are trained on, %s ignored%s.",
        config.shots,
        words.count(int(kept.sum()), "image"),
        f"{pool.size:,}",
        f"{pool.size - int(kept.sum()):,}",
        f"; fewer than that have {folder_walk.list_names(fewer)}"
        if fewer
        else "",
    )
