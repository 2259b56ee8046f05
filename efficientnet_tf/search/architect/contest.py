"""Searchers against one another on a table, where an evaluation is free."""

from collections.abc import Sequence

import numpy as np

from efficientnet_tf.search.architect import objectives, searchers, tabular

# After so many evaluations the best so far is looked at.
STEPS = (25, 50, 100, 200)


def run_one(
    name: str, table: tabular.Table, limit: float, seed: int, evaluations: int
) -> np.ndarray:
    """Returns the regret after each evaluation of one search.

    The searcher sees the accuracy of one of the trainings, by `seed`; the
    regret is by the mean of all: how far the network that it would choose,
    of those within the limit, is from the best there is. Before one is within
    the limit, the regret is all of the best's accuracy.

    Args:
      name: one of `searchers.SEARCHERS`.
      table: the benchmark.
      limit: the most multiply-adds.
      seed: of the search.
      evaluations: how many.
    """
    kind = "front" if name in ("nsga2", "nsga3") else "mnas_hard"
    objective = objectives.Objective(limit, kind)
    searcher = searchers.SEARCHERS[name](tabular.SIZES, seed=seed)
    best, regrets, chosen = table.best(limit), [], None
    means = table.accuracies.mean(axis=1)
    for number in range(evaluations):
        genotype, notes = searcher.ask(number)
        searcher.note(genotype)
        row = table.index[genotype]
        score = float(table.accuracies[row, seed % tabular.SEEDS])
        cost = float(table.multiply_adds[row])
        reward = objective.reward(score, cost)
        searcher.tell(genotype, (reward, score, cost / limit), notes)
        if cost <= limit and (chosen is None or score > chosen[0]):
            chosen = score, row
        regrets.append(best - (means[chosen[1]] if chosen else 0.0))
    return np.array(regrets)


def compare(
    names: Sequence[str],
    table: tabular.Table,
    limit: float,
    *,
    runs: int,
    evaluations: int,
) -> dict[str, np.ndarray]:
    """Returns {name: regrets [runs, evaluations]}, with seeds 0, 1, ..."""
    return {
        name: np.array(
            [
                run_one(name, table, limit, seed, evaluations)
                for seed in range(runs)
            ]
        )
        for name in names
    }


def summarize(
    regrets: dict[str, np.ndarray], steps: Sequence[int] = STEPS
) -> list[dict]:
    """Returns a row for each searcher, with a paired test against random.

    "p" is that of Wilcoxon's signed-rank test, one-sided, that its regrets at
    the last step are lower than random's with the same seed; None for random.
    """
    from scipy import stats

    last = steps[-1] - 1
    rows = []
    for name, found in regrets.items():
        row = {"searcher": name, "runs": len(found)}
        for step in steps:
            row[f"regret_{step}"] = float(found[:, step - 1].mean())
        row["error"] = float(found[:, last].std(ddof=1) / len(found) ** 0.5)
        row["p"] = None
        if name != "random" and "random" in regrets:
            less = found[:, last] - regrets["random"][:, last]
            if less.any():
                row["p"] = float(
                    stats.wilcoxon(less, alternative="less").pvalue
                )
        rows.append(row)
    return rows
