"""Searchers: what to try next, given what was tried."""

import collections
from collections.abc import Callable, Sequence
from typing import Any

from efficientnet_tf.search.architect import ask_and_tell, controller, spaces
from efficientnet_tf.utils import configs, extras

# Regularized evolution, https://arxiv.org/abs/1802.01548: the paper's 100 and
# 25 are for 20,000 candidates; these suit hundreds. Ours.
POPULATION, TOURNAMENT = 25, 8


class Random(ask_and_tell.Searcher):
    """Every candidate as likely, none twice."""

    def _propose(self, rng):
        return spaces.sample(self.sizes, rng), {}

    def tell(
        self,
        genotype: spaces.Genotype,
        values: Sequence[float],
        notes: dict[str, Any],
    ) -> None:
        pass


class Evolution(ask_and_tell.Searcher):
    """Regularized evolution: the best of a sample of the youngest mutates."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self._population: collections.deque = collections.deque(
            maxlen=POPULATION
        )

    def _propose(self, rng):
        if len(self._population) < POPULATION:
            return spaces.sample(self.sizes, rng), {}
        places = rng.choice(POPULATION, TOURNAMENT, replace=False)
        parent = max((self._population[i] for i in places), key=lambda p: p[1])
        return spaces.mutate(parent[0], self.sizes, rng), {}

    def tell(
        self,
        genotype: spaces.Genotype,
        values: Sequence[float],
        notes: dict[str, Any],
    ) -> None:
        self._population.append((genotype, values[0]))


class Ppo(ask_and_tell.Searcher):
    """A controller that learns by proximal policy optimization."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self._controller = controller.Controller(self.sizes)

    def _propose(self, rng):
        genotype, likelihood = self._controller.sample(rng)
        return genotype, {"log_likelihood": likelihood}

    def tell(
        self,
        genotype: spaces.Genotype,
        values: Sequence[float],
        notes: dict[str, Any],
    ) -> None:
        self._controller.learn(genotype, values[0], notes["log_likelihood"])


def _from_optuna(name):
    def make(*args, **options):
        from efficientnet_tf.search.architect import optuna_searchers

        return optuna_searchers.Optuna(name, *args, **options)

    return make


SEARCHERS: dict[str, Callable[..., ask_and_tell.Searcher]] = {
    "random": Random,
    "evolution": Evolution,
    "ppo": Ppo,
    "tpe": _from_optuna("tpe"),
    "nsga2": _from_optuna("nsga2"),
    "nsga3": _from_optuna("nsga3"),
}
OF_OPTUNA = ("tpe", "nsga2", "nsga3")
# These take a front's two objectives.
OF_FRONTS = ("random", *OF_OPTUNA)


def check(name: str, kind: str) -> None:
    """Raises an error for a searcher that cannot be, or not for an objective.

    Args:
      name: of the searcher.
      kind: of the objective.
    """
    if name not in SEARCHERS:
        raise ValueError(configs.unknown("searcher", name, SEARCHERS))
    if kind == "front" and name not in OF_FRONTS:
        raise ValueError(
            f"--objective=front has two objectives, and {name} takes one; "
            f"choose --searcher={', '.join(OF_FRONTS)}."
        )
    if kind != "front" and name in ("nsga2", "nsga3"):
        raise ValueError(
            f"--searcher={name} takes two objectives; choose --objective=front."
        )
    if name in OF_OPTUNA:
        extras.require(f"Searches by {name}", "optuna")
