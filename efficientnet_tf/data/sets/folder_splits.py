"""Splits that are cut from one folder by a hash of each image's name.

An image's split depends on its own name alone, so adding others moves none. Of
several labels an image, each stratum is cut by the ranks of the hashes, so that
rare labels have their share in each split; adding an image may then move one or
two of its own stratum.
"""

import collections
import hashlib
import os
import pathlib
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence

from efficientnet_tf.data.folders import folder_walk, layouts
from efficientnet_tf.data.tables import group_files
from efficientnet_tf.utils import folder_options, words

VALIDATION_SHARE = 0.1
TEST_SHARE = 0.2

# Of hashes in [0, 1): an image's place, if the split has no folder.
_RANGES = {
    "test": (0.0, TEST_SHARE),
    "validation": (TEST_SHARE, TEST_SHARE + VALIDATION_SHARE),
}

# Maps a file to the name of what must stay in one split.
GroupOf = Callable[[pathlib.Path], str]

# It decides which image is in which split, so it never changes. Any number
# would have done; with this one, the tests' small folders have just the shares.
_SALT = 98

# Before the name of a group that the user gave.
_GROUP = "group:"


def cut(
    classes: layouts.Classes,
    missing: Sequence[str],
    *,
    source: layouts.Layout,
    group_of: GroupOf,
    seed: int = 0,
    strata: Mapping[pathlib.Path, str] | None = None,
) -> tuple[dict[str, layouts.Classes], list[str]]:
    """Cuts the missing splits out of one folder's classes.

    A group is in "test" if its hash is among the first 20 % of all hashes, in
    "validation" if it is among the next 10 %. A class that has no image in a
    split by this rule gives it the one with the nearest hash, which is the only
    case in which adding an image may move another.

    Args:
      classes: {class name: its image files}.
      missing: some of "validation" and "test".
      source: what they were read from, for messages.
      group_of: see `make_group_of`.
      seed: of the hash.
      strata: {file: its stratum}; a group is in that of its first file by
        name. None: the hash alone decides.

    Returns:
      {split: classes} of "train" and the missing ones, and the names of the
      classes that had to give an image.

    Raises:
      RuntimeError: a class has fewer groups than there are splits.
    """
    # Once a file: it takes longer than all else.
    found = {
        file: group_of(file) for files in classes.values() for file in files
    }
    groups = {
        name: sorted({found[file] for file in files})
        for name, files in classes.items()
    }
    splits = ("train", *missing)
    for name, own in groups.items():
        if len(own) < len(splits):
            raise RuntimeError(
                _explain_small(source, name, classes, own, missing)
            )
    hashes = _hash_groups(groups, seed)
    place = _place_all(hashes, missing, strata, group_of)
    given = _fill(groups, place, hashes, splits)
    divided = {
        split: {
            name: [file for file in files if place[found[file]] == split]
            for name, files in classes.items()
        }
        for split in splits
    }
    _check_all_filled(source, divided)
    return divided, given


def make_group_of(
    options: folder_options.Options,
    root: pathlib.Path,
    files: Mapping[pathlib.Path, pathlib.Path],
    listed: Mapping[pathlib.Path, str],
) -> tuple[GroupOf, int, list[str]]:
    """Returns a file's group by file, how many have none, and unused rows.

    Without groups, and for files that have none, a group is CLASS/NAME without
    the suffix of an image, so that a copy in another format stays in the same
    split, and names that repeat in other classes or folders do not matter.

    Args:
      options: with `group_by`, which looks at paths below `root`.
      root: the folder.
      files: {file: the folder of its class folder}.
      listed: {file: its group} of a source that has groups itself.

    Returns:
      The function; 0 without groups; paths in a .csv file that are of none
      of the files.

    Raises:
      OSError: the .csv file cannot be read.
      ValueError: see `group_files.read`; no file has a group; or both the
        options and the source have groups.
    """
    if options.group_by and listed:
        raise ValueError(
            f"--group_by={options.group_by} goes with images that have no "
            "groups yet, but these have a group column; rename one of them."
        )
    names = {file: name_of(root, file) for file in files}
    known: dict[str, str | None] = {}
    unused: list[str] = []
    if options.group_by and options.reads_csv:
        table = group_files.read(options.group_by, root)
        known, unused = group_files.assign(table, names.values())
    elif options.group_by:
        pattern = re.compile(unicodedata.normalize("NFC", options.group_by))
        known = {name: _search(pattern, name) for name in names.values()}
    groups = {
        file: listed.get(file, known.get(name)) for file, name in names.items()
    }
    without = sum(group is None for group in groups.values())
    if options.group_by and without == len(groups):
        rows = f"; it names {folder_walk.list_names(unused)}" if unused else ""
        raise ValueError(
            f"--group_by={options.group_by} gives no group to any of "
            f"{words.count(len(groups), 'image')}, such as "
            f"{next(iter(names.values()))}{rows}."
        )

    def group_of(file):
        group = groups[file]
        if group is not None:
            return f"{_GROUP}{group}"
        return _stem(name_of(files[file], file))

    return group_of, without if options.group_by or listed else 0, unused


