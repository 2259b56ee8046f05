"""Searchers: what to try next, given what was tried.

All are ask and tell. What one asks depends on its seed, the number of the
candidate and what it was told, so that a search goes on after a kill as it
would have without; `notes` is what a searcher wants to hear back.
"""

import abc
import collections
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from efficientnet_tf.search.architect import controller, spaces
from efficientnet_tf.utils import configs, extras

# Regularized evolution, https://arxiv.org/abs/1802.01548: the paper's 100 and
# 25 are for 20,000 candidates; these suit hundreds. Ours.
POPULATION, TOURNAMENT = 25, 8


class Searcher(abc.ABC):
    """Asks for candidates of a space, and is told their rewards.

    Args:
      sizes: the number of values of each decision.
      is_legal: whether a genotype may be tried.
      seed: makes another search of it.
    """

    # To find a candidate that is new and legal; after that a legal one that was
    # asked before is taken, whose score is known.
    tries = 100

    def __init__(
        self,
        sizes: tuple[int, ...],
        is_legal: Callable[[spaces.Genotype], bool] = lambda _: True,
        seed: int = 0,
    ):
        self.sizes, self.is_legal, self.seed = sizes, is_legal, seed
        self.asked: set[spaces.Genotype] = set()

    def ask(self, number: int) -> tuple[spaces.Genotype, dict[str, Any]]:
        """Returns the genotype to try as candidate `number`, and notes.

        Raises:
          RuntimeError: no legal one was found.
        """
        rng = np.random.default_rng((self.seed, number))
        legal = None
        for _ in range(self.tries):
            genotype, notes = self._propose(rng)
            if not self.is_legal(genotype):
                continue
            if genotype not in self.asked:
                return genotype, notes
            legal = genotype, notes
        if legal is None:
            raise RuntimeError(
                f"None of {self.tries} proposals strides within the image; "
                "give the space fewer strides."
            )
        return legal

    def note(self, genotype: spaces.Genotype) -> None:
        """Notes that a candidate is being tried, by whomever."""
        self.asked.add(genotype)

    @abc.abstractmethod
    def _propose(self, rng):
        """Returns a genotype and notes."""

    @abc.abstractmethod
    def tell(
        self,
        genotype: spaces.Genotype,
        values: Sequence[float],
        notes: dict[str, Any],
    ) -> None:
        """Takes what came of a candidate.

        Args:
          genotype: of the candidate.
          values: the reward, the score, and cost / target.
          notes: of `ask`.
        """


class Random(Searcher):
    """Every candidate as likely, none twice."""

    def _propose(self, rng):
        return spaces.sample(self.sizes, rng), {}

    def tell(self, genotype, values, notes):
        pass


class Evolution(Searcher):
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

    def tell(self, genotype, values, notes):
        self._population.append((genotype, values[0]))


class Ppo(Searcher):
    """A controller that learns by proximal policy optimization."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self._controller = controller.Controller(self.sizes)

    def _propose(self, rng):
        genotype, likelihood = self._controller.sample(rng)
        return genotype, {"log_likelihood": likelihood}

    def tell(self, genotype, values, notes):
        self._controller.learn(genotype, values[0], notes["log_likelihood"])


def _from_optuna(name):
    def make(*args, **options):
        from efficientnet_tf.search.architect import optuna_searchers

        return optuna_searchers.Optuna(name, *args, **options)

    return make


SEARCHERS: dict[str, Callable[..., Searcher]] = {
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
