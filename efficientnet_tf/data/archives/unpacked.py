"""Images out of archives (TFRecords, TFDS, Hugging Face) as files, once.

As files they get all that folders get: every image is decoded before any work,
found again by its content, shuffled wholly, and kept in one split.
"""

import collections
import dataclasses
import functools
import hashlib
import json
import math
import os
import pathlib
import shutil
import urllib.parse
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import filelock
from absl import logging

from efficientnet_tf.data.folders import (
    class_checks,
    folder_names,
    folder_walk,
    layouts,
    target_values,
)
from efficientnet_tf.data.images import formats
from efficientnet_tf.utils import bars, cache_folder, files, targets, words

# In the cache; a set's folder holds its images and this list of them.
FOLDER = "unpacked"
INDEX_FILE = "index.json"
_VERSION = 1

_REPEATED = "images that are there twice"
_UNLABELLED = "images without a label"
_OTHER_SPLITS = "splits of other names"

_SUFFIXES = {
    **{"JPEG": ".jpg", "PNG": ".png", "GIF": ".gif", "BMP": ".bmp"},
    **{"WebP": ".webp", "TIFF": ".tif", "BigTIFF": ".tif", "AVIF": ".avif"},
}


@dataclasses.dataclass(frozen=True)
class Image:
    """An encoded image of an archive.

    `label` is the place of its class, or the class; None: it has none. Of
    several labels, their names; of numbers, these.
    """

    split: str  # As the archive calls it.
    label: int | str | tuple | None
    data: bytes
    name: str  # For messages.


@dataclasses.dataclass(frozen=True)
class Archive:
    """What images can be read from.

    `fingerprint` differs if they may have changed. `class_names` are in the
    order of the labels; None: the labels themselves are names. Of several
    labels, or of numbers, they are the names of these.
    """

    name: str  # As in "tfds:NAME".
    place: str  # The same archive has the same place, however it is named.
    fingerprint: str
    class_names: Sequence[str] | None
    splits: Sequence[str]  # As the archive calls them.
    images: Callable[[], Iterable[Image]]
    size: int | None = None  # How many images, if known.
    kind: str = targets.CLASS  # One of `targets.KINDS`.


def unpack(archive: Archive) -> layouts.Layout:
    """Writes an archive's images as files into the cache, unless they are.

    A file is named by its content, so an image keeps its name, and with it its
    split, when the archive gets others.

    Raises:
      OSError: the disk is full.
      RuntimeError: it has no labelled images, or splits that are not told
        apart.
    """
    splits = find_splits(archive.name, archive.splits)
    key = hashlib.sha256(os.fsencode(archive.place)).hexdigest()[:24]
    root = pathlib.Path(cache_folder.cache_dir()) / FOLDER / key
    root.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(root.with_suffix(".lock")):  # Of a grid's workers.
        index = _read_index(root, archive)
        if index is None:
            index = _write(root, archive, splits)
    return _make_layout(root, archive, index)


def find_splits(name: str, splits: Sequence[str]) -> dict[str, str | None]:
    """Returns {an archive's split: ours}; None: of its only one.

    Raises:
      RuntimeError: two have the same meaning.
    """
    named = folder_names.find_splits(splits)
    if not named and len(splits) == 1:
        return {splits[0]: None}
    for split in folder_names.SPLITS:
        own = [key for key, value in named.items() if value == split]
        if len(own) > 1:
            raise RuntimeError(
                f"{name} has the splits {' and '.join(own)}, which both mean "
                f"{split!r}."
            )
    return dict(named)


def _read_index(root, archive):
    """Returns what was written of an archive; None: it is not as it was."""
    path = root / INDEX_FILE
    if not path.exists():
        return None
    try:
        index = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    if index.get("fingerprint") != _stamp(archive):
        return None
    if not all((root / row[2]).exists() for row in index["rows"]):
        return None
    return index


def _stamp(archive):
    names = list(archive.class_names or ())
    kind = "" if archive.kind == targets.CLASS else f":{archive.kind}"
    return f"{_VERSION}:{archive.fingerprint}:{names}{kind}"


def _write(root, archive, splits):
    """Writes an archive's images and their index, which is returned."""
    (root / INDEX_FILE).unlink(missing_ok=True)
    rows, size = [], 0
    seen: dict[str, Any] = {}
    left_out = collections.defaultdict(list)
    others = sorted(set(archive.splits) - splits.keys())
    if others:
        left_out[_OTHER_SPLITS] += others
    for image in _show(archive):
        if image.split not in splits:
            continue
        label, split = _name_label(archive, image), splits[image.split]
        if label is None:
            left_out[f"{_UNLABELLED} in {image.split}"].append(image.name)
            continue
        path = _name_file(split, label, image.data)
        if path in seen:
            if seen[path] != label:
                raise RuntimeError(
                    f"{archive.name}: {image.name} is an image that is there "
                    "twice, and with other "
                    f"{archive.kind}: {seen[path]} and {label}."
                )
            left_out[_REPEATED].append(image.name)
            continue
        seen[path] = label
        rows.append([split, label, path])
        size += len(image.data)
        _write_file(root / path, image.data)
    _remove_others(root, seen.keys())
    index = {
        "fingerprint": _stamp(archive),
        "rows": rows,
        "left_out": left_out,
    }
    files.write_json(root / INDEX_FILE, index)
    logging.info(
        "%s: %s (%.0f MB) are files in %s now; they may be deleted at any "
        "time.",
        archive.name,
        words.count(len(rows), "image"),
        size / 1e6,
        root,
    )
    return index


