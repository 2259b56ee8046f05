"""The list of a run's images: which file is in which split, and its hash."""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Collection, Iterable, Mapping

from efficientnet_tf.data.folders import folder_walk
from efficientnet_tf.data.sets import damaged_files
from efficientnet_tf.utils import files, run_folder, tables

# In place of a split: a file that could not be read.
UNREADABLE = "unreadable"
# A file that the run could have been trained on, and was not.
IGNORED = "ignored"


@dataclasses.dataclass(frozen=True)
class Row:
    """A file of a run. Without a hash it was in no split that the run used."""

    split: str
    label: str  # Its class.
    path: str  # Below the folder.
    size: int
    mtime_ns: int
    sha256: str
    weight: float | None = None  # In the loss, if the source says so.


@dataclasses.dataclass(frozen=True)
class Changes:
    """What differs between a run's list and the files now, by paths."""

    added: list[str]
    removed: list[str]
    changed: list[str]
    relabelled: list[str]

    def __bool__(self) -> bool:
        return bool(self.added) or not self.harmless

    @property
    def harmless(self) -> bool:
        """Whether all files of the list are there as they were."""
        return not (self.removed or self.changed or self.relabelled)

    def __str__(self) -> str:
        return "; ".join(
            f"{len(names):,} {word} ({folder_walk.list_names(names)})"
            for word, names in (
                ("added", self.added),
                ("removed", self.removed),
                ("changed", self.changed),
                ("with another label", self.relabelled),
            )
            if names
        )


def write(
    folder: str | os.PathLike,
    root: pathlib.Path,
    rows: Iterable[tuple[str, str, pathlib.Path]],
    facts: Mapping[pathlib.Path, damaged_files.Facts],
    weights: Mapping[pathlib.Path, float],
) -> None:
    """Writes the list of a run.

    Args:
      folder: the run's.
      root: the images' folder.
      rows: (split, class, file) of each.
      facts: of the files that were decoded.
      weights: of the files in the loss; without any, there is no such column.
    """
    names = [field.name for field in dataclasses.fields(Row)]
    if not weights:
        names.remove("weight")
    tables.write_csv(
        pathlib.Path(folder) / run_folder.IMAGES_FILE,
        names,
        (
            {
                **{"split": split, "label": label, "path": _below(root, file)},
                **_state(file, facts),
                **({"weight": weights.get(file)} if weights else {}),
            }
            for split, label, file in rows
        ),
    )


def copy(source: str | os.PathLike, folder: str | os.PathLike) -> None:
    """Copies the list in a folder, if there is one, into a run's."""
    rows = pathlib.Path(source) / run_folder.IMAGES_FILE
    own = pathlib.Path(folder) / run_folder.IMAGES_FILE
    if rows != own and rows.exists():
        files.write_bytes(own, rows.read_bytes())


def divide_again(
    folder: str | os.PathLike, splits: Mapping[tuple[str, str], list[str]]
) -> None:
    """Changes the splits in a run's list, if there is one.

    Args:
      folder: the run's.
      splits: {(class, hash): splits of its files}; other files that had a hash
        become `IGNORED`.
    """
    rows = read(folder)
    if rows is None:
        return
    left = {key: list(own) for key, own in splits.items()}
    names = [field.name for field in dataclasses.fields(Row)]
    if all(row.weight is None for row in rows):
        names.remove("weight")
    found = []
    for row in rows:
        fields = dataclasses.asdict(row)
        if row.sha256:
            own = left.get((row.label, row.sha256))
            fields["split"] = own.pop() if own else IGNORED
        found.append(fields)
    path = pathlib.Path(folder) / run_folder.IMAGES_FILE
    tables.write_csv(path, names, found)


def read(folder: str | os.PathLike) -> list[Row] | None:
    """Returns the list in a run's folder; None if there is none.

    Raises:
      RuntimeError: it is not such a list.
    """
    path = pathlib.Path(folder) / run_folder.IMAGES_FILE
    if not path.exists():
        return None
    try:
        return [
            Row(
                row["split"],
                row["label"],
                row["path"],
                int(row["size"]),
                int(row["mtime_ns"]),
                row["sha256"],
                float(row["weight"]) if row.get("weight") else None,
            )
            for row in tables.read_csv(path)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise RuntimeError(
            f"{path} is damaged: {type(error).__name__} {error}. Delete the "
            "run's folder."
        ) from None


def compare(
    rows: Iterable[Row], root: pathlib.Path, now: Mapping[pathlib.Path, str]
) -> Changes:
    """Compares a run's list with the images that a source holds now.

    A file is changed if its content is: of one with another time, but of the
    same size, the hash is computed.

    Args:
      rows: of the list.
      root: the images' folder.
      now: {file: its class}.
    """
    listed = {row.path: row for row in rows}
    found = {_below(root, file): file for file in now}
    used = {name: row for name, row in listed.items() if row.sha256}
    return Changes(
        sorted(found.keys() - listed.keys()),
        sorted(used.keys() - found.keys()),
        sorted(
            name
            for name in used.keys() & found.keys()
            if _has_changed(used[name], found[name])
        ),
        sorted(
            name
            for name in used.keys() & found.keys()
            if used[name].label != now[found[name]]
        ),
    )


def count_listed(
    rows: Iterable[Row], splits: Collection[str], sha256: Iterable[str]
) -> int:
    """Returns how many hashes are of files in a run's splits."""
    listed = {row.sha256 for row in rows if row.split in splits}
    return sum(digest in listed for digest in sha256)


def _below(root, file):
    return file.relative_to(root).as_posix()


def _state(file, facts):
    """Returns the size, time and hash of a file; "" if it was not decoded."""
    known = facts.get(file)
    if known is not None:
        sizes = known.size, known.mtime_ns, known.sha256
    else:
        stat = file.stat()
        sizes = stat.st_size, stat.st_mtime_ns, ""
    return dict(zip(("size", "mtime_ns", "sha256"), sizes, strict=True))


def _has_changed(row, file):
    stat = file.stat()
    if stat.st_size != row.size:
        return True
    if stat.st_mtime_ns == row.mtime_ns:
        return False
    return hashlib.sha256(file.read_bytes()).hexdigest() != row.sha256
