"""The search for α, β and γ, and the family that they give.

Section 3.3 of https://arxiv.org/abs/1905.11946: with φ = 1, a grid search under
α·β²·γ² ≈ 2 on the small network; then the same coefficients with larger φ.
"""

import dataclasses
import itertools
import math
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import numpy as np
from absl import logging

from efficientnet_tf.measure import cache, choose as choose_lib, pareto
from efficientnet_tf.models import costs, registry, scaling, variants
from efficientnet_tf.search import ranking, trials
from efficientnet_tf.search.architect import objectives
from efficientnet_tf.utils import configs, files, run_folder

OBJECTIVES = ("accuracy", "weighted", "pareto")
MEASURED = {cost.column: cost for cost in choose_lib.COSTS if cost.part}
COSTS = ("multiply_adds", "params", *MEASURED)
# Fields of a plan that affect the choice, but no run.
CHOICE = ("objective", "costs", "target", "cost_exponent")
PHIS = tuple(range(8))
MAX_VALUES = 200  # Of a coefficient in the grid.
FAMILY_FOLDER = "family"
BASE = "base"


@dataclasses.dataclass(frozen=True)
class Plan:
    """The grid to search, the base network, and the objective.

    Coefficients are `step` apart and at least 1; their α·β²·γ² differs from
    `growth` by at most `tolerance`. `costs` are names from `COSTS`. The
    objective "weighted" is accuracy · (cost / target)^cost_exponent with the
    first of them and the target in its unit; a target of 0 is `growth` times
    the base's cost. The Pareto front is that of accuracy and all `costs`.
    """

    base: variants.Variant
    budget: trials.Budget
    growth: Annotated[float, configs.AtLeast(1)] = scaling.GROWTH
    tolerance: Annotated[float, configs.AtLeast(0)] = scaling.TOLERANCE
    step: Annotated[float, configs.Above(0)] = 0.1
    objective: Annotated[str, configs.OneOf(*OBJECTIVES)] = "accuracy"
    costs: tuple[str, ...] = ("multiply_adds",)
    target: Annotated[float, configs.AtLeast(0)] = 0.0
    cost_exponent: float = -0.07  # Section 4 of the paper.
    resolution_divisor: Annotated[int, configs.AtLeast(1)] = 1

    def __post_init__(self):
        configs.check(self)
        if not self.costs or not set(self.costs) <= set(COSTS):
            raise ValueError(
                f"costs={','.join(self.costs)} must be one or more of "
                f"{', '.join(COSTS)}."
            )
        if self.budget.keep < 1 and self.objective != "accuracy":
            raise ValueError(
                f"keep={self.budget.keep} drops candidates by accuracy alone, "
                f"so the objective cannot be {self.objective!r}."
            )
        if not coefficients(self):
            raise ValueError(
                f"The grid is empty: no alpha, beta, gamma in steps of "
                f"{self.step} have alpha * beta^2 * gamma^2 within "
                f"{self.tolerance} of {self.growth}; widen the tolerance or "
                "narrow the step."
            )


def coefficients(plan: Plan) -> list[tuple[float, float, float]]:
    """Returns all (α, β, γ) of the grid, in order."""
    most = plan.growth + plan.tolerance
    if (most - 1) / plan.step > MAX_VALUES:
        raise ValueError(
            f"step={plan.step} makes {(most - 1) / plan.step:,.0f} values of "
            f"each coefficient; at most {MAX_VALUES} are allowed."
        )
    values = [
        round(1 + plan.step * i, 6)
        for i in range(int((most - 1) / plan.step + 1e-9) + 1)
    ]
    # Rounded, because at the tolerance exactly the last bit would decide.
    return [
        (alpha, beta, gamma)
        for alpha, beta, gamma in itertools.product(values, repeat=3)
        if round(abs(alpha * beta**2 * gamma**2 - plan.growth), 9)
        <= plan.tolerance
    ]


