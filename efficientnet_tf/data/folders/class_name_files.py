"""The names of numbered classes, in a file beside the images."""

import pathlib
import re

from efficientnet_tf.data.folders import folder_walk
from efficientnet_tf.utils import documents, files

_STEMS = (
    *("classes", "labels", "class_names", "label_names", "names", "classnames"),
    *("label_map", "class_map", "labelmap", "categories"),
)
# "0:daisy" or "0 daisy", as slim's scripts write.
_NUMBERED = re.compile(r"(\d+)\s*[:,\t ]\s*(.+)")
_NUMBER_TO = re.compile(r"label_num_to_\w+")


def find(folder: pathlib.Path) -> tuple[str, ...] | None:
    """Returns the names in a folder's file of class names; None without one.

    Such a file is classes.txt, labels.txt and the like, a name a line, perhaps
    after its number; or .json, a list or an object of names and numbers.

    Raises:
      OSError: it is no JSON.
      RuntimeError: there are two such files, or one that is not understood.
    """
    found = [
        path
        for path in sorted(folder.iterdir())
        if path.is_file()
        and path.suffix.lower() in (".txt", ".json")
        and (
            path.stem.lower() in _STEMS
            or _NUMBER_TO.fullmatch(path.stem.lower())
        )
    ]
    if not found:
        return None
    if len(found) > 1:
        raise RuntimeError(
            f"{folder} holds {folder_walk.list_names(p.name for p in found)}, "
            "each of which may have the names of the classes; keep one."
        )
    (path,) = found
    read = _read_json if path.suffix.lower() == ".json" else _read_lines
    names = read(path)
    wrong = not names or not all(isinstance(n, str) and n for n in names)
    if wrong or len(set(names)) < len(names):
        raise RuntimeError(
            f"{path} is no list of class names, each of them once."
        )
    return tuple(names)


def _read_lines(path):
    try:
        text = files.read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RuntimeError(f"{path} is no text in UTF-8.") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    matches = [_NUMBERED.fullmatch(line) for line in lines]
    if lines and all(matches):
        return _by_number({int(m[1]): m[2] for m in matches if m})
    return lines


def _read_json(path):
    value = documents.parse(files.read_bytes(path), path)
    if isinstance(value, list):
        return value
    if not isinstance(value, dict):
        return []
    if all(isinstance(v, int) for v in value.values()):  # {name: number}
        return _by_number({v: k for k, v in value.items()})
    if all(key.isdigit() for key in value):  # {number: name}
        return _by_number({int(k): v for k, v in value.items()})
    return []


def _by_number(names):
    """Returns the names of 0, 1, ...; [] if some number is missing."""
    if sorted(names) != list(range(len(names))):
        return []
    return [names[number] for number in range(len(names))]
