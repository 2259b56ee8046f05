"""A folder of class folders: its files, and their division into splits."""

import hashlib
import os
import pathlib
import random
import unicodedata
from collections.abc import Sequence

from efficientnet_tf.data import preprocessing

SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp")

# The folder names that people use for the three splits.
SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}

# Of each class's images, where there is no folder for the split.
VALIDATION_SHARE = 0.1
TEST_SHARE = 0.2

# Enough of a JPEG to include the EXIF orientation, which is near the start.
_HEAD_BYTES = 4096


def index(
    path: str | os.PathLike, seed: int = 0
) -> tuple[dict[str, list[tuple[pathlib.Path, int]]], tuple[str, ...]]:
    """Returns ({split: [(file, label)]}, class names).

    PATH/CLASS/*.jpg is divided at random, class by class, always the same way
    for a seed. Where PATH/train/CLASS/*.jpg exists, only the splits that are
    missing beside it ("validation" or "val", "test") are taken from it.

    Raises:
      FileNotFoundError: there is no such folder.
      RuntimeError: no images, fewer than two classes, an empty class, or
        splits with different classes.
    """
    root = pathlib.Path(path).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"There is no folder {root}.")
    found = {
        split: next((root / n for n in names if (root / n).is_dir()), None)
        for split, names in SPLIT_NAMES.items()
    }
    if found["train"] is None:
        found = {"train": root, "validation": None, "test": None}
    listed = {
        split: _list_classes(folder)
        for split, folder in found.items()
        if folder is not None
    }
    class_names = tuple(sorted(listed["train"]))
    for split, classes in listed.items():
        _compare(root, split, set(classes), set(class_names))
    divided: dict[str, list[tuple[pathlib.Path, int]]] = {
        split: [] for split in SPLIT_NAMES
    }
    for label, name in enumerate(class_names):
        groups = {split: listed[split][name] for split in listed}
        for split, files in _carve(root, name, groups, seed).items():
            divided[split] += [(file, label) for file in files]
    return divided, class_names


def inspect(files: Sequence[pathlib.Path]) -> tuple[list[int], str]:
    """Checks files, decoding only those that look truncated.

    Returns:
      The EXIF orientations, from 1 to 8, and a fingerprint of the files.

    Raises:
      RuntimeError: names files that cannot be decoded.
    """
    orientations, bad, digest = [], [], hashlib.sha256()
    for file in files:
        orientation, reason = examine(file)
        orientations.append(orientation)
        stat = file.stat()
        digest.update(f"{file}{stat.st_size}{stat.st_mtime_ns}".encode())
        if reason:
            bad.append(reason)
    if bad:
        raise RuntimeError(
            f"{len(bad)} of {len(files)} images cannot be read; remove or "
            f"replace them: {' '.join(bad[:3])}"
        )
    return orientations, digest.hexdigest()


def examine(file: pathlib.Path) -> tuple[int, str | None]:
    """Returns the EXIF orientation, and why decoding fails or None."""
    with file.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
        looks_whole = _looks_whole(head, stream)
    orientation = preprocessing.exif_orientation(head)
    if not looks_whole:
        # A full decode takes too long to do for every file.
        try:
            preprocessing.read_image(file)
        except OSError as error:
            return orientation, str(error)
    return orientation, None


def _list_classes(folder):
    """Returns {class name: its image files}, sorted."""
    classes = {
        child.name: sorted(
            file for file in child.rglob("*") if file.suffix.lower() in SUFFIXES
        )
        for child in folder.iterdir()
        if child.is_dir() and not child.name.startswith(".")
    }
    if not any(classes.values()):
        raise RuntimeError(
            f"{folder} holds no images: expected {folder}/CLASS/IMAGE.jpg, "
            f"one folder per class, in {preprocessing.FORMATS}."
        )
    for name, files in classes.items():
        if not files:
            raise RuntimeError(f"The class folder {folder / name} is empty.")
    spelled = {}
    for name in classes:
        # Another system may encode the same accent differently.
        plain = unicodedata.normalize("NFC", name).strip()
        if plain in spelled:
            raise RuntimeError(
                f"{folder} holds the class {plain!r} twice: as "
                f"{ascii(spelled[plain])} and {ascii(name)}."
            )
        spelled[plain] = name
    if len(classes) < 2:
        raise RuntimeError(
            f"{folder} holds one class, {next(iter(classes))!r}; "
            "classification needs at least two class folders."
        )
    return classes


def _compare(root, split, classes, train):
    """Raises RuntimeError if two splits have different class folders."""
    differences = [
        f"{len(names)} only in {place} ({', '.join(sorted(names)[:3])})"
        for place, names in (
            (split, classes - train),
            ("train", train - classes),
        )
        if names
    ]
    if differences:
        raise RuntimeError(
            f"{root}: {split} and train differ in the class folders: "
            f"{', '.join(differences)}."
        )


def _carve(root, name, groups, seed):
    """Takes the missing splits from one class's training files."""
    groups = dict(groups)
    shares = {"validation": VALIDATION_SHARE, "test": TEST_SHARE}
    missing = [split for split in shares if split not in groups]
    train = list(groups["train"])
    if len(train) <= len(missing):
        raise RuntimeError(
            f"Class {name!r} in {root} has {len(train)} images; at least "
            f"{len(missing) + 1} are needed to divide it."
        )
    total = len(train)
    random.Random(f"{seed}{name}").shuffle(train)
    for split in missing:
        count = max(1, round(shares[split] * total))
        groups[split], train = sorted(train[:count]), train[count:]
    groups["train"] = sorted(train)
    return groups


def _looks_whole(head, stream):
    """Whether a file begins and ends like a complete JPEG or PNG."""
    stream.seek(0, 2)
    stream.seek(max(0, stream.tell() - 12))
    tail = stream.read()
    if head.startswith(b"\xff\xd8"):
        return tail.endswith(b"\xff\xd9")
    return head.startswith(b"\x89PNG") and b"IEND" in tail
