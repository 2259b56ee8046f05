"""Fine-tunes several networks on several tasks by several recipes.

python scripts/transfer_grid.py --tasks=cifar10,oxford_flowers102 \
    --models=efficientnet_lite0 --recipes=linear,full --seeds=3 \
    --data_dir=DIR --workdir=/tmp/grid

Hyper-parameters are chosen on validation images; then each seed trains with
them and is scored on test, once. Killed at any moment, the same command goes
on; more processes with the same flags, or --workers, share the work.
"""

import os
import signal
import subprocess
import sys
import time

import cli
from absl import flags, logging

TASKS = flags.DEFINE_list("tasks", None, "Names as for finetune.py.")
MODELS = flags.DEFINE_list("models", ["efficientnet_lite0"], "Networks.")
RECIPES = flags.DEFINE_list("recipes", ["full"], "Names as for finetune.py.")
SEEDS = flags.DEFINE_integer("seeds", 1, "Final runs of each, on test.", 1)
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

REPORT_SECONDS = 60.0


def main(argv):
    from transfer import grid

    plan = grid.Plan(
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
    grid.start(plan, WORKDIR.value)
    progress = _Progress(plan)
    if WORKERS.value > 1:
        _run_workers(progress)
    else:
        grid.work(plan, WORKDIR.value, DATA_DIR.value, progress.show)
    ended, total = grid.count(plan, WORKDIR.value)
    rows = grid.read_results(plan, WORKDIR.value)
    cli.print_result(
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


class _Progress:
    """Says how many runs have ended and when the rest will have."""

    def __init__(self, plan):
        from transfer import grid

        self._count = lambda: grid.count(plan, WORKDIR.value)
        self._before, _ = self._count()
        self._begin = time.monotonic()

    def show(self):
        ended, total = self._count()
        line = f"{ended} of {total} runs have ended"
        done = ended - self._before
        if done and ended < total:
            seconds = (time.monotonic() - self._begin) / done * (total - ended)
            hours, minutes = divmod(round(seconds / 60), 60)
            line += f"; about {hours} h {minutes:02d} min are left"
        logging.info("%s.", line)


def _run_workers(progress):
    """Starts processes that share the work, and waits for all of them."""
    threads = max(1, (os.cpu_count() or 1) // WORKERS.value)
    environment = os.environ | {
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "OMP_NUM_THREADS": str(threads),
    }
    command = [sys.executable, *sys.argv, "--workers=1"]
    workers = []
    try:
        for index in range(WORKERS.value):
            log = open(os.path.join(WORKDIR.value, f"worker{index}.log"), "ab")
            with log:
                workers.append(
                    subprocess.Popen(
                        command,
                        env=environment,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        # A terminal's Ctrl-C goes to its whole group.
                        start_new_session=True,
                    )
                )
        _wait(workers, progress)
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGTERM)
        for worker in workers:
            worker.wait()
    failed = [i for i, worker in enumerate(workers) if worker.returncode]
    if failed:
        # The others have done its work where they could.
        raise RuntimeError(
            f"Workers {failed} failed; see worker*.log in {WORKDIR.value}."
        )


def _wait(workers, progress):
    shown = time.monotonic()
    while any(worker.poll() is None for worker in workers):
        time.sleep(0.5)
        if time.monotonic() - shown > REPORT_SECONDS:
            progress.show()
            shown = time.monotonic()


if __name__ == "__main__":
    cli.run(main)
