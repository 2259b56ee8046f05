"""Checks that folders taken for classes are classes, in every split alike."""

import collections
import pathlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from absl import logging

from efficientnet_tf.data.folders import folder_names, folder_walk


def check_not_turned(
    root: pathlib.Path, children: Sequence[folder_walk.Folder]
) -> None:
    """Raises RuntimeError for CLASS/train/IMAGE.jpg, which mixes splits."""
    for child in children:
        inner = [folder.name for folder in child.full]
        if child.names or not inner:
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


def unify_spelling(place: pathlib.Path, names: Iterable[str]) -> dict[str, str]:
    """Returns {name: class}, in the encoding of accents that most systems use.

    Raises:
      RuntimeError: a class is there in two spellings.
    """
    spelled: dict[str, str] = {}
    classes = {name: unicodedata.normalize("NFC", name) for name in names}
    for name, unified in classes.items():
        plain = unified.strip()
        if plain in spelled:
            raise RuntimeError(
                f"{place} holds the class {plain!r} twice: as "
                f"{ascii(spelled[plain])} and {ascii(name)}."
            )
        spelled[plain] = name
    return classes


def check_spelling(source: str | pathlib.Path, labels: Iterable[str]) -> None:
    """Raises RuntimeError for labels that differ in case or in spaces around.

    They would be two classes, which nobody means. One letter may be another
    class in capitals, which a line says.

    Args:
      source: where they are from, for messages.
      labels: as they are written, of each image.
    """
    counts = collections.Counter(labels)
    spelled = collections.defaultdict(list)
    for label in sorted(counts):
        plain = " ".join(label.split())
        spelled[plain if len(plain) == 1 else plain.casefold()].append(label)
    letters = [n for n in spelled if len(n) == 1 and n.upper() != n]
    both = [n for n in letters if n.upper() in spelled]
    if both:
        logging.warning(
            "%s: capitals are classes of their own: %s.",
            source,
            folder_walk.list_names(f"{n.upper()} beside {n}" for n in both),
        )
    several = [own for own in spelled.values() if len(own) > 1]
    if several:
        shown = "; ".join(
            " and ".join(f"{name!r} ({counts[name]:,})" for name in own)
            for own in several[:3]
        )
        more = f" and {len(several) - 3} more" if len(several) > 3 else ""
        raise RuntimeError(
            f"{source} spells labels in several ways: {shown}{more}; write "
            "each in one way."
        )


def check_known_classes(source: str, divided: Mapping[str, Mapping]) -> None:
    """Raises RuntimeError for a split with a class that "train" lacks.

    Args:
      source: what was read, for messages.
      divided: {split: its classes}, "train" among them.
    """
    known = divided["train"].keys()
    for split, classes in divided.items():
        extra = sorted(classes.keys() - known)
        if not extra:
            continue
        sides = {split: extra, "train": sorted(known - classes.keys())}
        differences = ", ".join(
            f"{len(names)} only in {place} "
            f"({folder_walk.list_names(map(repr, names))})"
            for place, names in sides.items()
            if names
        )
        raise RuntimeError(
            f"{source}: {split} and train differ in their classes: "
            f"{differences}."
        )


def _find_inner_names(folder):
    """Returns the names of what could be class folders, in lower case.

    Of a folder with images of its own there are none; folders around them all,
    as "images", are passed.
    """
    if folder.names:
        return set()
    inner = [
        f for f in folder.full if f.name.lower() not in folder_names.BESIDE
    ]
    if len(inner) == 1:
        return _find_inner_names(inner[0])
    return {child.name.lower() for child in inner}
