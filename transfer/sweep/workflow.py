"""A sweep from its data to its last run, in one process or several."""

from efficientnet_tf.utils import workers as workers_lib
from transfer.sweep import image_lists, plan as plan_lib, runs


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
    ended, total = runs.count_runs(plan, workdir)
    if ended == total:
        image_lists.warn_of_changes(plan, workdir, data_dir)
    elif not workers_lib.is_worker():  # All before hours of training.
        image_lists.load(plan, workdir, data_dir)
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
