"""The search for α, β and γ, and the family that they make.

Section 3.3 of https://arxiv.org/abs/1905.11946: with φ = 1, a grid under
α·β²·γ² ≈ 2 on the small network; then the same coefficients for larger φ.
"""

import dataclasses
import itertools
import pathlib

import numpy as np

from efficientnet_tf import (
    configs,
    files,
    networks,
    ranking,
    scaling,
    trials,
    variants,
)

OBJECTIVES = ("accuracy", "weighted", "pareto")
PHIS = tuple(range(8))
FAMILY_FOLDER = "family"
RESULTS_FILE = files.RESULTS_FILE


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is searched, from which base, and what counts as best.

    Coefficients are `step` apart and at least 1; their α·β²·γ² differs from
    `growth` by at most `tolerance`. The objective "weighted" is accuracy ·
    (multiply-adds / target)^cost_exponent, with the target in multiply-adds;
    0: `growth` times the base's.
    """

    base: networks.Scaled
    budget: trials.Budget
    growth: float = 2.0
    tolerance: float = 0.1
    step: float = 0.1
    objective: str = "accuracy"
    target: float = 0.0
    cost_exponent: float = -0.07  # Section 4 of the paper.
    resolution_divisor: int = 1

    def __post_init__(self):
        configs.check_choices(self, {"objective": OBJECTIVES})
        configs.check_range(self, ("step",), "above 0", lambda x: x > 0)
        configs.check_range(self, ("growth",), "at least 1", lambda x: x >= 1)
        configs.check_range(
            self,
            ("tolerance", "target", "resolution_divisor"),
            "not negative",
            lambda x: x >= 0,
        )
        if not coefficients(self):
            raise ValueError(
                f"The grid is empty: no alpha, beta, gamma in steps of "
                f"{self.step} have alpha * beta^2 * gamma^2 within "
                f"{self.tolerance} of {self.growth}; widen the tolerance or "
                "narrow the step."
            )


def coefficients(plan):
    """Returns all (α, β, γ) of the grid, in order."""
    most = plan.growth + plan.tolerance
    values = [
        round(1 + plan.step * i, 6)
        for i in range(int((most - 1) / plan.step + 1e-9) + 1)
    ]
    # Rounded, or a limit that is met exactly would depend on the last bit.
    return [
        (alpha, beta, gamma)
        for alpha, beta, gamma in itertools.product(values, repeat=3)
        if round(abs(alpha * beta**2 * gamma**2 - plan.growth), 9)
        <= plan.tolerance
    ]


def candidates(plan):
    """Returns {name: (α, β, γ)}."""
    return {
        "alpha={:g},beta={:g},gamma={:g}".format(*row): row
        for row in coefficients(plan)
    }


def sample(plan, number):
    """Returns the names of `number` candidates spread over the grid."""
    names = list(candidates(plan))
    places = np.linspace(0, len(names) - 1, min(number, len(names)))
    return [names[round(place)] for place in places]


def start(plan, workdir):
    """Makes a search's folder, or checks that it is this plan's.

    Raises:
      ValueError: it is another plan's.
    """
    trials.start(plan, _networks(plan), workdir)


def check_ranking(plan, names, workdir):
    """Returns how well the seeds agree on who is better: `agreement`.

    Only candidates that all seeds have scored count.
    """
    rows = [trials.read_scores(name, plan.budget, workdir) for name in names]
    whole = [row for row in rows if None not in row]
    return ranking.agreement(np.reshape(whole, (-1, plan.budget.seeds)).T)


def read_results(plan, workdir):
    """Returns a row per candidate: coefficients, cost, accuracy, objective.

    "on_front" says whether no other candidate is both more accurate and
    cheaper.
    """
    scaled = _networks(plan)
    base = networks.count(plan.base).multiply_adds
    rows = []
    for name, (alpha, beta, gamma) in candidates(plan).items():
        row = trials.summarize(name, scaled[name], plan.budget, workdir)
        grid = {"alpha": alpha, "beta": beta, "gamma": gamma}
        row["exact_growth"] = row["multiply_adds"] / base
        rows.append({**row, **grid, "objective": _objective(plan, row)})
    known = [row for row in rows if row["accuracy"] is not None]
    front = ranking.pareto_front(
        [(row["accuracy"], -row["multiply_adds"]) for row in known]
    )
    best = {known[i]["name"] for i in front}
    return [{**row, "on_front": row["name"] in best} for row in rows]


def choose(rows):
    """Returns the best of `read_results`; on a tie, the cheapest.

    Raises:
      RuntimeError: none has an accuracy of all seeds.
    """
    known = [row for row in rows if row["objective"] is not None]
    if not known:
        raise RuntimeError(
            "No candidate came to its end with all seeds; see the runs' "
            f"{RESULTS_FILE}."
        )
    return max(known, key=lambda r: (r["objective"], -r["multiply_adds"]))


def family(plan, chosen, phis=PHIS):
    """Returns a row per φ: the scaled network and its costs.

    Args:
      plan: a `Plan`.
      chosen: a row with "alpha", "beta", "gamma".
      phis: real numbers.
    """
    grid = [chosen[name] for name in ("alpha", "beta", "gamma")]
    rows = []
    for phi in phis:
        network = _compound(plan, phi, grid)
        row = {"phi": phi, **dataclasses.asdict(network)}
        cost = networks.count(network)
        rows.append({**row, **dataclasses.asdict(cost)})
    return rows


def write_family(plan, chosen, workdir, phis=PHIS):
    """Writes a variant file per φ, and returns the rows of `family`."""
    rows = family(plan, chosen, phis)
    folder = pathlib.Path(workdir) / FAMILY_FOLDER
    for row in rows:
        fields = {f.name: row[f.name] for f in dataclasses.fields(plan.base)}
        path = folder / f"phi{row['phi']:g}{variants.FILE_SUFFIX}"
        networks.write(path, networks.Scaled(**fields))
    return rows


def _networks(plan):
    return {
        name: networks.scale(
            plan.base, scaling.factors(1, *row), plan.resolution_divisor
        )
        for name, row in candidates(plan).items()
    }


def _compound(plan, phi, grid):
    network = networks.scale(
        plan.base, scaling.factors(phi, *grid), plan.resolution_divisor
    )
    if plan.base.base not in variants.VARIANTS:
        return network
    # The family's larger networks drop more.
    whole = scaling.compound(phi, base=plan.base.variant)
    return dataclasses.replace(network, dropout=whole.dropout)


def _objective(plan, row):
    accuracy = row["accuracy"]
    if accuracy is None or plan.objective != "weighted":
        return accuracy
    target = plan.target
    if not target:
        target = plan.growth * networks.count(plan.base).multiply_adds
    return accuracy * (row["multiply_adds"] / target) ** plan.cost_exponent
