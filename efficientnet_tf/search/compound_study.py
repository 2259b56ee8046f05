"""Scaling one dimension against all three: networks grown in four directions.

Figures 3 and 8, Tables 3 and 7 of https://arxiv.org/abs/1905.11946.
"""

import dataclasses
import os
import pathlib
from collections.abc import Collection
from typing import Annotated

from efficientnet_tf.models import published, registry, scaling, variants
from efficientnet_tf.search import directions as directions_lib, trials
from efficientnet_tf.utils import configs

# As in the paper's Tables 3 and 7.
BASES = ("efficientnet_b0", "mobilenet_v1", "mobilenet_v2", "resnet50")
BASE = "base"


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which networks are grown, and to how many times their multiply-adds.

    Each base is taken at `width` and `depth` times its own size and at
    `resolution`, where 0 is the recipe's.
    """

    budget: trials.Budget
    bases: tuple[str, ...] = BASES
    growths: tuple[float, ...] = (4.0,)  # As in the paper's tables.
    directions: tuple[str, ...] = tuple(directions_lib.DIRECTIONS)
    width: Annotated[float, configs.Above(0)] = 1.0
    depth: Annotated[float, configs.Above(0)] = 1.0
    resolution: Annotated[int, variants.ZERO_OR_SIZE] = 0
    alpha: float = scaling.ALPHA
    beta: float = scaling.BETA
    gamma: float = scaling.GAMMA

    def __post_init__(self):
        configs.check(self)
        for field in ("bases", "growths", "directions"):
            values = getattr(self, field)
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{field}={values} must be different values.")
        for growth in self.growths:
            if not 1 < growth < float("inf"):
                raise ValueError(f"growths={self.growths} must be above 1.")
        for direction in self.directions:
            if direction not in directions_lib.DIRECTIONS:
                raise ValueError(
                    configs.unknown(
                        "direction", direction, directions_lib.DIRECTIONS
                    )
                )
        scaling.factors(1, self.alpha, self.beta, self.gamma)
        if self.alpha * self.beta * self.gamma == 1:
            raise ValueError(
                f"alpha={self.alpha}, beta={self.beta} and gamma={self.gamma} "
                "grow nothing."
            )
        for base in self.bases:
            self.base_variant(base)
        if len(set(map(_label, self.bases))) < len(self.bases):
            raise ValueError(
                f"bases={self.bases} must have different names; that of a file "
                "is without its folder."
            )

    def base_variant(self, base: str) -> variants.Variant:
        """Returns the `Variant` that a base starts from."""
        return trials.base_variant(
            base,
            self.budget,
            width=self.width,
            depth=self.depth,
            resolution=self.resolution,
        )


@dataclasses.dataclass(frozen=True)
class Case:
    """A variant of the study: its base, and the direction and growth."""

    base: str
    direction: str
    growth: float
    variant: variants.Variant

    @property
    def name(self) -> str:
        """Its name within the study."""
        if self.direction == BASE:
            return self.base
        return f"{self.base}-{self.direction}-{self.growth:g}"


def cases(plan: Plan) -> list[Case]:
    """Returns all cases, each base before those that grow from it."""
    found = []
    grid = {n: getattr(plan, n) for n in ("alpha", "beta", "gamma")}
    for base in plan.bases:
        begin, label = plan.base_variant(base), _label(base)
        found.append(Case(label, BASE, 1.0, begin))
        for direction in plan.directions:
            options = grid if direction == "compound" else {}
            for growth in plan.growths:
                grown = directions_lib.grow(begin, growth, direction, **options)
                found.append(Case(label, direction, growth, grown))
    return found


def start_study(plan: Plan, workdir: str | os.PathLike) -> None:
    """Creates a study's folder, or checks that it belongs to this plan.

    Raises:
      ValueError: it belongs to another plan.
    """
    found = {case.name: case.variant for case in cases(plan)}
    trials.start_study(plan, found, workdir)


def read_results(plan: Plan, workdir: str | os.PathLike) -> list[dict]:
    """Returns a row per case: counted costs and measured accuracy.

    "growth" is the plan's; "exact_growth" is the actual ratio to the base's
    multiply-adds, after rounding.
    """
    rows: list[dict] = []
    begin: dict[str, int] = {}
    for case in cases(plan):
        row = trials.summarize(case.name, case.variant, plan.budget, workdir)
        begin.setdefault(case.base, row["multiply_adds"])
        rows.append(
            {
                **row,
                "base": case.base,
                "direction": case.direction,
                "growth": case.growth,
                "exact_growth": row["multiply_adds"] / begin[case.base],
            }
        )
    return rows


def published_rows(bases: Collection[str] = BASES) -> list[dict]:
    """Returns the bases' rows of Tables 3 and 7, each with its direction.

    Accuracies are ImageNet top-1 in [0, 1], multiply-adds as published.
    """
    return [
        {
            "base": row.baseline,
            "direction": _direction(row),
            "depth": row.depth,
            "width": row.width,
            "resolution": row.resolution,
            "multiply_adds": row.multiply_adds * 1e9,
            "accuracy": row.top1 / 100,
        }
        for row in (*published.TABLE_7, *published.TABLE_3)
        if row.baseline in bases
    ]


def _label(base):
    """Returns the name of a base; of a variant file, its stem."""
    return pathlib.Path(base).stem if registry.is_file(base) else base


def _direction(row):
    grown = {
        "depth": row.depth > 1,
        "width": row.width > 1,
        "resolution": row.resolution > 224,
    }
    alone = [name for name, is_so in grown.items() if is_so]
    if not alone:
        return BASE
    return alone[0] if len(alone) == 1 else "compound"