def candidates(plan: Plan) -> dict[str, tuple[float, float, float]]:
    """Returns {name: (α, β, γ)}."""
    return {
        "alpha={:g},beta={:g},gamma={:g}".format(*row): row
        for row in coefficients(plan)
    }


def sample(plan: Plan, number: int) -> list[str]:
    """Returns the names of `number` candidates spread evenly over the grid."""
    names = list(candidates(plan))
    places = np.linspace(0, len(names) - 1, min(number, len(names)))
    return [names[round(place)] for place in places]


def start_search(plan: Plan, workdir: str | os.PathLike) -> None:
    """Creates a search's folder, or checks that its runs belong to this plan.

    The fields in `CHOICE`, and those of `trials.start_study`, may change.

    Raises:
      ValueError: the runs belong to another plan.
    """
    runs = dataclasses.replace(
        plan, **{name: getattr(Plan, name) for name in CHOICE}
    )
    trials.start_study(runs, _variants(plan), workdir)


def check_ranking(
    plan: Plan, names: Iterable[str], workdir: str | os.PathLike
) -> dict | None:
    """Returns how well the seeds agree, see `ranking.agreement`.

    Only candidates with a score from every seed count. It is None if the plan
    selected those by their first scores, which would bias the agreement.
    """
    if plan.budget.keep < 1:
        return None
    rows = [trials.read_scores(name, plan.budget, workdir) for name in names]
    whole = [row for row in rows if None not in row]
    scores = np.array(whole, float).reshape(-1, plan.budget.seeds)
    return ranking.agreement(scores.T)


def measure(
    plan: Plan, workdir: str | os.PathLike
) -> dict[str, dict[str, float]]:
    """Measures the plan's latency and memory costs on this machine.

    For the base and all candidates, in float32: the median latency of one
    image, and the memory that training at the recipe's batch adds to that of
    the bare process. Earlier measurements in the folder are reused.

    Returns:
      {name: {cost: value}}; a candidate that could not be measured lacks it.

    Raises:
      RuntimeError: the base cannot be measured.
    """
    wanted = [MEASURED[name] for name in plan.costs if name in MEASURED]
    if not wanted:
        return {}
    found: dict[str, dict[str, float]] = {}
    for name in _variants(plan):
        found[name] = {}
        for cost in wanted:
            logging.info("%s of %s", cost.text.capitalize(), name)
            try:
                value = _measure(cost, name, plan, pathlib.Path(workdir))
            except RuntimeError as error:
                if name == BASE:
                    raise
                logging.warning("%s: %s", name, error)
                continue
            found[name][cost.column] = value
    return found


def read_results(
    plan: Plan,
    workdir: str | os.PathLike,
    measured: dict[str, dict[str, float]] | None = None,
) -> list[dict]:
    """Returns a row per candidate: coefficients, costs, accuracy, objective.

    "on_front" tells whether it is on the Pareto front of the candidates whose
    accuracy and costs are all known.

    Args:
      plan: of the search.
      workdir: the search's folder.
      measured: the result of `measure`, or None.
    """
    measured = measured or {}
    scaled = _variants(plan)
    base = costs.count_costs(scaled.pop(BASE))
    target = plan.target
    if not target:
        begin = {
            "multiply_adds": base.multiply_adds,
            "params": base.params,
            **measured.get(BASE, {}),
        }
        target = plan.growth * begin.get(plan.costs[0], math.nan)
    rows = []
    for name, (alpha, beta, gamma) in candidates(plan).items():
        row = trials.summarize(name, scaled[name], plan.budget, workdir)
        row |= {"alpha": alpha, "beta": beta, "gamma": gamma}
        row |= dict.fromkeys(MEASURED) | measured.get(name, {})
        row["exact_growth"] = row["multiply_adds"] / base.multiply_adds
        rows.append({**row, "objective": _objective(plan, row, target)})
    known = [
        row
        for row in rows
        if None not in (row["accuracy"], *(row[c] for c in plan.costs))
    ]
    front = pareto.pareto_front(
        [(row["accuracy"], *(-row[c] for c in plan.costs)) for row in known]
    )
    best = {known[i]["name"] for i in front}
    return [{**row, "on_front": row["name"] in best} for row in rows]