def count_straddling(
    splits: Mapping[str, Sequence], group_of: GroupOf
) -> list[str]:
    """Returns the groups of `group_by` that have images in several splits."""
    places = collections.defaultdict(set)
    for split, files in splits.items():
        for file in files:
            places[group_of(file)].add(split)
    return sorted(
        group.removeprefix(_GROUP)
        for group, found in places.items()
        if len(found) > 1 and group.startswith(_GROUP)
    )


def name_of(root: pathlib.Path, file: pathlib.Path) -> str:
    """Returns a file's path below the root, equal on all systems."""
    name = file.relative_to(root).as_posix()
    return unicodedata.normalize("NFC", name)


def _check_all_filled(source, divided):
    """Raises RuntimeError if groups leave a class out of a split."""
    for split, parts in divided.items():
        for name, files in parts.items():
            if not files:
                raise RuntimeError(
                    f"Class {name!r} in {source.name} has no image for "
                    f"{split}: its groups are in other splits because of "
                    "other classes. Use smaller groups, or provide "
                    f"{source.how_to_split} {split}."
                )


def _explain_small(source, name, classes, groups, missing):
    count = words.count(len(classes[name]), "image")
    if len(groups) < len(classes[name]):
        count += f" in {words.count(len(groups), 'group')}"
    return (
        f"Class {name!r} in {source.name} has {count}; at least "
        f"{len(missing) + 1} are needed to cut {' and '.join(missing)} from "
        "it: add images, move the class away, or provide "
        f"{source.how_to_split} "
        f"{' and '.join(missing)}."
    )


def _hash_groups(groups, seed):
    """Returns {group: a number in [0, 1)} of all classes' groups."""
    return {
        group: _hash(f"split {_SALT + seed}:{group}")
        for own in groups.values()
        for group in own
    }


def _hash(text):
    """Returns a number in [0, 1) that depends on nothing but the text."""
    digest = hashlib.sha256(os.fsencode(text)).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def _place(value, missing):
    for split in missing:
        low, high = _RANGES[split]
        if low <= value < high:
            return split
    return "train"


def _place_all(hashes, missing, strata, group_of):
    """Returns {group: split}, by the hash or its rank among its stratum's."""
    if strata is None:
        return {group: _place(v, missing) for group, v in hashes.items()}
    # Backwards, so that the first file of a group decides.
    backwards = sorted(strata, reverse=True)
    of_group = {group_of(file): strata[file] for file in backwards}
    return _place_by_rank(hashes, of_group, missing)


def _place_by_rank(hashes, strata, missing):
    """Returns {group: split}: the first shares of each stratum, by hash."""
    own = collections.defaultdict(list)
    for group in sorted(hashes, key=lambda g: hashes[g]):
        own[strata[group]].append(group)
    place = {}
    for members in own.values():
        for rank, group in enumerate(members):
            # The middle of the group's part of [0, 1).
            place[group] = _place((rank + 0.5) / len(members), missing)
    return place


def _fill(groups, place, hashes, splits):
    """Gives each class at least one group in each split; returns which gave."""
    given = []
    for name, own in sorted(groups.items()):
        for split in splits:
            counts = collections.Counter(place[group] for group in own)
            if counts[split]:
                continue
            largest = max(splits, key=lambda s: counts[s])
            donors = [group for group in own if place[group] == largest]
            low, high = _RANGES.get(split, (1.0, 1.0))
            nearest = min(
                donors,
                key=lambda g: max(low - hashes[g], hashes[g] - high, 0.0),
            )
            place[nearest] = split
            given.append(name)
    return sorted(set(given))


def _stem(name):
    """Returns a path without the suffix of an image."""
    path = pathlib.PurePosixPath(name)
    if path.suffix.lower() in folder_walk.SUFFIXES:
        return path.with_suffix("").as_posix()
    return name


def _search(pattern, name):
    match = pattern.search(name)
    if match is None:
        return None
    return match[1] if pattern.groups else match[0]
