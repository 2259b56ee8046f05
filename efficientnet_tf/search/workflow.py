"""A study from its first run to its report, in one process or several."""

from collections.abc import Iterable, Mapping, Sequence

from efficientnet_tf.search import compound_search, reports, trials
from efficientnet_tf.utils import workers as workers_lib


def run_study(
    names: Sequence[str],
    budget: trials.Budget,
    workdir: str,
    *,
    data_dir: str | None = None,
    workers: int = 1,
) -> None:
    """Trains the remaining networks, here or in `workers` processes.

    Args:
      names: of candidates that `trials.start_study` was given.
      budget: of each network.
      workdir: the study's folder.
      data_dir: where TFDS keeps its data sets.
      workers: 1: here; more: so many processes of this program.

    Raises:
      ValueError: a network would be scored on training images.
      RuntimeError: some processes failed; the others have finished.
      callbacks.Preempted: a signal arrived; the state is saved.
    """
    if not workers_lib.is_worker():
        trials.check_splits(budget, data_dir)
    progress = workers_lib.Progress(
        lambda: trials.count_runs(names, budget, workdir)
    )
    progress.show()
    if workers > 1:
        workers_lib.run_workers(workdir, workers, progress)
        return
    trials.run_trials(
        names, budget, workdir, data_dir=data_dir, on_run=progress.show
    )


def finish_search(
    plan: compound_search.Plan,
    workdir: str,
    *,
    measured: dict[str, dict[str, float]],
    agreement: Mapping | None,
    phis: Iterable[float],
) -> tuple[list[dict], dict, str]:
    """Writes the results, the family and the report of a search.

    Args:
      plan: of the search.
      workdir: the search's folder.
      measured: the result of `compound_search.measure`.
      agreement: that of `compound_search.check_ranking`.
      phis: sizes of the family.

    Returns:
      (the rows of all candidates, the chosen one, the report's text).

    Raises:
      RuntimeError: no candidate can be chosen; the report shows why.
    """
    rows = compound_search.read_results(plan, workdir, measured)
    trials.write_results(rows, workdir)
    try:
        chosen = compound_search.choose(rows)
    except RuntimeError:
        # The report shows the networks that have trained.
        reports.write_search(plan, rows, agreement, workdir)
        raise
    family = compound_search.write_family(plan, chosen, workdir, phis)
    text = reports.write_search(plan, rows, agreement, workdir, family)
    return rows, chosen, text
