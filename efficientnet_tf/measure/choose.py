"""The most accurate network within budgets that are measured here."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

from absl import logging

from efficientnet_tf.measure import cache, jobs, pareto
from efficientnet_tf.models import costs, plan, published, registry, variants
from efficientnet_tf.utils import configs, files


@dataclasses.dataclass(frozen=True)
class BudgetedCost:
    """A cost: its column in a row, and the field of `Limits` that bounds it.

    `part` of `cost_table.PARTS` measures it as `field`; without a part, it is
    counted.
    """

    column: str
    limit: str
    text: str
    part: str | None = None
    field: str = ""
    unit: str = ""
    digits: int = 0


COSTS = (
    BudgetedCost("params", "max_params", "parameters"),
    BudgetedCost(
        "latency_ms",
        "max_latency_ms",
        "latency",
        part="measure_latency",
        field="latency_p{p}_ms",
        unit=" ms",
        digits=1,
    ),
    BudgetedCost(
        "memory_mb",
        "max_memory",
        "memory",
        part="measure_training_memory",
        field="training_memory_mb",
        unit=" MB",
    ),
)

VERDICTS = {
    "meets": "within the limits",
    "over": "over a limit",
    # No smaller in any dimension than a network measured over its limit.
    "skipped": "not measured",
    "failed": "could not be measured",
}


@dataclasses.dataclass(frozen=True)
class Limits:
    """Budgets; None: no limit.

    Latency is that of one batch, memory the peak of training on a batch, in
    MB; `min_top1` is in percent.
    """

    max_latency_ms: float | None = None
    max_params: float | None = None
    max_memory: float | None = None
    min_top1: float | None = None

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be above 0, got {value!r}.")
        if self.min_top1 is not None and self.min_top1 >= 100:
            raise ValueError(
                f"min_top1 is in percent, below 100; got {self.min_top1!r}."
            )
        if not self.costs:
            raise ValueError(
                "Give at least one of "
                f"{', '.join(cost.limit for cost in COSTS)}."
            )

    @property
    def costs(self) -> list[BudgetedCost]:
        """The `COSTS` that have a limit."""
        return [c for c in COSTS if getattr(self, c.limit) is not None]


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A network at a resolution, and its top-1 accuracy in percent."""

    model: str
    resolution: int
    top1: float
    classes: int = 1000

    @property
    def label(self) -> str:
        """The network's short name, with a resolution that is not its own."""
        name = variants.short_name(self.model)
        if self.resolution == registry.get_variant(self.model).resolution:
            return name
        return f"{name} at {self.resolution}"


def published_candidates() -> list[Candidate]:
    """Returns the networks whose ImageNet top-1 is published.

    They are at their own resolution; B0 also comes at that of Table 7.
    """
    found = [
        Candidate(name, variants.VARIANTS[name].resolution, row.top1)
        for name, row in published.VARIANTS.items()
    ]
    known = {(c.model, c.resolution) for c in found}
    return found + [
        Candidate(row.baseline, row.resolution, row.top1)
        for row in published.TABLE_7
        if row.depth == row.width == 1
        and (row.baseline, row.resolution) not in known
    ]


def own_candidates(
    rows: Sequence[dict], task: str | None = None
) -> list[Candidate]:
    """Returns the networks of transfer results, with the best run of each.

    Args:
      rows: dicts with "task", "model", "resolution" and "mean", the mean score
        over seeds. If any are of test images, only those count.
      task: whose rows count; needed if there are several tasks.

    Raises:
      ValueError: no rows of that task, several tasks and none given, or an
        unknown model.
      FileNotFoundError: a model's variant file is gone.
    """
    tasks = sorted({row["task"] for row in rows})
    if task is None and len(tasks) > 1:
        raise ValueError(
            f"The results are of several tasks; choose one of "
            f"{', '.join(tasks)}."
        )
    if task is not None and task not in tasks:
        raise ValueError(
            f"No results of task {task!r}; choose one of {', '.join(tasks)}."
            + configs.suggest(task, tasks)
        )
    rows = [row for row in rows if task in (None, row["task"])]
    tested = [r for r in rows if r.get("evaluated_on", "test") == "test"]
    found = {}
    for row in sorted(tested or rows, key=lambda row: row["mean"]):
        name = row["model"]
        own = registry.get_variant(name).resolution
        key = (name, row.get("resolution") or own)
        classes = len(row.get("class_names") or ()) or 1000
        found[key] = Candidate(*key, 100 * row["mean"], classes)
    return list(found.values())


def survey(
    candidates: Iterable[Candidate],
    limits: Limits,
    bench: cache.Bench,
    measure: Callable[[str, jobs.Job, cache.Bench], dict] | None = None,
) -> list[dict]:
    """Counts and measures networks, cheapest first; skips what cannot fit.

    Args:
      candidates: the networks to choose from.
      limits: the budgets.
      bench: how to measure.
      measure: called with a name of `cost_table.PARTS`, the job and `bench`;
        None: `cache.measure`.

    Returns:
      A dict for each: "model", "resolution", "top1", "label", the columns of
      `COSTS` (None if not measured), "multiply_adds", "verdict" (a key of
      `VERDICTS`), "note" and "on_front".
    """
    files.check_folder(bench.path.parent)
    rows = sorted(map(_start_row, candidates), key=lambda r: r["multiply_adds"])
    for number, row in enumerate(rows):
        row.update(_rule_out(row, rows[:number], limits))
        if row["verdict"]:
            continue
        place = f"{row['label']} ({number + 1} of at most {len(rows)})"
        try:
            _measure(row, place, limits, bench, measure or cache.measure)
        except RuntimeError as error:
            logging.warning("%s: %s", row["label"], error)
            row.update(verdict="failed", note=str(error))
            continue
        over = [text for text, ratio in _ratios(row, limits) if ratio > 1]
        row.update(verdict="over" if over else "meets", note=", ".join(over))
    _mark_front(rows, limits)
    return rows


