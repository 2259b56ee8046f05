r"""Scales depth, width, resolution or all three at equal cost.

efficientnet study --bases=mobilenet_v1,mobilenet_v2 \
    --width=0.25 --depth=0.5 --resolution=48 --recipe=smoke --seeds=1 \
    --dataset=cifar10 --train_split='train[:10%]' --eval_split='train[90%:]' \
    --data_dir=DIR --workdir=/tmp/study

Each network trains from scratch with the same budget; costs are exact, and the
paper's accuracies stand beside those measured. Killed at any moment, the same
command resumes; more processes with the same flags, or --workers, share the
work. --costs only counts.
"""

from absl import flags

from efficientnet_tf.commands import program, shared, summary
from efficientnet_tf.models import scaling, variants
from efficientnet_tf.utils import run_folder

MAX_STEP_BATCH = 4096

BASES = flags.DEFINE_list(
    "bases",
    ["efficientnet_b0", "mobilenet_v1", "mobilenet_v2", "resnet50"],
    "Names or variant files to scale.",
)
GROWTHS = flags.DEFINE_list("growths", ["4"], "Factors of the multiply-adds.")
DIRECTIONS = flags.DEFINE_list(
    "directions",
    ["depth", "width", "resolution", "compound"],
    "What is scaled: depth, width, resolution, compound (all three), weighted "
    "(later stages more, as in EfficientNetV2).",
)
WIDTH = flags.DEFINE_float(
    "width", 1.0, "Multiplies the bases' filters.", 0, variants.MAX_SCALE
)
DEPTH = flags.DEFINE_float(
    "depth", 1.0, "Multiplies the bases' repeats.", 0, variants.MAX_SCALE
)
RESOLUTION = flags.DEFINE_integer(
    "resolution",
    0,
    "Pixels a side of the bases; 0: the recipe's, or each network's own.",
    0,
    variants.MAX_SIZE,
)
ALPHA = flags.DEFINE_float("alpha", scaling.ALPHA, "Of compound: depth.")
BETA = flags.DEFINE_float("beta", scaling.BETA, "Of compound: width.")
GAMMA = flags.DEFINE_float("gamma", scaling.GAMMA, "Of compound: resolution.")
LATE = flags.DEFINE_float(
    "late", 1.0, "Of weighted: 0 deepens all stages alike.", 0, 1
)
MAX_RESOLUTION = flags.DEFINE_integer(
    "max_resolution",
    0,
    "Of weighted: pixels a side at most; 0: no cap.",
    0,
    variants.MAX_SIZE,
)
STEP_BATCH = flags.DEFINE_integer(
    "step_batch",
    0,
    "Also time training steps of so many images, on a quiet machine; 0: none.",
    0,
    MAX_STEP_BATCH,
)
BUDGET = shared.BudgetFlags(None, "What to score on.", 3, "network")
COSTS = flags.DEFINE_boolean("costs", False, "Count costs; train nothing.")
DATA_DIR = flags.DEFINE_string("data_dir", None, shared.DATA_DIR_HELP)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder for runs, table and plot."
)
WORKERS = flags.DEFINE_integer(
    "workers", 1, shared.WORKERS_HELP, 1, shared.MAX_WORKERS
)
flags.mark_flags_as_required(["dataset", "workdir"])


def main(_: list[str]) -> None:
    growths = shared.parse_numbers("growths", GROWTHS.value)
    from efficientnet_tf.search import compound_study, reports, trials

    plan = _make_plan(tuple(growths))
    shared.check_trials(BUDGET.dataset.value, trains=not COSTS.value)
    compound_study.start_study(plan, WORKDIR.value)
    if plan.step_batch:
        compound_study.measure_steps(plan, WORKDIR.value)
    if not COSTS.value:
        shared.run_trials(
            [case.name for case in compound_study.cases(plan)],
            plan.budget,
            WORKDIR.value,
            DATA_DIR.value,
            WORKERS.value,
        )
    rows = compound_study.read_results(plan, WORKDIR.value)
    trials.write_results(rows, WORKDIR.value)
    print(reports.write_study(plan, rows, WORKDIR.value))
    trained = sum(row["accuracy"] is not None for row in rows)
    paths = {
        "results": f"{WORKDIR.value}/{run_folder.RESULTS_FILE}",
        "report": f"{WORKDIR.value}/{reports.REPORT_FILE}",
    }
    summary.print_summary(f"{trained} of {len(rows)} networks trained.", paths)
    program.print_result({"networks": len(rows), "trained": trained, **paths})


def _make_plan(growths):
    from efficientnet_tf.search import compound_study

    budget = BUDGET.make()
    return compound_study.Plan(
        budget=budget,
        bases=tuple(BASES.value),
        growths=growths,
        directions=tuple(DIRECTIONS.value),
        width=WIDTH.value,
        depth=DEPTH.value,
        resolution=RESOLUTION.value,
        alpha=ALPHA.value,
        beta=BETA.value,
        gamma=GAMMA.value,
        late=LATE.value,
        max_resolution=MAX_RESOLUTION.value,
        step_batch=STEP_BATCH.value,
    )


if __name__ == "__main__":
    program.run(main, program.RESUMES)
