"""What a search for a baseline is: its space, objective, searcher, budget."""

import dataclasses
import os
from collections.abc import Callable
from typing import Annotated

from efficientnet_tf.models import costs as costs_lib, variants
from efficientnet_tf.search import trials
from efficientnet_tf.search.architect import (
    ask_and_tell,
    objectives,
    searchers,
    spaces,
)
from efficientnet_tf.utils import configs, run_folder

MAX_TRIALS = 1_000_000


@dataclasses.dataclass(frozen=True)
class Plan:
    """A search. Its folder serves any number of `trials`.

    `space` is None for a benchmark, whose file is `benchmark` and whose
    networks are no `Variant`; `sizes` are then those of the benchmark.
    `supernet` is the folder of one to score by; None: in the search's own.
    """

    space: spaces.Space | None
    sizes: tuple[int, ...]
    objective: objectives.Objective
    searcher: str
    evaluator: str
    budget: trials.Budget | None = None
    benchmark: str | None = None
    supernet: str | None = None
    seed: int = 0
    trials: Annotated[int, configs.AtLeast(1, MAX_TRIALS)] = 100

    def __post_init__(self):
        searchers.check(self.searcher, self.objective.kind)
        if not 1 <= self.trials <= MAX_TRIALS:
            raise ValueError(
                f"trials={self.trials} must be between 1 and {MAX_TRIALS}."
            )

    def make_searcher(self) -> ask_and_tell.Searcher:
        """Returns the searcher, which was told nothing yet."""
        options = {}
        if self.searcher == "tpe":
            options["two"] = self.objective.kind == "front"
        is_legal = self.space.is_legal if self.space else (lambda _: True)
        make = searchers.SEARCHERS[self.searcher]
        return make(self.sizes, is_legal, seed=self.seed, **options)


def start(plan: Plan, workdir: str | os.PathLike) -> None:
    """Creates a search's folder, or checks that it belongs to this plan.

    Raises:
      OSError: the folder cannot be used.
      ValueError: it belongs to another plan.
    """
    run_folder.start_study(dataclasses.replace(plan, trials=1), workdir)


def count(variant: variants.Variant) -> dict[str, int]:
    """Returns the costs that are counted, and the depth in blocks."""
    cost = costs_lib.count_costs(variant)
    stages = cost.stages[1:-2] if variant.head != "none" else cost.stages[1:-1]
    return {
        "multiply_adds": cost.multiply_adds,
        "params": cost.params,
        "depth": sum(stage.repeats for stage in stages),
    }


def find_cheapest(
    space: spaces.Space, cost: Callable[[variants.Variant], float]
) -> spaces.Genotype:
    """Returns the cheapest legal genotype, going from neighbour to neighbour.

    Costs rise with each field of a stage, so this ends at the cheapest of all,
    or very near where two kinds of block change places.
    """
    # Few strides are illegal; the first legal choice of each is enough.
    genotype = _first_legal(space)
    best = cost(space.decode(genotype))
    improved = True
    while improved:
        improved = False
        for other in spaces.neighbors(genotype, space.sizes):
            if not space.is_legal(other):
                continue
            found = cost(space.decode(other))
            if found < best:
                genotype, best, improved = other, found, True
                break
    return genotype


def check_target(plan: Plan, cost: Callable[[variants.Variant], float]) -> None:
    """Raises ValueError for a target that no network meets.

    Args:
      plan: of a search in a space.
      cost: the objective's, of a network.
    """
    if plan.space is None:
        return
    counted = plan.objective.cost in objectives.COUNTED
    field = plan.objective.cost if counted else "multiply_adds"
    genotype = find_cheapest(plan.space, lambda v: count(v)[field])
    least = cost(plan.space.decode(genotype))
    if least > plan.objective.target:
        raise ValueError(
            f"no network of the space meets the target of "
            f"{plan.objective.show(plan.objective.target)}: the nearest comes "
            f"to {plan.objective.show(least)}."
        )


def _first_legal(space):
    start = tuple(
        decision.values.index(min(decision.values))
        if decision.field == "strides"
        else 0
        for decision in space.decisions
    )
    return start
