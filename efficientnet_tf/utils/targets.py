"""What a network answers with: a class, labels, or numbers; and their texts."""

import dataclasses
from collections.abc import Sequence

# One class an image (softmax); any of several labels (a sigmoid each); or
# numbers (as they are).
CLASS, LABELS, NUMBERS = "class", "labels", "numbers"
KINDS = (CLASS, LABELS, NUMBERS)

# Of the last layer, in Keras's words.
ACTIVATIONS = {CLASS: "softmax", LABELS: "sigmoid", NUMBERS: "linear"}

# What a run is scored by: its field of a row, and what people call it. "map" is
# the mean over labels of average precision, "r2" that over numbers of R².
METRICS = {LABELS: "map", NUMBERS: "r2"}
METRIC_NAMES = {"map": "mean average precision", "r2": "mean R²"}

# Where no images were held out to choose thresholds on.
THRESHOLD = 0.5

# The name of the outputs of exported networks that are no `NUMBERS`.
PROBABILITIES = "probabilities"

SEPARATOR = "|"  # Between the labels of an image, in one text.


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What a network's outputs are: their names, and of labels thresholds."""

    names: Sequence[str]
    kind: str = CLASS
    thresholds: Sequence[float] = ()

    @property
    def values(self) -> str:
        """What the values are called: "probabilities" or "numbers"."""
        return value_name(self.kind)

    def describe(self, found: Sequence[float]) -> str:
        """Returns an answer as a text: the class, the labels, the numbers."""
        if self.kind == LABELS:
            return SEPARATOR.join(self.pick(found))
        if self.kind == NUMBERS:
            pairs = zip(self.names, found, strict=True)
            return SEPARATOR.join(f"{name}={v:.6g}" for name, v in pairs)
        return self.names[max(range(len(found)), key=lambda i: found[i])]

    def pick(self, found: Sequence[float]) -> list[str]:
        """Returns the labels whose probabilities reach their thresholds."""
        limits = self.thresholds or [THRESHOLD] * len(self.names)
        return [
            name
            for name, share, limit in zip(
                self.names, found, limits, strict=True
            )
            if share >= limit
        ]


def value_name(kind: str) -> str:
    """Returns what a network's values are called, in exported files too."""
    return "numbers" if kind == NUMBERS else "probabilities"


def check_class(target: str, what: str, name: str = "") -> None:
    """Raises ValueError unless images have one class each.

    Args:
      target: one of `KINDS`.
      what: what cannot be done otherwise, to begin a sentence with.
      name: of the data or the run, for the message.
    """
    if target != CLASS:
        has = {LABELS: "several labels an image", NUMBERS: "numbers"}[target]
        raise ValueError(
            f"{what} needs one class an image, but {name or 'this set'} has "
            f"{has}."
        )
