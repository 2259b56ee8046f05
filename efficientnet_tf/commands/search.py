r"""Searches α, β and γ on a small network, then makes the family.

efficientnet search --base=mobilenet_v1 --width=0.25 --depth=0.5 \
    --resolution=48 --recipe=smoke --seeds=2 --step=0.2 --dataset=cifar10 \
    --train_split='train[:10%]' --eval_split='train[90%:]' --data_dir=DIR \
    --workdir=/tmp/search

Each network trains from scratch with the same budget. Killed at any moment,
the same command goes on; more processes with the same flags, or --workers,
share the work. --rank_check=6 first trains six networks of the grid and says
whether the budget ranks them at all; the search takes over their runs.
"""

import dataclasses

from absl import flags

from efficientnet_tf.commands import program, shared
from efficientnet_tf.models import scaling

BASE = flags.DEFINE_string(
    "base", "efficientnet_b0", "Of the family or the baselines, or a file."
)
WIDTH = flags.DEFINE_float("width", 1.0, "Multiplies the base's filters.")
DEPTH = flags.DEFINE_float("depth", 1.0, "Multiplies the base's repeats.")
RESOLUTION = flags.DEFINE_integer(
    "resolution", 0, "The base's; 0: the recipe's, or the network's own.", 0
)
DATASET = flags.DEFINE_string("dataset", None, "As for `efficientnet train`.")
TRAIN_SPLIT = flags.DEFINE_string("train_split", "train", "To train on.")
EVAL_SPLIT = flags.DEFINE_string("eval_split", "validation", "To choose on.")
RECIPE = flags.DEFINE_string("recipe", "smoke", "A row of recipes.RECIPES.")
SET = flags.DEFINE_multi_string("set", [], "field=value of the recipe.")
SEEDS = flags.DEFINE_integer("seeds", 3, "Runs of each network.", 1)
KEEP = flags.DEFINE_float(
    "keep", 1.0, "Share, the most accurate, that trains with the next seed."
)
GROWTH = flags.DEFINE_float(
    "growth", scaling.GROWTH, "What alpha beta^2 gamma^2 is near."
)
TOLERANCE = flags.DEFINE_float("tolerance", scaling.TOLERANCE, "How near.")
STEP = flags.DEFINE_float("step", 0.1, "Of the grid.")
OBJECTIVE = flags.DEFINE_string(
    "objective", "accuracy", "accuracy, weighted by cost, or pareto."
)
COSTS = flags.DEFINE_list(
    "costs",
    ["multiply_adds"],
    "Of the front; the first is the weight's. Also params, and latency_ms and "
    "memory_mb, which are measured here.",
)
TARGET = flags.DEFINE_float(
    "target", 0.0, "Of the weight, in the cost's unit; 0: growth x the base's."
)
COST_EXPONENT = flags.DEFINE_float(
    "cost_exponent", -0.07, "Of the weight, (cost / target)^exponent."
)
RESOLUTION_DIVISOR = flags.DEFINE_integer(
    "resolution_divisor", 1, "Resolutions are multiples of it.", 1
)
PHIS = flags.DEFINE_list("phis", list("01234567"), "Of the family.")
RANK_CHECK = flags.DEFINE_integer(
    "rank_check", 0, "Train so many of the grid, say how seeds agree, stop.", 0
)
DATA_DIR = flags.DEFINE_string("data_dir", None, "Where TFDS keeps its sets.")
WORKDIR = flags.DEFINE_string("workdir", None, "Runs, tables and plots.")
WORKERS = flags.DEFINE_integer("workers", 1, "Processes on this machine.", 1)
flags.mark_flags_as_required(["dataset", "workdir"])


def main(_: list[str]) -> None:
    from efficientnet_tf.search import compound_search, reports, trials
    from efficientnet_tf.utils import workers

    plan = _make_plan()
    phis = shared.parse_numbers("phis", PHIS.value)
    compound_search.check_phis(plan, phis)
    if RANK_CHECK.value and (RANK_CHECK.value < 3 or SEEDS.value < 2):
        raise ValueError(
            f"--rank_check={RANK_CHECK.value} with --seeds={SEEDS.value} shows "
            "nothing; compare at least 3 networks and 2 seeds."
        )
    shared.check_trials(DATASET.value)
    compound_search.start(plan, WORKDIR.value)
    names = list(compound_search.candidates(plan))
    measured = {}
    if RANK_CHECK.value:
        names = compound_search.sample(plan, RANK_CHECK.value)
        budget = dataclasses.replace(plan.budget, keep=1.0)
        plan = dataclasses.replace(plan, budget=budget)
    elif not workers.is_worker():
        # First: it fails early, and the machine is quiet.
        measured = compound_search.measure(plan, WORKDIR.value)
    shared.run_trials(
        names, plan.budget, WORKDIR.value, DATA_DIR.value, WORKERS.value
    )
    agreement = compound_search.check_ranking(plan, names, WORKDIR.value)
    result = {"networks": len(names), "agreement": agreement}
    if RANK_CHECK.value:
        print(reports.agreement_text(agreement))
        program.print_result(result)
        return
    rows = compound_search.read_results(plan, WORKDIR.value, measured)
    trials.write_results(rows, WORKDIR.value)
    try:
        chosen = compound_search.choose(rows)
    except RuntimeError:
        # What there is.
        reports.write_search(plan, rows, agreement, WORKDIR.value)
        raise
    family = compound_search.write_family(plan, chosen, WORKDIR.value, phis)
    print(reports.write_search(plan, rows, agreement, WORKDIR.value, family))
    fields = ("alpha", "beta", "gamma", "accuracy", "spread", "multiply_adds")
    result["chosen"] = {field: chosen[field] for field in fields}
    result["front"] = [row["name"] for row in rows if row["on_front"]]
    result["report"] = f"{WORKDIR.value}/{reports.REPORT_FILE}"
    program.print_result(result)


def _make_plan():
    from efficientnet_tf.search import compound_search, trials

    budget = trials.Budget(
        dataset=DATASET.value,
        recipe=RECIPE.value,
        settings=tuple(SET.value),
        splits=(TRAIN_SPLIT.value, EVAL_SPLIT.value),
        seeds=SEEDS.value,
        keep=KEEP.value,
    )
    base = trials.base_network(
        BASE.value,
        budget,
        width=WIDTH.value,
        depth=DEPTH.value,
        resolution=RESOLUTION.value,
    )
    return compound_search.Plan(
        base=base,
        budget=budget,
        growth=GROWTH.value,
        tolerance=TOLERANCE.value,
        step=STEP.value,
        objective=OBJECTIVE.value,
        costs=tuple(COSTS.value),
        target=TARGET.value,
        cost_exponent=COST_EXPONENT.value,
        resolution_divisor=RESOLUTION_DIVISOR.value,
    )


if __name__ == "__main__":
    program.run(main)
