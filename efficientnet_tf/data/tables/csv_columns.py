"""Which column of a table of images is what."""

import re
from collections.abc import Collection, Iterable

from efficientnet_tf.data.folders import folder_names, folder_walk
from efficientnet_tf.data.tables import csv_text

# {what a column is: its usual names}. The first one is used beside others; two
# others are not told apart.
ROLES = {
    "path": (
        *("path", "image", "filename", "file", "image_path", "img", "img_path"),
        *("file_name", "filepath", "file_path", "image_file", "image_name"),
        *("images", "imagename", "imagepath", "image_filename"),
    ),
    "label": (
        *("label", "class", "target", "category", "class_name", "label_name"),
        *("classname", "labelname", "class_label"),
    ),
    "labels": ("labels", "tags"),
    "split": ("split", "set", "subset", "partition", "fold"),
    "group": ("group", "groups", "group_id"),
    "weight": ("weight", "weights", "sample_weight"),
}
_FOLD = "fold"
_ADVICE = (
    "a column labels has several labels an image, --labels names columns of 0 "
    "and 1, and --targets columns of numbers to predict"
)


def find(table: csv_text.Table, taken: Collection[int] = ()) -> dict[str, int]:
    """Returns {role: the place of its column}, of those that are there.

    A column "fold" of numbers is none of splits. Of "label" and "labels", the
    former counts.

    Args:
      table: the table.
      taken: columns that the user has named as labels or numbers; with any,
        none is searched for.

    Raises:
      RuntimeError: no path or no label, or two columns for one role; the
        message says which columns there are.
    """
    _check_header(table)
    found = {}
    roles = {
        role: spellings
        for role, spellings in ROLES.items()
        if not (taken and role in ("label", "labels"))
    }
    for role, spellings in roles.items():
        if role == "labels" and "label" in found:
            continue
        places = [
            i
            for i, n in enumerate(table.names)
            if n in spellings and i not in taken
        ]
        exact = [i for i in places if table.names[i] == role]
        if role == "split":
            places = [i for i in places if not _is_number_of_fold(table, i)]
        places = exact or places
        if len(places) > 1:
            several = " and ".join(table.header[i].strip() for i in places)
            raise RuntimeError(
                f"{table.path}: the columns {several} may each be the {role}; "
                f"name one of them {role!r}."
            )
        if places:
            found[role] = places[0]
    if "path" not in found:
        raise RuntimeError(_explain_missing(table, "path"))
    if not (taken or {"label", "labels"} & found.keys()):
        raise RuntimeError(_explain_missing(table, "label"))
    return found


def list_unused(table: csv_text.Table, found: Iterable[int]) -> list[str]:
    """Returns the names of the columns that are no role's, in their order."""
    used = set(found)
    return [
        name.strip() or f"the {i + 1}th, without a name"
        for i, name in enumerate(table.header)
        if i not in used
    ]


def check_one_class(
    table: csv_text.Table, cells: Iterable[str], column: str
) -> None:
    """Raises RuntimeError for labels that are numbers to predict, as 0.53."""
    cells = list(cells)
    numbers = [cell for cell in cells if re.fullmatch(r"[-+]?\d*\.\d+", cell)]
    parts = [cell for cell in numbers if float(cell) % 1]
    if parts and all(_is_number(cell) for cell in cells):
        raise RuntimeError(
            f"{table.path}: the labels are numbers such as {parts[0]}; name "
            f"their column to predict numbers: --targets={column}."
        )


def _check_header(table):
    if not table.header:
        raise RuntimeError(
            f"{table.path} is empty: expected a first line of names, such as "
            "path,label, and a line for each image."
        )
    twice = [n for i, n in enumerate(table.names) if n in table.names[:i]]
    if any(twice):
        raise RuntimeError(f"{table.path} has the column {max(twice)!r} twice.")
    if not table.rows:
        raise RuntimeError(
            f"{table.path} lists no images: it has only its first line."
        )


def _is_number_of_fold(table, place):
    """Whether a column "fold" counts, as 0 to 4, rather than names splits."""
    if table.names[place] != _FOLD:
        return False
    cells = {row[place].strip() for _, row in table.rows if place < len(row)}
    return not folder_names.find_splits(cells - {""})


def _explain_missing(table, role):
    numbers = [
        name.strip()
        for i, name in enumerate(table.header)
        if _has_numbers(table, i)
    ]
    if role == "label" and numbers:
        return (
            f"{table.path} has no column label, but "
            f"{folder_walk.list_names(numbers)}: {_ADVICE}."
        )
    spellings = ", ".join(ROLES[role][:5])
    return (
        f"{table.path} has no column of each image's {role}: expected one of "
        f"{spellings}, ... Its first line has "
        f"{', '.join(repr(name) for name in table.header)}."
    )


def _has_numbers(table, place):
    cells = [row[place] for _, row in table.rows if place < len(row)]
    return all(_is_number(cell) for cell in cells)


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True
