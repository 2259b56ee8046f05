"""Which files an export writes, and where."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from types import ModuleType

from absl import logging

from efficientnet_tf.deploy import formats, layouts
from efficientnet_tf.utils import (
    configs,
    extras,
    files,
    run_folder,
    words,
)

# The table's files, in a folder; beside one file they begin with its name.
TABLE = "exports"
MAX_LOSS = 1.0  # Points of top-1 that a file may lose, by default.


@dataclasses.dataclass(frozen=True)
class Target:
    """A file, or a SavedModel's folder, to write."""

    format: str
    precision: str
    path: pathlib.Path

    @property
    def row(self) -> formats.Format:
        """The format's row."""
        return formats.FORMATS[self.format]

    def load_module(self) -> ModuleType:
        """Returns the format's module; see `Format.load_module`."""
        return self.row.load_module(*self.row.runtime, *self.row.writers)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be written where.

    `folder` is None where there is one target and `output` names it. With
    `activation_map`, files have the maps of all classes as a second output.
    """

    targets: tuple[Target, ...]
    folder: pathlib.Path | None
    activation_map: bool = False

    @property
    def quantizes(self) -> bool:
        """Whether any of it is int8."""
        return any(target.precision == "int8" for target in self.targets)

    def table(self, suffix: str) -> pathlib.Path:
        """Returns the path of a file with the table."""
        if self.folder is not None:
            return self.folder / f"{TABLE}{suffix}"
        (target,) = self.targets
        if target.row.layout:  # Only versions belong into the folder.
            return target.path.with_name(f"{target.path.name}.{TABLE}{suffix}")
        if target.row.names_folder:
            return target.path / f"{TABLE}{suffix}"
        return target.path.with_suffix(f".{TABLE}{suffix}")


def check_paths(plan: Plan) -> None:
    """Checks that everything can be written where it is to be.

    Raises:
      OSError: something else is there.
    """
    if plan.folder is not None:
        files.check_folder(plan.folder)
        _check_own(plan)
    for target in plan.targets:
        if not target.row.names_folder and target.path.is_dir():
            raise FileExistsError(f"{target.path} is a folder.")
        if target.row.names_folder:
            files.check_folder(target.path)
            if target.row.layout:
                layouts.check_base(target.path, target.row.layout)
            else:
                check_replaceable(target.path)
        files.check_folder(target.path.parent)


def _check_own(plan):
    """Checks that a folder is empty, or holds earlier exports."""
    found = plan.folder.exists() and sorted(plan.folder.iterdir())
    if found and not plan.table(".json").exists():
        raise FileExistsError(
            f"{plan.folder} holds {found[0].name}, which is no export; choose "
            "another folder, or name one file."
        )


def check_quantized(plan: Plan) -> None:
    """Checks that all files of a plan can hold a network for int8.

    Raises:
      ValueError: names the first that cannot, and those that can.
    """
    for target in plan.targets:
        if target.precision not in target.row.quantized:
            have = [
                f"{row.name} in {precision}"
                for row in formats.FORMATS.values()
                for precision in row.quantized
            ]
            raise ValueError(
                f"{target.format} in {target.precision} cannot hold a network "
                f"that was trained for int8; these can: {', '.join(have)}. "
                "Export the run that it started from."
            )
    if plan.activation_map:
        raise ValueError(
            "A network that was trained for int8 has no activation map."
        )


def check_replaceable(directory: pathlib.Path) -> None:
    """Raises FileExistsError if a folder holds anything but a SavedModel."""
    files.check_folder(directory)
    if not directory.exists() or not any(directory.iterdir()):
        return
    if not (directory / run_folder.SAVED_MODEL_FILE).exists():
        raise FileExistsError(
            f"{directory} holds something other than a SavedModel; choose "
            "another folder."
        )


def make_plan(
    output: str | os.PathLike,
    names: Sequence[str],
    precisions: Sequence[str],
    *,
    activation_map: bool = False,
) -> Plan:
    """Returns what is to be written.

    One format in one precision is `output` itself, where that ends as its files
    do or is to be a SavedModel; else `output` is a folder, in which files are
    named by their precision. Pairs that do not exist are left out, with a line.

    Raises:
      ValueError: an unknown format or precision, one that does not go with
        any of the other, or a format that has no place for the map.
      ModuleNotFoundError: a package is missing.
    """
    output = pathlib.Path(output)
    pairs = _list_pairs(names, precisions)
    if activation_map:
        _check_map(names)
    for name in dict.fromkeys(name for name, _ in pairs):
        row = formats.FORMATS[name]
        packages = (*row.runtime, *row.writers)
        extras.require(f"Files of the format {name}", *packages)
    (name, precision), more = pairs[0], pairs[1:]
    row = formats.FORMATS[name]
    if not more and (row.names_folder or row.suffix == output.suffix):
        target = Target(name, precision, output)
        return Plan((target,), None, activation_map)
    if output.suffix in formats.SUFFIXES:
        raise ValueError(
            f"{output} must end in {row.suffix} or be a folder's name."
            if not more
            else f"{output} must be a folder's name for "
            f"{words.count(len(pairs), 'file')}."
        )
    targets = [Target(a, b, output / _name(a, b)) for a, b in pairs]
    return Plan(tuple(targets), output, activation_map)


def _check_map(names):
    for name in names:
        if not formats.FORMATS[name].has_map:
            have = [row.name for row in formats.FORMATS.values() if row.has_map]
            raise ValueError(
                f"{name} has no activation map as a second output; these have: "
                f"{', '.join(have)}."
            )


def _name(name, precision):
    """Returns the name of one of several outputs."""
    row = formats.FORMATS[name]
    if not row.names_folder:
        return f"{precision}{row.suffix}"
    return name if precision == "float32" else f"{name}_{precision}"


def _list_pairs(names, precisions):
    """Returns the (format, precision) that exist, of all combinations."""
    for name in names:
        if name not in formats.FORMATS:
            raise ValueError(configs.unknown("format", name, formats.FORMATS))
    for precision in precisions:
        if precision not in formats.PRECISIONS:
            raise ValueError(
                configs.unknown("precision", precision, formats.PRECISIONS)
            )
    pairs, missing = [], []
    for name in dict.fromkeys(names):
        has = formats.FORMATS[name].precisions
        found = [p for p in dict.fromkeys(precisions) if p in has]
        if not found:
            raise ValueError(
                f"{name} has no {' or '.join(precisions)}; choose from "
                f"{', '.join(has)}."
            )
        pairs += [(name, precision) for precision in found]
        missing += [f"{name} in {p}" for p in precisions if p not in has]
    for precision in precisions:
        if precision not in [p for _, p in pairs]:
            have = [
                name
                for name, row in formats.FORMATS.items()
                if precision in row.precisions
            ]
            raise ValueError(
                f"None of {', '.join(names)} has {precision}; these have: "
                f"{', '.join(have)}."
            )
    if missing:
        logging.info("There is no %s.", ", no ".join(missing))
    return pairs
