"""Optuna's samplers as searchers."""

import warnings
from collections.abc import Sequence
from typing import Any

import optuna

from efficientnet_tf.search.architect import ask_and_tell, spaces

# Generations of 20 suit hundreds of candidates; Optuna's 50 suit thousands.
POPULATION = 20
CONSTRAINT = "constraint"


class Optuna(ask_and_tell.Searcher):
    """A sampler of Optuna; with two objectives cost / target <= 1 is a limit.

    A study in memory has only what was told. What is asked for leaves it at
    once, so that any number of processes may ask.

    Args:
      name: "tpe", "nsga2" or "nsga3".
      *args: as of a searcher.
      two: whether there are two objectives.
      **options: as of a searcher.
    """

    # Asking is slow, and what it repeats costs nothing.
    tries = 3

    def __init__(
        self, name: str, *args: Any, two: bool | None = None, **options: Any
    ):
        super().__init__(*args, **options)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.multi = name != "tpe" if two is None else two
        self._study = optuna.create_study(
            directions=["maximize", "minimize"] if self.multi else ["maximize"],
            sampler=make_sampler(name, self.seed),
        )
        self._distributions = distributions(self.sizes)

    def _propose(self, rng):
        trial = self._study.ask(self._distributions)
        notes = dict(trial.storage.get_trial_system_attrs(trial._trial_id))
        self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return to_genotype(trial.params), notes

    def tell(
        self,
        genotype: spaces.Genotype,
        values: Sequence[float],
        notes: dict[str, Any],
    ) -> None:
        reward, score, ratio = values
        self._study.add_trial(
            optuna.trial.create_trial(
                params=to_params(genotype),
                distributions=self._distributions,
                values=[score, ratio] if self.multi else [reward],
                constraints={CONSTRAINT: ratio - 1} if self.multi else None,
                system_attrs=notes,
            )
        )


def make_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """Returns the sampler of a searcher's name."""
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(
            population_size=POPULATION, seed=seed
        )
    if name == "nsga3":
        with warnings.catch_warnings():
            # It is there since 3.2, and warns that it may change.
            warnings.simplefilter(
                "ignore", optuna.exceptions.ExperimentalWarning
            )
            return optuna.samplers.NSGAIIISampler(
                population_size=POPULATION, seed=seed
            )
    # What is being tried stands in no study in memory.
    return optuna.samplers.TPESampler(
        multivariate=True, seed=seed, constant_liar=False
    )


def distributions(
    sizes: tuple[int, ...],
) -> dict[str, optuna.distributions.BaseDistribution]:
    """Returns a categorical distribution for each decision."""
    return {
        _name(place): optuna.distributions.CategoricalDistribution(range(size))
        for place, size in enumerate(sizes)
    }


def to_params(genotype: spaces.Genotype) -> dict[str, int]:
    """Returns a genotype as a trial's parameters."""
    return {_name(place): index for place, index in enumerate(genotype)}


def to_genotype(params: dict[str, Any]) -> spaces.Genotype:
    """Returns the genotype of a trial's parameters."""
    return tuple(int(params[_name(place)]) for place in range(len(params)))


def _name(place):
    return f"decision{place:03d}"