def check_phis(plan: Plan, phis: Iterable[float]) -> None:
    """Raises ValueError if a φ gives no network with some coefficients."""
    for phi in phis:
        for row in coefficients(plan):
            _compound(plan, phi, row)


def choose(rows: Sequence[dict]) -> dict:
    """Returns the best row of `read_results`; on a tie, the cheapest.

    Raises:
      RuntimeError: no row has an objective.
    """
    known = [row for row in rows if row["objective"] is not None]
    if not known and any(row["accuracy"] is not None for row in rows):
        raise RuntimeError("No candidate's cost could be measured.")
    if not known:
        raise RuntimeError(
            "No candidate finished with all seeds; the runs' "
            f"{run_folder.RESULTS_FILE} say why."
        )
    return max(known, key=lambda r: (r["objective"], -r["multiply_adds"]))


def make_family(
    plan: Plan, chosen: Mapping[str, float], phis: Iterable[float] = PHIS
) -> dict[float, variants.Variant]:
    """Returns {φ: the scaled `Variant`}.

    Args:
      plan: of the search.
      chosen: a row with "alpha", "beta" and "gamma".
      phis: real numbers.
    """
    grid = [chosen[name] for name in ("alpha", "beta", "gamma")]
    return {phi: _compound(plan, phi, grid) for phi in phis}


def describe_family(
    family: Mapping[float, variants.Variant],
) -> list[dict]:
    """Returns a row per φ of `make_family`: the variant's scale and costs."""
    rows = []
    for phi, variant in family.items():
        cost = costs.count_costs(variant)
        scale = {field: getattr(variant, field) for field in trials.SCALE}
        rows.append(
            {
                "phi": phi,
                **scale,
                "params": cost.params,
                "multiply_adds": cost.multiply_adds,
                "activations": cost.activations,
            }
        )
    return rows


def write_family(
    plan: Plan,
    chosen: Mapping[str, float],
    workdir: str | os.PathLike,
    phis: Iterable[float] = PHIS,
) -> list[dict]:
    """Writes a variant file per φ; returns the rows of `describe_family`."""
    family = make_family(plan, chosen, phis)
    folder = pathlib.Path(workdir) / FAMILY_FOLDER
    for old in folder.glob(f"phi*{registry.FILE_SUFFIX}"):
        files.remove(old)  # From an earlier choice.
    for phi, variant in family.items():
        path = folder / f"phi{phi:g}{registry.FILE_SUFFIX}"
        registry.write_file(path, variant)
    return describe_family(family)


def _measure(cost, name, plan, workdir):
    path = str(workdir / cache.CACHE_FILE)
    trains = cost.column == "memory_mb"
    batch_size = plan.budget.config.micro_batch_size if trains else 1
    bench = cache.Bench(batch_size=batch_size, cache=path)
    job = bench.job(str(trials.variant_file(workdir, name)), None)
    values = cache.measure(cost.part, job, bench)
    value = values[cost.field.format(p=bench.percentile)]
    return value - values["runtime_memory_mb"] if trains else value


def _variants(plan):
    """Returns {name: `Variant`} of the base and of all candidates."""
    return {BASE: plan.base} | {
        name: scaling.scale(
            plan.base, scaling.factors(1, *row), plan.resolution_divisor
        )
        for name, row in candidates(plan).items()
    }


def _compound(plan, phi, grid):
    by = scaling.factors(phi, *grid)
    return scaling.grow(plan.base, phi, by, plan.resolution_divisor)


def _objective(plan, row, target):
    accuracy, cost = row["accuracy"], row[plan.costs[0]]
    if accuracy is None or plan.objective != "weighted":
        return accuracy
    if cost is None or math.isnan(target):
        return None
    return objectives.weigh(accuracy, cost / target, plan.cost_exponent)
