"""What all searchers share: asking for candidates, and being told of them.

What one asks depends on its seed, the number of the candidate and what it was
told, so that a search goes on after a kill; `notes` is what a searcher wants to
hear back.
"""

import abc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from efficientnet_tf.search.architect import spaces


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
