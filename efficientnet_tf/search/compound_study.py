"""Scaling one dimension against all three: networks grown in four directions.

Figures 3 and 8, Tables 3 and 7 of https://arxiv.org/abs/1905.11946.
"""

import dataclasses
import os
import pathlib
from collections.abc import Collection
from typing import Annotated

from efficientnet_tf.measure import jobs, step_time
from efficientnet_tf.models import (
    plan as plan_lib,
    published,
    registry,
    scaling,
    variants,
)
from efficientnet_tf.search import directions as directions_lib, trials
from efficientnet_tf.utils import configs, files

# As in the paper's Tables 3 and 7.
BASES = ("efficientnet_b0", "mobilenet_v1", "mobilenet_v2", "resnet50")
BASE = "base"
STEPS_FILE = "steps.jsonl"
STEPS = 20  # Of which the median counts.


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which networks are grown, and to how many times their multiply-adds.

    Each base is taken at `width` and `depth` times its own size and at
    `resolution`, where 0 is the recipe's.
    """

    budget: trials.Budget
    bases: tuple[str, ...] = BASES
    growths: tuple[float, ...] = (4.0,)  # As in the paper's tables.
    directions: tuple[str, ...] = directions_lib.UNIFORM
    width: Annotated[float, configs.Above(0)] = 1.0
    depth: Annotated[float, configs.Above(0)] = 1.0
    resolution: Annotated[int, variants.ZERO_OR_SIZE] = 0
    alpha: float = scaling.ALPHA
    beta: float = scaling.BETA
    gamma: float = scaling.GAMMA
    # Of "weighted", see `scaling.Factors`.
    late: float = 1.0
    max_resolution: int = 0
    # Images in a training step that is timed; 0: none is.
    step_batch: Annotated[int, configs.AtLeast(0)] = 0

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
        scaling.factors(1, **self.coefficients("weighted"))
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

    def coefficients(self, direction: str) -> dict[str, float]:
        """Returns what `directions.grow` takes for a direction."""
        names = {
            "compound": ("alpha", "beta", "gamma"),
            "weighted": ("alpha", "beta", "gamma", "late", "max_resolution"),
        }
        return {n: getattr(self, n) for n in names.get(direction, ())}

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
    for base in plan.bases:
        begin, label = plan.base_variant(base), _label(base)
        found.append(Case(label, BASE, 1.0, begin))
        for direction in plan.directions:
            options = plan.coefficients(direction)
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
    multiply-adds, after rounding. "blocks" are those of each stage, "step_ms"
    what `measure_steps` measured, or None.
    """
    rows: list[dict] = []
    step_times = _read_steps(workdir)
    begin: dict[str, int] = {}
    for case in cases(plan):
        row = trials.summarize(case.name, case.variant, plan.budget, workdir)
        begin.setdefault(case.base, row["multiply_adds"])
        rows.append(
            {
                **row,
                "blocks": [
                    len(stage)
                    for stage in plan_lib.plan_network(case.variant).stages
                ],
                "step_ms": step_times.get(case.name),
                "base": case.base,
                "direction": case.direction,
                "growth": case.growth,
                "exact_growth": row["multiply_adds"] / begin[case.base],
            }
        )
    return rows


def measure_steps(plan: Plan, workdir: str | os.PathLike) -> None:
    """Times a training step of each network of a study that has none yet.

    Each in a process of its own; they are kept in the study's folder. Run it on
    a quiet machine, and with one worker.
    """
    path = pathlib.Path(workdir) / STEPS_FILE
    for case in cases(plan):
        if case.name in _read_steps(workdir):
            continue
        job = jobs.Job(
            str(trials.variant_file(workdir, case.name)),
            batch_size=plan.step_batch,
            batches=STEPS,
        )
        row = jobs.run_apart(step_time.measure_step_time, job)
        files.append_json_line(path, {"name": case.name, **row})


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


def _read_steps(workdir):
    """Returns {name: milliseconds} of the networks that were timed."""
    path = pathlib.Path(workdir) / STEPS_FILE
    if not path.exists():
        return {}
    rows = files.read_json_lines(path, {"name": str, "step_ms": float})
    return {row["name"]: row["step_ms"] for row in rows}


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