def _show(archive):
    return bars.show(
        "Unpacking images", "image", archive.images(), archive.size
    )


def _name_label(archive, image):
    """Returns the class of an image, or None."""
    label, names = image.label, archive.class_names
    if isinstance(label, tuple):
        if archive.kind == targets.NUMBERS and not all(
            map(math.isfinite, label)
        ):
            raise RuntimeError(
                f"{archive.name}: {image.name} has the numbers {label}; all "
                "must be finite."
            )
        return list(label)  # As JSON has it.
    if label is None or isinstance(label, str):
        return label
    if label < 0:  # As TFDS and Hugging Face mark those that nobody knows.
        return None
    if names is None:
        return str(label)
    if label >= len(names):
        raise RuntimeError(
            f"{archive.name}: {image.name} has label {label}, but there are "
            f"{words.count(len(names), 'class name')}, for labels 0 to "
            f"{len(names) - 1}."
        )
    return names[label]


def _name_file(split, label, data):
    """Returns an image's path in the cache: SPLIT/CLASS/DIGEST.SUFFIX.

    Without a class the folder is "images": a label is no place.
    """
    # Class names may have slashes, and may be "..".
    text = label if isinstance(label, str) else "images"
    folder = urllib.parse.quote(text, safe=" ").replace(".", "%2E")
    digest = hashlib.sha256(data).hexdigest()[:24]
    suffix = _SUFFIXES.get(formats.identify(data[: formats.HEAD_BYTES]), "")
    place = f"{split or 'images'}/{files.shorten_name(folder)}"
    return f"{place}/{digest}{suffix}"


def _write_file(path, data):
    """Writes a file, without a sync: it can be written again."""
    if path.exists() and path.stat().st_size == len(data):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{files.PREFIX}{path.name}")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def _remove_others(root, kept):
    """Removes files that an archive no longer has."""
    for path in list(root.rglob("*")):
        if path.is_file() and path.relative_to(root).as_posix() not in kept:
            path.unlink()
    for path in root.iterdir():
        if path.is_dir() and not any(p.is_file() for p in path.rglob("*")):
            shutil.rmtree(path, ignore_errors=True)


def _make_layout(root, archive, index):
    listed: dict[str | None, layouts.Classes] = {}
    values = None
    rows = index["rows"]
    if archive.kind != targets.CLASS:
        texts, values = _read_values(archive, [row[1] for row in rows])
        rows = [
            (row[0], text, row[2])
            for row, text in zip(rows, texts, strict=True)
        ]
    for split, label, path in rows:
        classes = listed.setdefault(split, {})
        classes.setdefault(label, []).append(root / path)
    if not listed:
        raise RuntimeError(f"{archive.name} holds no labelled images.")
    left_out = folder_walk.LeftOut(root)
    for reason, names in index["left_out"].items():
        left_out.add_names(reason, names)
    used = set().union(*listed.values())
    if archive.class_names is None:
        class_checks.check_spelling(archive.name, (r[1] for r in index["rows"]))
        sort = layouts.sort_labels
    else:
        sort = functools.partial(layouts.sort_by, archive.class_names)
        if values is None:
            _say_unused(archive, used)
    return layouts.Layout(
        archive.name,
        root,
        listed,
        dict.fromkeys(listed, ""),
        left_out,
        {split: root / (split or "images") for split in listed},
        sort,
        values=values,
    )


def _read_values(archive, rows):
    """Returns a text for each image, and what the texts mean."""
    names = archive.class_names
    if archive.kind == targets.NUMBERS:
        return target_values.of_numbers(rows, names)
    used = {name for row in rows for name in row}
    _say_unused(archive, used)
    odd = [name for name in used if targets.SEPARATOR in name]
    if odd:
        raise RuntimeError(
            f"{archive.name} has the label {odd[0]!r}; labels have no "
            f"{targets.SEPARATOR!r} in them."
        )
    return target_values.of_labels(rows, layouts.sort_by(names, used))


def _say_unused(archive, used):
    unused = [name for name in archive.class_names if name not in used]
    if unused:
        logging.info(
            "%s: %d of %d classes have no images and are left out: %s.",
            archive.name,
            len(unused),
            len(archive.class_names),
            folder_walk.list_names(unused),
        )
