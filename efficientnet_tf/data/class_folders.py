"""A folder of class folders: its files, and their division into splits."""

import hashlib
import os
import pathlib
import random
import unicodedata
from collections.abc import Sequence

from efficientnet_tf.data import decoding

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

# Enough to tell a JPEG or a PNG.
_HEAD_BYTES = 16


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


def inspect(files: Sequence[pathlib.Path]) -> str:
    """Returns a fingerprint of files, decoding only those that look truncated.

    Raises:
      RuntimeError: names files that cannot be decoded.
    """
    bad, digest = [], hashlib.sha256()
    for file in files:
        reason = examine(file)
        stat = file.stat()
        digest.update(f"{file}{stat.st_size}{stat.st_mtime_ns}".encode())
        if reason:
            bad.append(reason)
    if bad:
        raise RuntimeError(
            f"{len(bad)} of {len(files)} images cannot be read; remove or "
            f"replace them: {' '.join(bad[:3])}"
        )
    return digest.hexdigest()


def examine(file: pathlib.Path) -> str | None:
    """Returns why decoding fails, or None."""
    with file.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
        looks_whole = _looks_whole(head, stream)
    if not looks_whole:
        # A full decode takes too long to do for every file.
        try:
            decoding.read_image(file)
        except OSError as error:
            return str(error)
    return None


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
            f"one folder per class, in {decoding.FORMATS}."
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
