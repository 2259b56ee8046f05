"""A sweep from its data to its last run, in one process or several."""

from efficientnet_tf.utils import workers as workers_lib
from transfer import tasks
from transfer.sweep import plan as plan_lib, runs


def run_grid(
    plan: plan_lib.Plan,
    workdir: str,
    *,
    data_dir: str | None = None,
    workers: int = 1,
) -> tuple[int, int]:
    """Does the remaining runs; returns how many have ended, and all in all.

    Args:
      plan: what to run.
      workdir: the grid's folder, see `run_folder.start_study`.
      data_dir: where TFDS keeps its sets.
      workers: 1: here; more: so many processes of this program.

    Raises:
      RuntimeError: some runs diverged; all others have ended.
    """
    if not workers_lib.is_worker():
        for name in plan.tasks:  # All of them before hours of training.
            tasks.load_examples(tasks.get_task(name), data_dir)
    progress = workers_lib.Progress(lambda: runs.count_runs(plan, workdir))
    if workers == 1:
        runs.run_sweep(plan, workdir, data_dir, progress.show)
        return runs.count_runs(plan, workdir)
    try:
        workers_lib.run_workers(workdir, workers, progress)
    except RuntimeError:
        runs.check(plan, workdir)  # Its message names the run.
        raise
    return runs.count_runs(plan, workdir)