def choose(rows: Sequence[dict], limits: Limits) -> dict:
    """Returns the most accurate row of `survey` that meets the limits.

    On a tie it is the one with the fewest multiply-adds.

    Raises:
      RuntimeError: no row does; names the nearest.
    """
    found = best(rows)
    if found is not None:
        return found
    failed = [row for row in rows if row["verdict"] == "failed"]
    over = [row for row in rows if row["verdict"] == "over"]
    # Networks with too many parameters were not measured.
    measured = [row for row in over if _is_complete(row, limits)]
    if failed and not measured:
        raise RuntimeError(f"Nothing could be measured: {failed[0]['note']}")
    nearest = min(
        measured or over,
        key=lambda row: max(ratio for _, ratio in _ratios(row, limits)),
    )
    has = ", ".join(text for text, _ in _ratios(nearest, limits))
    raise RuntimeError(
        f"No network meets the limits. The nearest is {nearest['model']} at "
        f"{nearest['resolution']} pixels: {has}."
    )


def best(rows: Iterable[dict]) -> dict | None:
    """Returns the row that `choose` returns; None if none meets the limits."""
    fit = [row for row in rows if row["verdict"] == "meets"]
    return max(
        fit,
        key=lambda row: (row["top1"], -row["multiply_adds"]),
        default=None,
    )


def value_text(cost: BudgetedCost, value: float | None) -> str:
    """Returns a cost's value as text with its unit; "-" for None."""
    if value is None:
        return "-"
    return f"{value:,.{cost.digits}f}{cost.unit}"


def _start_row(candidate):
    found = costs.count_costs(
        candidate.model, candidate.resolution, candidate.classes
    )
    return {
        "model": candidate.model,
        "resolution": candidate.resolution,
        "label": candidate.label,
        "top1": candidate.top1,
        **{cost.column: None for cost in COSTS},
        "params": found.params,
        "multiply_adds": found.multiply_adds,
        "verdict": "",
        "note": "",
        "on_front": False,
    }


def _rule_out(row, cheaper, limits):
    """Returns verdict and note if a row need not be measured, else {}."""
    counted = [text for text, ratio in _ratios(row, limits, False) if ratio > 1]
    if counted:
        return {"verdict": "over", "note": ", ".join(counted)}
    for other in cheaper:
        missed = [r for _, r in _ratios(other, limits, True) if r > 1]
        if missed and _contains(row, other):
            return {
                "verdict": "skipped",
                "note": f"no smaller than {other['label']}",
            }
    return {}


def _contains(row, other):
    """Whether a network is no smaller in any dimension than a related one.

    Its stages are the other's, with as many blocks and filters or more; stages
    of its own may follow, as in V2-M after those of V2-S.
    """
    large, small = (plan.plan_network(r["model"]) for r in (row, other))
    return (
        row["resolution"] >= other["resolution"]
        and large.stem_filters >= small.stem_filters
        and large.head_filters >= small.head_filters
        and len(large.stages) >= len(small.stages)
        and all(map(_has_stage, large.stages, small.stages))
    )


def _has_stage(large, small):
    kinds = {
        (
            x.block,
            x.kernel_size,
            x.expand_ratio,
            x.strides,
            x.squeezed_filters > 0,
        )
        for x in (large[0], small[0])
    }
    return (
        len(kinds) == 1
        and len(large) >= len(small)
        and large[0].filters >= small[0].filters
    )


def _measure(row, place, limits, bench, measure):
    job = bench.job(row["model"], row["resolution"])
    for cost in limits.costs:
        if cost.part is None:
            continue
        logging.info("%s of %s", cost.text.capitalize(), place)
        found = measure(cost.part, job, bench)
        row[cost.column] = found[cost.field.format(p=bench.percentile)]


def _ratios(row, limits, measured=None):
    """Yields (text, value / limit) for each known value of a row.

    `measured` restricts it to measured (True) or counted (False) costs.
    Accuracy counts by its error, so that a point is worth more near 100.
    """
    for cost in limits.costs:
        value = row[cost.column]
        if value is None or measured not in (None, bool(cost.part)):
            continue
        limit = getattr(limits, cost.limit)
        text = f"{value_text(cost, value)} of {limit:,.10g}{cost.unit}"
        yield f"{cost.text} {text}", value / limit
    if limits.min_top1 is not None and measured is None:
        text = f"top-1 {row['top1']:.1f} of {limits.min_top1:g}"
        yield text, (100 - row["top1"]) / (100 - limits.min_top1)


def _mark_front(rows, limits):
    columns = [cost.column for cost in limits.costs]
    known = [row for row in rows if _is_complete(row, limits)]
    points = [[r["top1"], *(-r[c] for c in columns)] for r in known]
    for i in pareto.pareto_front(points):
        known[i]["on_front"] = True


def _is_complete(row, limits):
    return all(row[cost.column] is not None for cost in limits.costs)
