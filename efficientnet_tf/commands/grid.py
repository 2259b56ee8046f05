r"""Fine-tunes several networks on several tasks by several recipes.

efficientnet grid --tasks=cifar10,oxford_flowers102 \
    --models=efficientnet_lite0 --recipes=linear,full --seeds=3 \
    --data_dir=DIR --workdir=/tmp/grid

Hyper-parameters are chosen on validation images; then each seed trains with
them and is scored on test, once. Killed at any moment, the same command goes
on; more processes with the same flags, or --workers, share the work.
"""

from absl import flags

from efficientnet_tf.commands import program, shared
from efficientnet_tf.utils import run_folder

TASKS = flags.DEFINE_list("tasks", None, "As for `efficientnet finetune`.")
MODELS = flags.DEFINE_list("models", ["efficientnet_lite0"], "Networks.")
RECIPES = flags.DEFINE_list(
    "recipes", ["full"], "As for `efficientnet finetune`."
)
SEEDS = flags.DEFINE_integer(
    "seeds",
    1,
    "Final runs of each, on test; one of `linear`, where nothing is random.",
    1,
)
SEARCH = flags.DEFINE_multi_string(
    "search", [], "field=value,value,... to choose from on validation."
)
SAMPLER = flags.DEFINE_string("sampler", "grid", "grid, or tpe for a sample.")
TRIALS = flags.DEFINE_integer("trials", 20, "Runs of a search by tpe.", 1)
PRUNER = flags.DEFINE_string(
    "pruner", "none", "none, asha or median: stops hopeless runs early."
)
WEIGHTS = flags.DEFINE_string("weights", "imagenet", "A name or a file.")
SET = flags.DEFINE_multi_string("set", [], "field=value of all recipes.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "Where TFDS keeps its sets.")
WORKDIR = flags.DEFINE_string("workdir", None, "Runs, study and results.")
WORKERS = flags.DEFINE_integer("workers", 1, "Processes on this machine.", 1)
flags.mark_flags_as_required(["tasks", "workdir"])


def main(argv: list[str]) -> None:
    from efficientnet_tf.utils import extras, workers
    from transfer import tasks
    from transfer.sweep import plan as plan_lib

    plan = plan_lib.Plan(
        tasks=tuple(TASKS.value),
        models=tuple(MODELS.value),
        recipes=tuple(RECIPES.value),
        weights=WEIGHTS.value,
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
    # TensorFlow is slow to import, so only once the flags make sense.
    from transfer.sweep import runs

    if not workers.is_worker():
        for name in plan.tasks:  # Rather than after hours of others.
            tasks.load_examples(tasks.get_task(name), DATA_DIR.value)
    progress = workers.Progress(lambda: runs.count(plan, WORKDIR.value))
    if WORKERS.value > 1:
        try:
            workers.run_workers(WORKDIR.value, WORKERS.value, progress)
        except RuntimeError:
            runs.check(plan, WORKDIR.value)  # Says it better.
            raise
    else:
        runs.work(plan, WORKDIR.value, DATA_DIR.value, progress.show)
    ended, total = runs.count(plan, WORKDIR.value)
    rows = runs.read_results(plan, WORKDIR.value)
    program.print_result(
        {
            "runs": total,
            "ended": ended,
            "results": f"{WORKDIR.value}/results.jsonl",
            "scores": [
                {key: row[key] for key in ("task", "model", "recipe", "score")}
                for row in rows
            ],
        }
    )


if __name__ == "__main__":
    program.run(main)
