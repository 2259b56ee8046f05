"""What a search is after: accuracy, weighed against a cost."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Annotated

from efficientnet_tf.measure import pareto
from efficientnet_tf.utils import configs


def weigh(accuracy: float, ratio: float, exponent: float) -> float:
    """Returns the soft reward of an accuracy and of cost / target."""
    return accuracy * ratio**exponent


def _mnas_hard(accuracy, ratio, exponent):
    return accuracy * min(1.0, ratio**exponent)


def _absolute(accuracy, ratio, exponent):
    return accuracy + exponent * abs(ratio - 1)


def _front(accuracy, ratio, exponent):
    return accuracy if ratio <= 1 else -ratio


@dataclasses.dataclass(frozen=True)
class Kind:
    """A way to make one number of an accuracy and of cost / target."""

    reward: Callable[[float, float, float], float]
    exponent: float
    note: str


# Equations 2 and 3 of https://arxiv.org/abs/1807.11626, and Section 3.2 of
# https://arxiv.org/abs/2008.06120, with its factor in place of an exponent.
KINDS = {
    "mnas": Kind(
        weigh,
        -0.07,
        "The soft reward is the same for every target but for a constant "
        "factor, so it cannot hit one.",
    ),
    "mnas_hard": Kind(
        _mnas_hard, -1.0, "Only what is above the target is punished."
    ),
    "abs": Kind(
        _absolute, -0.07, "What misses the target either way is punished."
    ),
    "front": Kind(
        _front,
        0.0,
        "Two objectives, accuracy and cost; those above the target are "
        "dominated by all others.",
    ),
}

# What `Objective.cost` may be, and how to show it: (unit, divisor).
COSTS = {
    "multiply_adds": ("M multiply-adds", 1e6),
    "params": ("M parameters", 1e6),
    "latency_ms": ("ms, LiteRT float32", 1.0),
    "latency_int8_ms": ("ms, LiteRT int8", 1.0),
    "step_ms": ("ms a training step", 1.0),
}
COUNTED = ("multiply_adds", "params")


@dataclasses.dataclass(frozen=True)
class Objective:
    """What is maximized; `exponent` None is that of the kind's paper."""

    target: Annotated[float, configs.Above(0)]
    kind: Annotated[str, configs.OneOf(*KINDS)] = "mnas"
    cost: Annotated[str, configs.OneOf(*COSTS)] = "multiply_adds"
    exponent: float | None = None

    def __post_init__(self):
        configs.check(self)
        if self.exponent is not None and self.exponent > 0:
            raise ValueError(
                f"exponent={self.exponent:g} would reward cost; it must be 0 "
                "or less."
            )

    def reward(self, accuracy: float, cost: float) -> float:
        """Returns the number that a searcher maximizes.

        Args:
          accuracy: or another score that grows with it, above 0.
          cost: in the target's unit.
        """
        kind = KINDS[self.kind]
        exponent = kind.exponent if self.exponent is None else self.exponent
        return kind.reward(accuracy, cost / self.target, exponent)

    def warn(self, cost: float) -> str | None:
        """Returns a line on a chosen network that misses the target."""
        ratio = cost / self.target
        if abs(ratio - 1) < 0.02 or (self.kind != "mnas" and ratio < 1):
            return None
        text = (
            f"The network found comes to {self.show(cost)}, "
            f"{abs(ratio - 1):.0%} {'above' if ratio > 1 else 'below'} the "
            f"target of {self.show(self.target)}."
        )
        if self.kind == "mnas":
            text += f" {KINDS['mnas'].note} --objective=mnas_hard holds it."
        return text

    def show(self, cost: float) -> str:
        """Returns a cost with its unit: "57.1 M multiply-adds"."""
        unit, divisor = COSTS[self.cost]
        return f"{cost / divisor:.4g} {unit}"


def find_best(rows: Sequence[dict]) -> dict | None:
    """Returns the row with the highest finite "reward"; None without one."""
    known = [
        row
        for row in rows
        if row.get("reward") is not None and math.isfinite(row["reward"])
    ]
    return max(known, key=lambda row: row["reward"], default=None)


def find_front(rows: Sequence[dict]) -> list[dict]:
    """Returns the rows that no other is better and cheaper than, by cost."""
    points = [(row["score"], -row["cost"]) for row in rows]
    # Of equal ones the first.
    front = {points[i]: rows[i] for i in reversed(pareto.pareto_front(points))}
    return sorted(front.values(), key=lambda row: row["cost"])
