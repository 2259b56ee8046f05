"""Checks that folders taken for classes are classes, in every split alike."""

import collections
import pathlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from efficientnet_tf.data import folder_names, folder_walk


def check_not_turned(
    root: pathlib.Path, children: Sequence[folder_walk.Folder]
) -> None:
    """Raises RuntimeError for CLASS/train/IMAGE.jpg, which mixes splits."""
    for child in children:
        inner = [folder.name for folder in child.full]
        if child.files or not inner:
            return
        if folder_names.find_splits(inner).keys() != set(inner):
            return
    raise RuntimeError(
        f"{root} holds split folders inside its class folders, such "
        f"as {child.name}/{inner[0]}: expected {inner[0]}/{child.name}."
    )


def check_not_repeated(
    root: pathlib.Path, children: Sequence[folder_walk.Folder]
) -> None:
    """Raises RuntimeError for folders that repeat the same sub-folders.

    They are splits of unknown names ("treino" and "teste"), folds or sensors
    rather than classes.
    """
    inner = {child.name: _find_inner_names(child) for child in children}
    counts = collections.Counter(n for own in inner.values() for n in own)
    for own in inner.values():
        repeated = sum(counts[n] > 1 for n in own)
        if repeated < 2 or 2 * repeated <= len(own):
            continue
        # One split may have a few of the other's classes alone.
        alike = [name for name in inner if len(own & inner[name]) > 1]
        if len(alike) > 1:
            names = sorted(n for n in own if counts[n] > 1)
            raise RuntimeError(
                f"{root} holds {folder_walk.list_names(alike)}, which repeat "
                f"the same sub-folders ({folder_walk.list_names(names)}). If "
                "the sub-folders are the classes, name the folders train, "
                "validation and test, or give one of them; if not, put the "
                "images of each class into its own folder."
            )


def check_spelling(root: pathlib.Path, classes: Iterable[str]) -> None:
    """Raises RuntimeError for a class that is there in two spellings."""
    spelled: dict[str, str] = {}
    for name in classes:
        # Another system may encode the same accent differently.
        plain = unicodedata.normalize("NFC", name).strip()
        if plain in spelled:
            raise RuntimeError(
                f"{root} holds the class {plain!r} twice: as "
                f"{ascii(spelled[plain])} and {ascii(name)}."
            )
        spelled[plain] = name


def check_same_classes(
    root: pathlib.Path, listed: Mapping[str | None, Mapping]
) -> None:
    """Raises RuntimeError if two splits have different class folders."""
    (first, wanted), *others = listed.items()
    for split, classes in others:
        differences = [
            f"{len(names)} only in {place} ({folder_walk.list_names(names)})"
            for place, names in (
                (split, sorted(classes.keys() - wanted.keys())),
                (first, sorted(wanted.keys() - classes.keys())),
            )
            if names
        ]
        if differences:
            raise RuntimeError(
                f"{root}: {split} and {first} differ in the class folders: "
                f"{', '.join(differences)}."
            )


def _find_inner_names(folder):
    """Returns the names of what could be class folders, in lower case.

    Of a folder with images of its own there are none; folders around them all,
    as "images", are passed.
    """
    if folder.files:
        return set()
    inner = [
        f for f in folder.full if f.name.lower() not in folder_names.BESIDE
    ]
    if len(inner) == 1:
        return _find_inner_names(inner[0])
    return {child.name.lower() for child in inner}
