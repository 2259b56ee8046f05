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
from efficientnet_tf.utils import run_folder
from efficientnet_tf.weights import catalog

TASKS = flags.DEFINE_list("tasks", None, "As for `efficientnet finetune`.")
MODELS = flags.DEFINE_list(
    "models", ["efficientnet_lite0"], "Names or variant files."
)
RECIPES = flags.DEFINE_list(
    "recipes",
    ["full"],
    "As for `efficientnet finetune`, but full by default: auto, which may be "
    "named too, trains each network and task in a way of its own.",
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
SOURCE_FAMILY, NORMALIZATION = shared.define_weights_flags()
SET = flags.DEFINE_multi_string(
    "set", [], "field=value: changes a field of all recipes."
)
CLASS_WEIGHT = flags.DEFINE_string(
    "class_weight", None, shared.CLASS_WEIGHT_HELP
)
RESIZE, IMAGE_SIZE = shared.define_shape_flags()
DATA_DIR = flags.DEFINE_string("data_dir", None, shared.DATA_DIR_HELP)
GROUP_BY = flags.DEFINE_string("group_by", None, shared.GROUP_BY_HELP)
SKIP_BAD = flags.DEFINE_bool("skip_bad", False, shared.SKIP_BAD_HELP)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder for all runs and results."
)
WORKERS = flags.DEFINE_integer(
    "workers", 1, shared.WORKERS_HELP, 1, shared.MAX_WORKERS
)
INPUT_WAIT = shared.define_input_wait()
flags.mark_flags_as_required(["tasks", "workdir"])


def main(_: list[str]) -> None:
    shared.set_input_wait(INPUT_WAIT.value)
    from efficientnet_tf.utils import extras
    from transfer.config import tasks
    from transfer.sweep import plan as plan_lib

    plan = plan_lib.Plan(
        tasks=tuple(TASKS.value),
        models=tuple(MODELS.value),
        recipes=tuple(RECIPES.value),
        weights=catalog.parse(WEIGHTS.value),
        source_family=SOURCE_FAMILY.value,
        normalization=NORMALIZATION.value,
        seeds=SEEDS.value,
        sampler=SAMPLER.value,
        trials=TRIALS.value,
        pruner=PRUNER.value,
        search=tuple(SEARCH.value),
        settings=tuple(
            shared.add_settings(SET.value, CLASS_WEIGHT, RESIZE, IMAGE_SIZE)
        ),
        group_by=GROUP_BY.value,
        skip_bad=SKIP_BAD.value,
    )
    shared.make_folder_options(
        plan.group_by,
        plan.skip_bad,
        divides=any(tasks.get_task(task).divides for task in plan.tasks),
    )
    if plan.needs_optuna:  # A plain grid does not.
        extras.require("Searches by TPE or with a pruner", "optuna")
    shared.check_finetuning(map(tasks.get_task, plan.tasks))
    run_folder.start_study(plan, WORKDIR.value)
    # TensorFlow is slow to import, so the flags are checked before.
    from transfer.report import results as results_lib
    from transfer.sweep import runs, workflow

    ended, total = workflow.run_grid(
        plan, WORKDIR.value, data_dir=DATA_DIR.value, workers=WORKERS.value
    )
    rows = runs.read_results(plan, WORKDIR.value)
    if rows:
        print(results_lib.to_text(rows))
    results = f"{WORKDIR.value}/{run_folder.RESULTS_FILE}"
    _print_summary(ended, total, results, rows)
    program.print_result(
        {
            "runs": total,
            "ended": ended,
            "results": results,
        }
    )


def _print_summary(ended, total, results, rows):
    summary.print_summary(
        f"{ended} of {total} runs have ended.",
        {"results": results},
        [
            ["efficientnet", "report", f"--results={WORKDIR.value}"]
            + [f"--output={WORKDIR.value}/report"],
            # Its classes, its mistakes: each run has its own page.
            ["efficientnet", "report"]
            + [f"--workdir={WORKDIR.value}/{rows[0]['folder']}"]
            if rows
            else None,
            ["tensorboard", f"--logdir={WORKDIR.value}"],
        ],
    )


def _config():
    """Returns the class whose fields --set takes."""
    from transfer.config import recipes

    return recipes.FinetuneConfig


if __name__ == "__main__":
    program.run(main, program.RESUMES, config=_config)
