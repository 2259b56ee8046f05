"""How data sets are named on a command line: "folder:PATH" and the like."""

import dataclasses
import os
import pathlib

from efficientnet_tf.utils import extras, files


@dataclasses.dataclass(frozen=True)
class Kind:
    """What stands before the colon, what after it, and what that is."""

    prefix: str
    rest: str
    about: str
    package: str | None = None  # What reads it, if not everybody has it.

    @property
    def is_path(self) -> bool:
        """Whether what follows is a file or a folder, and never a name."""
        return self.rest in ("PATH", "FILE")


FOLDER = Kind("folder:", "PATH", "a folder of class folders")
CSV = Kind("csv:", "FILE", "a table of image files and labels")
TFDS = Kind(
    "tfds:", "NAME", "a set of TensorFlow Datasets", "tensorflow_datasets"
)
RECORDS = Kind("records:", "PATH", "a folder of TFRecord files")
HF = Kind(
    "hf:",
    "NAME_OR_FOLDER",
    "a set of Hugging Face's hub, or a folder that its library reads",
    "datasets",
)
KINDS = (FOLDER, CSV, TFDS, RECORDS, HF)
# For help and messages.
FORMS = ", ".join(kind.prefix + kind.rest for kind in KINDS[:-1])
FORMS += f" or {HF.prefix}{HF.rest}"


def find_kind(name: str) -> Kind | None:
    """Returns the kind of a data set; None: a bare name, as "cifar10"."""
    for kind in KINDS:
        if name.startswith(kind.prefix) and name != kind.prefix:
            return kind
    return None


def parse(name: str) -> tuple[Kind | None, str]:
    """Returns the kind of a data set, and what follows the colon."""
    kind = find_kind(name)
    return kind, name.removeprefix(kind.prefix) if kind else name


def check(name: str) -> None:
    """Checks that a data set can be read: its file or folder, its package.

    Raises:
      OSError: there is no such file or folder.
      ModuleNotFoundError: names the `pip install` of a missing package.
    """
    kind, rest = parse(name)
    if kind is None:
        extras.require("Named data sets", str(TFDS.package))
    elif kind.package is not None:
        extras.require(f"Data sets named {kind.prefix}...", kind.package)
    if kind is CSV:
        path = pathlib.Path(rest).expanduser()
        if path.is_dir():
            raise IsADirectoryError(
                f"{path} is a folder, not a .csv file; for a folder with one "
                f"folder per class write {FOLDER.prefix}{rest}."
            )
        if not path.is_file():
            raise FileNotFoundError(f"There is no file {path}.")
    elif kind is not None and kind.is_path:
        files.check_exists(rest)


def suggest(path: str) -> str:
    """Returns what to write for a path that lacks its prefix."""
    kind = CSV if path.lower().endswith((".csv", ".tsv")) else FOLDER
    return f"{kind.prefix}{path}"


def is_same(one: str, other: str) -> bool:
    """Whether two names stand for one data set, however a path is spelled."""
    (kind, path), (other_kind, other_path) = parse(one), parse(other)
    if one == other or kind is None or kind is not other_kind:
        return one == other
    real = [os.path.realpath(os.path.expanduser(p)) for p in (path, other_path)]
    return real[0] == real[1]
