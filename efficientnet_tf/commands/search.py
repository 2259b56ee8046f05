r"""Searches α, β and γ on a small network, then makes the family.

efficientnet search --base=mobilenet_v1 --width=0.25 --depth=0.5 \
    --resolution=48 --recipe=smoke --seeds=2 --step=0.2 --dataset=cifar10 \
    --train_split='train[:10%]' --eval_split='train[90%:]' --data_dir=DIR \
    --workdir=/tmp/search

Each network trains from scratch with the same budget. Killed at any moment,
the same command resumes; more processes with the same flags, or --workers,
share the work. --rank_check=6 trains only six networks of the grid and says
whether the budget ranks them at all; the search then reuses their runs.
"""

import dataclasses

from absl import flags

from efficientnet_tf.commands import program, shared, summary
from efficientnet_tf.models import scaling, variants

BASE = flags.DEFINE_string("base", "efficientnet_b0", shared.MODEL_HELP)
WIDTH = flags.DEFINE_float(
    "width", 1.0, "Multiplies the base's filters.", 0, variants.MAX_SCALE
)
DEPTH = flags.DEFINE_float(
    "depth", 1.0, "Multiplies the base's repeats.", 0, variants.MAX_SCALE
)
RESOLUTION = flags.DEFINE_integer(
    "resolution",
    0,
    "Pixels a side of the base; 0: the recipe's, or the network's own.",
    0,
    variants.MAX_SIZE,
)
BUDGET = shared.BudgetFlags(None, "What to choose on.", 3, "network")
KEEP = flags.DEFINE_float(
    "keep", 1.0, "Share of the most accurate that trains with the next seed."
)
GROWTH = flags.DEFINE_float(
    "growth", scaling.GROWTH, "Target of alpha * beta^2 * gamma^2."
)
TOLERANCE = flags.DEFINE_float(
    "tolerance", scaling.TOLERANCE, "How far off it may be."
)
STEP = flags.DEFINE_float(
    "step", 0.1, "Step of the grid of alpha, beta and gamma."
)
OBJECTIVE = flags.DEFINE_string(
    "objective", "accuracy", "accuracy, weighted (by the cost), or pareto."
)
COSTS = flags.DEFINE_list(
    "costs",
    ["multiply_adds"],
    "Costs of the Pareto front, of which the first weighs the accuracy: "
    "multiply_adds, params, and latency_ms and memory_mb, measured here.",
)
TARGET = flags.DEFINE_float(
    "target", 0.0, "Target cost of the weight; 0: growth times the base's."
)
COST_EXPONENT = flags.DEFINE_float(
    "cost_exponent", -0.07, "Exponent of the weight (cost / target)^exponent."
)
RESOLUTION_DIVISOR = flags.DEFINE_integer(
    "resolution_divisor", 1, "Resolutions are multiples of this.", 1
)
PHIS = flags.DEFINE_list(
    "phis", list("01234567"), "Sizes of the family to write."
)
RANK_CHECK = flags.DEFINE_integer(
    "rank_check", 0, "Train only so many networks and compare seeds' ranks.", 0
)
DATA_DIR = flags.DEFINE_string("data_dir", None, shared.DATA_DIR_HELP)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder for runs, tables and plots."
)
WORKERS = flags.DEFINE_integer(
    "workers", 1, shared.WORKERS_HELP, 1, shared.MAX_WORKERS
)
INPUT_WAIT = shared.define_input_wait()
flags.mark_flags_as_required(["dataset", "workdir"])

# Fields of the agreement of seeds, and of the chosen candidate, in the JSON
# line.
RANKING_FIELDS = ("seeds", "rho", "reliability", "chance")
CHOSEN_FIELDS = (
    *("name", "alpha", "beta", "gamma"),
    *("accuracy", "spread", "multiply_adds"),
)


def main(_: list[str]) -> None:
    shared.set_input_wait(INPUT_WAIT.value)
    phis = shared.parse_numbers("phis", PHIS.value)
    from efficientnet_tf.search import compound_search, reports, workflow
    from efficientnet_tf.utils import workers

    plan = _make_plan()
    compound_search.check_phis(plan, phis)
    _check_rank_check()
    shared.check_trials(BUDGET.dataset.value)
    compound_search.start_search(plan, WORKDIR.value)
    names = list(compound_search.candidates(plan))
    measured = {}
    if RANK_CHECK.value:
        names = compound_search.sample(plan, RANK_CHECK.value)
        budget = dataclasses.replace(plan.budget, keep=1.0)
        plan = dataclasses.replace(plan, budget=budget)
    elif not workers.is_worker():
        # First: it fails early, and nothing else runs on the machine yet.
        measured = compound_search.measure(plan, WORKDIR.value)
    shared.run_trials(
        names, plan.budget, WORKDIR.value, DATA_DIR.value, WORKERS.value
    )
    agreement = compound_search.check_ranking(plan, names, WORKDIR.value)
    result = {"networks": len(names), **_describe_ranking(agreement)}
    if RANK_CHECK.value:
        print(reports.agreement_text(agreement))
        program.print_result(result)
        return
    rows, chosen, text = workflow.finish_search(
        plan,
        WORKDIR.value,
        measured=measured,
        agreement=agreement,
        phis=phis,
    )
    print(text)
    report = f"{WORKDIR.value}/{reports.REPORT_FILE}"
    _print_summary(chosen, report)
    result |= {field: chosen[field] for field in CHOSEN_FIELDS}
    result["networks_on_front"] = sum(row["on_front"] for row in rows)
    program.print_result({**result, "report": report})


def _check_rank_check():
    if RANK_CHECK.value and (RANK_CHECK.value < 3 or BUDGET.seeds.value < 2):
        raise ValueError(
            f"--rank_check={RANK_CHECK.value} with "
            f"--seeds={BUDGET.seeds.value} shows nothing; compare at "
            "least 3 networks and 2 seeds."
        )


def _describe_ranking(agreement):
    """Returns the fields of the JSON line that say how well seeds agree."""
    fields = RANKING_FIELDS if agreement else ()
    return {f"ranking_{field}": agreement[field] for field in fields}


def _print_summary(chosen, report):
    from efficientnet_tf.search import compound_search

    folder = f"{WORKDIR.value}/{compound_search.FAMILY_FOLDER}"
    largest = max(shared.parse_numbers("phis", PHIS.value))
    summary.print_summary(
        f"Chosen: alpha {chosen['alpha']:g}, beta {chosen['beta']:g}, gamma "
        f"{chosen['gamma']:g}.",
        {
            "accuracy": f"{100 * chosen['accuracy']:.1f} %",
            "family": f"{folder}/phi*.json",
            "report": report,
        },
        [
            ["efficientnet", "measure", "--table"]
            + [f"--model={folder}/phi{largest:g}.json"]
        ],
    )


def _make_plan():
    from efficientnet_tf.search import compound_search, trials

    budget = BUDGET.make(keep=KEEP.value)
    base = trials.base_variant(
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
    program.run(main, program.RESUMES)
