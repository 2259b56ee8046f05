"""What a source of labelled images holds: its splits, classes and files."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from efficientnet_tf.data.folders import folder_walk, target_values

# {class name: its image files}.
Classes = dict[str, list[pathlib.Path]]


def _field() -> Any:
    """Returns what a field is that a source need not have."""
    return dataclasses.field(default_factory=dict)


def _sort_alphabetically(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))


@dataclasses.dataclass(frozen=True)
class Layout:
    """What a folder, a table or an archive of images holds.

    `listed` has the classes of each split that is given, and `places` says of
    each how: the name of its folder, or a column. Without given splits, both
    have the one key None. All files are below `root`. A file's path below its
    `base` decides its split, where that is cut.
    """

    name: str  # What messages call it.
    root: pathlib.Path
    listed: dict[str | None, Classes]
    places: dict[str | None, str]
    left_out: folder_walk.LeftOut
    # If not `root`.
    bases: Mapping[str | None, pathlib.Path] = _field()
    # Returns names of classes in the order of their labels.
    sort: Callable[[Iterable[str]], tuple[str, ...]] = _sort_alphabetically
    groups: Mapping[pathlib.Path, str] = _field()  # See `folder_splits`.
    weights: Mapping[pathlib.Path, float] = _field()  # In the loss.
    # What a missing split could be, before its name; what to do about a single
    # class.
    how_to_split: str = "splits named"
    one_class: str = ""
    # Where images have no class: "classes" are texts that stand for these.
    values: target_values.Values | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of all classes, in the order of their labels.

        Of labels or numbers: their own names.
        """
        if self.values is not None:
            return self.values.names
        return self.sort(set().union(*self.listed.values()))

    def base(self, split: str | None) -> pathlib.Path:
        """Returns what the names of a split's files begin after."""
        return self.bases.get(split, self.root)

    def find_labels(self) -> dict[pathlib.Path, str]:
        """Returns {file: its class} of all files."""
        return {
            file: name
            for classes in self.listed.values()
            for name, own in classes.items()
            for file in own
        }


def list_files(divided: Mapping[Any, Classes]) -> list[pathlib.Path]:
    """Returns the files of {split: classes}."""
    return [
        file
        for classes in divided.values()
        for own in classes.values()
        for file in own
    ]


def list_names(divided: Mapping[Any, Classes]) -> list[str]:
    """Returns the names of {split: classes}, each once."""
    return list(dict.fromkeys(n for own in divided.values() for n in own))


def sort_by(order: Sequence[str], names: Iterable[str]) -> tuple[str, ...]:
    """Returns class names in a given order."""
    names = set(names)
    return tuple(name for name in order if name in names)


def sort_labels(names: Iterable[str]) -> tuple[str, ...]:
    """Returns class names in order: by value, if all are whole numbers."""
    names = set(names)
    if all(name.isascii() and name.isdigit() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))
