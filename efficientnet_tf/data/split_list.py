"""The list of a run's images: which file is in which split, and its hash."""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Collection, Iterable, Mapping

from efficientnet_tf.data import damaged_files, folder_walk
from efficientnet_tf.utils import run_folder, tables

# In place of a split: a file that could not be read.
UNREADABLE = "unreadable"


@dataclasses.dataclass(frozen=True)
class Row:
    """A file of a run. Without a hash it was in no split that the run used."""

    split: str
    label: str  # Its class.
    path: str  # Below the folder.
    size: int
    mtime_ns: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Changes:
    """What differs between a run's list and the files now, by paths."""

    added: list[str]
    removed: list[str]
    changed: list[str]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    @property
    def harmless(self) -> bool:
        """Whether all files of the list are there as they were."""
        return not self.removed and not self.changed

    def __str__(self) -> str:
        return "; ".join(
            f"{len(names):,} {word} ({folder_walk.list_names(names)})"
            for word, names in (
                ("added", self.added),
                ("removed", self.removed),
                ("changed", self.changed),
            )
            if names
        )


def write(
    folder: str | os.PathLike,
    root: pathlib.Path,
    rows: Iterable[tuple[str, str, pathlib.Path]],
    facts: Mapping[pathlib.Path, damaged_files.Facts],
) -> None:
    """Writes the list of a run.

    Args:
      folder: the run's.
      root: the images' folder.
      rows: (split, class, file) of each.
      facts: of the files that were decoded.
    """
    listed = (
        Row(split, label, _below(root, file), *_state(file, facts))
        for split, label, file in rows
    )
    tables.write_csv(
        pathlib.Path(folder) / run_folder.IMAGES_FILE,
        [field.name for field in dataclasses.fields(Row)],
        map(dataclasses.asdict, listed),
    )


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
            )
            for row in tables.read_csv(path)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise RuntimeError(
            f"{path} is damaged: {type(error).__name__} {error}. Delete the "
            "run's folder."
        ) from None


def compare(
    rows: Iterable[Row], root: pathlib.Path, now: Iterable[pathlib.Path]
) -> Changes:
    """Compares a run's list with the images that a folder holds now.

    A file is changed if its content is: of one with another time, but of the
    same size, the hash is computed.
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
    if file in facts:
        known = facts[file]
        return known.size, known.mtime_ns, known.sha256
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns, ""


def _has_changed(row, file):
    stat = file.stat()
    if stat.st_size != row.size:
        return True
    if stat.st_mtime_ns == row.mtime_ns:
        return False
    return hashlib.sha256(file.read_bytes()).hexdigest() != row.sha256
