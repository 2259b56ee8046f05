"""Several labels an image, or numbers, in place of its class."""

import collections
import dataclasses
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence

from absl import logging

from efficientnet_tf.data.folders import folder_walk
from efficientnet_tf.utils import targets, words

Files = Mapping[str, Sequence[pathlib.Path]]

# In place of a class: all images, for splits without classes.
_ANY = "any image"


@dataclasses.dataclass(frozen=True)
class Values:
    """What the texts mean that stand in a layout for classes.

    `names` are those of the labels or the numbers, in the order of a network's
    outputs; `of_text` has for each text its labels, or its numbers.
    """

    kind: str  # `targets.LABELS` or `targets.NUMBERS`.
    names: tuple[str, ...]
    of_text: Mapping[str, tuple]

    def to_vector(self, text: str) -> tuple[float, ...]:
        """Returns float [names]: 0 or 1 of each label, or the numbers."""
        values = self.of_text[text]
        if self.kind == targets.NUMBERS:
            return values
        return tuple(float(name in values) for name in self.names)

    def keep_used(self, texts: Iterable[str]) -> "Values":
        """Returns these without the labels that none of some texts has."""
        if self.kind == targets.NUMBERS:
            return self
        used = {name for text in texts for name in self.of_text[text]}
        names = tuple(name for name in self.names if name in used)
        return dataclasses.replace(self, names=names)

    def group(self, divided: Files) -> dict[str, list[pathlib.Path]]:
        """Returns {label: its files}, in which a file may be several times.

        All files are under a name that no label has, too. So splits that are
        cut by these get all images, and each split some of each label.
        """
        found: dict[str, list[pathlib.Path]] = {
            _ANY: [file for own in divided.values() for file in own]
        }
        for text, own in divided.items():
            for name in self._labels(text):
                found.setdefault(f"label {name}", []).extend(own)
        return found

    def find_rarest(self, divided: Files) -> dict[pathlib.Path, str] | None:
        """Returns {file: the rarest of its labels, or ""}; None of numbers."""
        if self.kind == targets.NUMBERS:
            return None
        counts: collections.Counter = collections.Counter()
        for text, own in divided.items():
            counts.update(dict.fromkeys(self._labels(text), len(own)))
        return {
            file: min(
                self._labels(text), key=lambda n: (counts[n], n), default=""
            )
            for text, own in divided.items()
            for file in own
        }

    def ungroup(self, divided: Files, texts: Files) -> dict[str, list]:
        """Returns {text: files} of those that `group` has, for one split."""
        mine = set(divided[_ANY])
        found = {
            text: [file for file in own if file in mine]
            for text, own in texts.items()
        }
        return {text: own for text, own in found.items() if own}

    def check(self, source: str, divided: Mapping[str, Files]) -> None:
        """Checks what can be learnt from "train"; says what others lack.

        Args:
          source: what was read, for messages.
          divided: {split: {text: files}} of files that can be read.

        Raises:
          RuntimeError: a label that no training image has, or all have; a
            number that is the same in all of them; a split without images.
        """
        for split, own in divided.items():
            vectors = [self.to_vector(t) for t, files in own.items() if files]
            if not vectors:
                raise RuntimeError(
                    f"{source} has no readable image for {split}."
                )
            columns = dict(
                zip(self.names, zip(*vectors, strict=True), strict=True)
            )
            if split == "train":
                self._check_columns(source, columns)
            elif self.kind == targets.LABELS:
                lacking = [
                    n for n, column in columns.items() if not any(column)
                ]
                if lacking:
                    logging.warning(
                        "%s: no image of %s has %d of the %d labels (%s); its "
                        "scores say nothing of them.",
                        source,
                        split,
                        len(lacking),
                        len(columns),
                        folder_walk.list_names(lacking),
                    )

    def _check_columns(self, source, columns):
        same = {n: c[0] for n, c in columns.items() if len(set(c)) == 1}
        if not same:
            return
        name, value = next(iter(same.items()))
        if self.kind == targets.NUMBERS:
            raise RuntimeError(
                f"{source}: {name} is {value:g} in all training images; there "
                "is nothing to learn."
            )
        has = "every" if value else "no"
        raise RuntimeError(
            f"{source}: {has} training image has the label {name!r}"
            + (f", nor {len(same) - 1} more" if len(same) > 1 else "")
            + "; give it images with and without it, or leave it out."
        )

    def _labels(self, text):
        return self.of_text[text] if self.kind == targets.LABELS else ()

    def __str__(self) -> str:
        """Returns "3 labels (a, b, c)"."""
        word = "label" if self.kind == targets.LABELS else "number"
        shown = folder_walk.list_names(self.names)
        return f"{words.count(len(self.names), word)} an image ({shown})"


def of_labels(
    rows: Sequence[Sequence[str]], names: Sequence[str] | None = None
) -> tuple[list[str], Values]:
    """Returns a text for each image, and what the texts mean.

    Args:
      rows: the labels of each image.
      names: of all labels; None: those that occur, in alphabetical order.
    """
    of_text = {}
    texts = []
    for row in rows:
        labels = tuple(sorted(set(row)))
        text = targets.SEPARATOR.join(labels)
        of_text[text] = labels
        texts.append(text)
    if names is None:
        names = sorted({name for labels in of_text.values() for name in labels})
    return texts, Values(targets.LABELS, tuple(names), of_text)


def of_numbers(
    rows: Sequence[Sequence[float]], names: Sequence[str]
) -> tuple[list[str], Values]:
    """Returns a text for each image, and what the texts mean.

    Args:
      rows: the numbers of each image, all finite.
      names: of the numbers.
    """
    texts = [targets.SEPARATOR.join(map(repr, row)) for row in rows]
    of_text = dict(zip(texts, (tuple(row) for row in rows), strict=True))
    return texts, Values(targets.NUMBERS, tuple(names), of_text)


def find_separator(cells: Iterable[str]) -> str:
    """Returns what stands between the labels of a cell.

    A bar, a semicolon or a comma, if any cell has one; a space, if the cells
    are made of fewer words than there are different cells; else "": a cell is
    one label.
    """
    found = {cell.strip() for cell in cells} - {""}
    for separator in ("|", ";", ","):
        if any(separator in cell for cell in found):
            return separator
    spaced = collections.Counter(w for cell in found for w in cell.split())
    if any(" " in cell for cell in found) and len(spaced) < len(found):
        return " "
    return ""


def to_number(text: str) -> float:
    """Returns a finite number; NaN for any other text."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
