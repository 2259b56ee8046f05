"""The candidates of a search, tried by one process or several."""

import contextlib
import os
import time
from collections.abc import Callable

from absl import logging

from efficientnet_tf.search import trials
from efficientnet_tf.search.architect import evaluators, plans, storages
from efficientnet_tf.utils import run_lock, workers

# A search whose first candidates all fail has a fault of its own.
MAX_FIRST_FAILURES = 5

Cost = Callable[[evaluators.Job], float]


def work(
    plan: plans.Plan,
    workdir: str | os.PathLike,
    cost: Cost,
    *,
    storage: storages.Storage | None = None,
    data_dir: str | None = None,
    on_run: Callable[[], object] | None = None,
) -> None:
    """Tries candidates until all of the plan's have an outcome.

    A candidate whose process was killed is tried again by the next process
    that looks; one that fails is recorded as failed.

    Args:
      plan: of the search.
      workdir: its folder, which `plans.start` made.
      cost: the objective's, of a candidate.
      storage: of candidates and outcomes; None: the folder's files.
      data_dir: where TFDS keeps its data sets.
      on_run: called after each candidate of this process.

    Raises:
      RuntimeError: the first candidates all failed.
    """
    storage = storage or storages.Files(workdir)
    _Worker(plan, workdir, cost, storage, data_dir).work(on_run)


def count(plan: plans.Plan, storage: storages.Storage) -> tuple[int, int]:
    """Returns how many candidates have ended, and how many there are."""
    return min(len(storage.read_outcomes()), plan.trials), plan.trials


def read_rows(plan: plans.Plan, storage: storages.Storage) -> list[dict]:
    """Returns a row for each candidate that has ended, in order of its end.

    With "number", "genotype", and either "failed", or "score", "cost",
    "reward" and what else the evaluator found.
    """
    # Outcomes first: what has one was asked for before.
    ended = storage.read_outcomes()
    asked = storage.read_candidates()
    rows = []
    for number, outcome in ended.items():
        if number not in asked or number >= plan.trials:
            continue
        row = {**outcome, "genotype": tuple(asked[number]["genotype"])}
        if "failed" not in row:
            row["reward"] = plan.objective.reward(row["score"], row["cost"])
        rows.append(row)
    return rows


def try_job(job: evaluators.Job, cost: Cost) -> dict:
    """Returns what came of a candidate: {"failed": why}, or its score and cost.

    Args:
      job: the candidate.
      cost: of it, unless its evaluator knows or it can be counted.
    """
    try:
        found = evaluators.EVALUATORS[job.plan.evaluator].evaluate(job)
        if job.variant is not None:
            found = {**plans.count(job.variant), **found}
        field = job.plan.objective.cost
        return {**found, "cost": found[field] if field in found else cost(job)}
    except run_lock.InUse:
        raise
    except Exception as error:
        known = isinstance(error, ValueError | RuntimeError)
        if not known and not workers.is_runs_own(error):
            raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        logging.warning("%s failed: %s", job.name, lines[0])
        return {"failed": lines[0]}


class _Worker:
    def __init__(self, plan, workdir, cost, storage, data_dir):
        self._plan, self._workdir, self._storage = plan, workdir, storage
        self._cost, self._data_dir = cost, data_dir
        self._searcher = plan.make_searcher()
        self._noted: set[int] = set()
        self._told: set[int] = set()
        self._known: dict[tuple, dict] = {}

    def work(self, on_run):
        while True:
            with contextlib.ExitStack() as held:
                with self._storage.lock():
                    claimed, left = self._claim(held)
                if claimed is None and not left:
                    return
                if claimed is not None:
                    self._try(*claimed)
            if claimed is None:
                time.sleep(workers.POLL_SECONDS)
            elif on_run is not None:
                on_run()

    def _claim(self, held):
        """Returns (number, genotype) of this process's, or None; what is left.

        The caller holds the search's lock; `held` gets the candidate's.
        """
        asked = self._storage.read_candidates()
        ended = self._storage.read_outcomes()
        self._catch_up(asked, ended)
        left = [n for n in asked if n not in ended and n < self._plan.trials]
        for number in left:
            if self._storage.hold(number, held):
                return (number, tuple(asked[number]["genotype"])), left
        number = len(asked)
        if number >= self._plan.trials:
            return None, left
        genotype, notes = self._searcher.ask(number)
        self._storage.add(number, genotype, notes)
        if not self._storage.hold(number, held):
            return None, [*left, number]
        return (number, genotype), [*left, number]

    def _catch_up(self, asked, ended):
        """Tells the searcher what is new."""
        for number, row in asked.items():
            if number not in self._noted:
                self._noted.add(number)
                self._searcher.note(tuple(row["genotype"]))
        for number, outcome in ended.items():
            if number in self._told or number not in asked:
                continue
            self._told.add(number)
            genotype = tuple(asked[number]["genotype"])
            self._known[genotype] = outcome
            if "failed" in outcome:
                continue
            objective = self._plan.objective
            score, cost = outcome["score"], outcome["cost"]
            values = objective.reward(score, cost), score
            self._searcher.tell(
                genotype,
                (*values, cost / objective.target),
                asked[number]["notes"],
            )

    def _try(self, number, genotype):
        begin = time.monotonic()
        if genotype in self._known:  # It would come out the same.
            outcome = {**self._known[genotype], "seconds": 0.0}
        else:
            outcome = self._evaluate(number, genotype)
            outcome["seconds"] = round(time.monotonic() - begin, 3)
        with self._storage.lock():
            self._storage.end(number, outcome)
            ended = list(self._storage.read_outcomes().values())
        if len(ended) >= MAX_FIRST_FAILURES and all(
            "failed" in row for row in ended
        ):
            raise RuntimeError(
                f"All of the first {len(ended)} candidates failed, the last: "
                f"{ended[-1]['failed']}"
            )

    def _evaluate(self, number, genotype):
        """Returns a candidate's outcome, or that it failed."""
        with self._storage.attempt(number) as attempts:
            if attempts > trials.MAX_KILLS:
                return {
                    "failed": f"killed {trials.MAX_KILLS} times, maybe out of "
                    "memory"
                }
            space = self._plan.space
            job = evaluators.Job(
                self._plan,
                storages.name(number),
                genotype,
                space.decode(genotype) if space else None,
                self._workdir,
                self._data_dir,
            )
            return try_job(job, self._cost)
