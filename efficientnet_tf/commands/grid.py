r"""Fine-tunes several networks on several tasks by several recipes.

efficientnet grid --tasks=cifar10,oxford_flowers102 \
    --models=efficientnet_lite0 --recipes=linear,full --seeds=3 \
    --data_dir=DIR --workdir=/tmp/grid

Hyper-parameters are chosen on validation images; then each seed trains with
them and is scored once on the test images. Killed at any moment, the same
command resumes; more processes with the same flags, or --workers, share the
work.
"""

from absl import flags

from efficientnet_tf.commands import program, shared, summary
from efficientnet_tf.utils import run_folder, tables

TASKS = flags.DEFINE_list("tasks", None, "As for `efficientnet finetune`.")
MODELS = flags.DEFINE_list(
    "models", ["efficientnet_lite0"], "Names or variant files."
)
RECIPES = flags.DEFINE_list(
    "recipes", ["full"], "As for `efficientnet finetune`."
)
SEEDS = flags.DEFINE_integer(
    "seeds",
    1,
    "Final runs of each, on the test images; `linear`, in which nothing is "
    "random, has one.",
    1,
)
SEARCH = flags.DEFINE_multi_string(
    "search", [], "field=value,value,...: choices, compared on validation."
)
SAMPLER = flags.DEFINE_string(
    "sampler", "grid", "grid tries all choices, tpe only --trials of them."
)
TRIALS = flags.DEFINE_integer("trials", 20, "Runs of a search by tpe.", 1)
PRUNER = flags.DEFINE_string(
    "pruner", "none", "asha or median stop unpromising runs early; or none."
)
WEIGHTS = flags.DEFINE_string("weights", "imagenet", shared.WEIGHTS_HELP)
SET = flags.DEFINE_multi_string(
    "set", [], "field=value: changes a field of all recipes."
)
DATA_DIR = flags.DEFINE_string("data_dir", None, shared.DATA_DIR_HELP)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder for all runs and results."
)
WORKERS = flags.DEFINE_integer("workers", 1, shared.WORKERS_HELP, 1)
flags.mark_flags_as_required(["tasks", "workdir"])


def main(_: list[str]) -> None:
    from efficientnet_tf.utils import extras, workers
    from transfer import tasks
    from transfer.sweep import plan as plan_lib

    plan = plan_lib.Plan(
        tasks=tuple(TASKS.value),
        models=tuple(MODELS.value),
        recipes=tuple(RECIPES.value),
        weights=shared.parse_weights(WEIGHTS.value),
        seeds=SEEDS.value,
        sampler=SAMPLER.value,
        trials=TRIALS.value,
        pruner=PRUNER.value,
        search=tuple(SEARCH.value),
        settings=tuple(SET.value),
    )
    if plan.needs_optuna:  # A plain grid does not.
        extras.require("Searches by TPE or with a pruner", "optuna")
    shared.check_finetuning(map(tasks.get_task, plan.tasks))
    run_folder.start_study(plan, WORKDIR.value)
    # TensorFlow is slow to import, so the flags are checked before.
    from transfer.sweep import runs

    if not workers.is_worker():
        for name in plan.tasks:  # All of them before hours of training.
            tasks.load_examples(tasks.get_task(name), DATA_DIR.value)
    progress = workers.Progress(lambda: runs.count_runs(plan, WORKDIR.value))
    if WORKERS.value > 1:
        try:
            workers.run_workers(WORKDIR.value, WORKERS.value, progress)
        except RuntimeError:
            runs.check(plan, WORKDIR.value)  # Its message names the run.
            raise
    else:
        runs.run_sweep(plan, WORKDIR.value, DATA_DIR.value, progress.show)
    ended, total = runs.count_runs(plan, WORKDIR.value)
    rows = runs.read_results(plan, WORKDIR.value)
    if rows:
        print(_to_table(rows))
    results = f"{WORKDIR.value}/{run_folder.RESULTS_FILE}"
    summary.print_summary(
        f"{ended} of {total} runs have ended.",
        {"results": results},
        [
            ["efficientnet", "report", f"--results={WORKDIR.value}"]
            + [f"--output={WORKDIR.value}/report"],
            ["tensorboard", f"--logdir={WORKDIR.value}"],
        ],
    )
    program.print_result(
        {
            "runs": total,
            "ended": ended,
            "results": results,
        }
    )


def _to_table(rows):
    """Returns the scores over seeds, with their intervals, as text."""
    from transfer.report import results

    lines = []
    for row in results.summarize(rows):
        low, high = row["interval"] or (None, None)
        interval = "" if low is None else f"{100 * low:.1f} to {100 * high:.1f}"
        lines.append(
            (
                *(row[key] for key in ("task", "model", "recipe", "metric")),
                f"{100 * row['mean']:.1f}",
                interval,
                str(row["seeds"]),
            )
        )
    header = ("task", "model", "recipe", "metric", "%", "95 % interval")
    return tables.to_text((*header, "seeds"), lines, left=range(4))


if __name__ == "__main__":
    program.run(main)
