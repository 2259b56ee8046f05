"""Many fine-tuning runs: chosen on validation, then scored on test once each.

A plain grid needs nothing but its folders: a run has ended when its folder
holds a result. Searches by TPE and with a pruner are kept by Optuna, in SQLite.
File locks say who is at a run; they end with their process, so nobody waits
for a dead one.
"""

import contextlib
import dataclasses
import os
import pathlib
import re
import time
from collections.abc import Callable, Mapping

import filelock
import keras
from absl import logging

from efficientnet_tf.utils import (
    files,
    run_folder,
    run_lock,
    tables,
    workers,
)
from transfer import finetune
from transfer.config import recipes
from transfer.sweep import image_lists, plan as plan_lib

ALL_DIVERGED = "no run of the search finished; choose other values to search."
_HPARAMS = ".hparams"  # What the name of such a file of logs ends in.


def run_sweep(
    plan: plan_lib.Plan,
    workdir: str | os.PathLike,
    data_dir: str | None = None,
    on_run: Callable[[], object] | None = None,
) -> None:
    """Does the remaining runs of a plan, one after the other.

    Several processes may share a folder. A run whose process was killed is
    resumed by another.

    Args:
      plan: what to run.
      workdir: the grid's folder, see `run_folder.start_study`.
      data_dir: where TFDS keeps its sets.
      on_run: called after each run of this process.

    Raises:
      RuntimeError: some runs diverged; all others have ended.
    """
    grid = _Grid(plan, pathlib.Path(workdir), data_dir)
    while True:
        states = [grid.step(cell) for cell in plan.cells]
        if "ran" in states:
            if on_run is not None:
                on_run()
        elif "busy" in states:
            time.sleep(workers.POLL_SECONDS)
        else:
            # The process of the last run may have been killed right after it.
            _write_results(plan, grid.workdir)
            grid.check()
            return


def count_runs(
    plan: plan_lib.Plan, workdir: str | os.PathLike
) -> tuple[int, int]:
    """Returns how many runs have ended, and how many there are in all."""
    workdir = pathlib.Path(workdir)
    ended, total = 0, 0
    for cell in plan.cells:
        seeds = plan_lib.seeds(plan, cell)
        total += plan_lib.search_size(plan, cell) + len(seeds)
        ended += _count_searched(plan, workdir, cell)
        ended += sum(
            workers.has_ended(_final(workdir, cell, seed)) for seed in seeds
        )
    return ended, total


def check(
    plan: plan_lib.Plan,
    workdir: str | os.PathLike,
    failures: Mapping[str, str] | None = None,
) -> None:
    """Raises RuntimeError if final runs diverged or ran out of memory.

    Args:
      plan: what was run.
      workdir: the grid's folder.
      failures: {name: reason} of what else failed.
    """
    found = dict(failures or {})
    for cell in plan.cells:
        for seed in plan_lib.seeds(plan, cell):
            row = _last_row(_final(pathlib.Path(workdir), cell, seed))
            if row and "failed" in row:
                found[f"{cell.slug} seed {seed}"] = row["failed"]
    if found:
        name, reason = next(iter(found.items()))
        raise RuntimeError(
            f"{len(found)} diverged, all others are done: {name}: {reason}"
        )


def read_results(plan: plan_lib.Plan, workdir: str | os.PathLike) -> list[dict]:
    """Returns the rows of the final runs that ended without diverging.

    They also hold "folder", a run's folder relative to `workdir`;
    "chosen_from", how many points its search tried; "searched", the fields in
    which these differ; "search_curves", the curves of the chosen point; and
    "diverged", how many seeds are missing.
    """
    workdir = pathlib.Path(workdir)
    found = []
    for cell in plan.cells:
        folders = [
            _final(workdir, cell, seed) for seed in plan_lib.seeds(plan, cell)
        ]
        rows = {folder: row for folder in folders if (row := _last_row(folder))}
        diverged = sum("failed" in row for row in rows.values())
        about: dict = {"chosen_from": plan_lib.search_size(plan, cell)}
        if diverged:
            about["diverged"] = diverged
        if about["chosen_from"] and rows:
            about["searched"] = sorted(plan_lib.points(plan, cell.recipe)[0])
            about["search_curves"] = _search_curves(plan, workdir, cell)
        found += [
            {**row, **about, "folder": folder.relative_to(workdir).as_posix()}
            for folder, row in rows.items()
            if "failed" not in row
        ]
    return found


@dataclasses.dataclass(frozen=True)
class _Run:
    """A run of a cell, in a search or final.

    `shown` are the hyper-parameters that TensorBoard lists, `leftovers` what
    the folder holds that nobody needs once the run has ended.
    """

    cell: plan_lib.Cell
    folder: pathlib.Path
    config: recipes.FinetuneConfig
    shown: dict
    leftovers: tuple[str, ...]


class _Grid:
    def __init__(self, plan, workdir, data_dir):
        self.plan = plan
        self.workdir = workdir
        self.data_dir = data_dir
        self.done = set()
        self.failures = {}

    def check(self):
        """Raises RuntimeError for cells and runs that diverged."""
        check(self.plan, self.workdir, self.failures)

    def step(self, cell):
        """Does one run of a cell: "ran", "busy" with others, or "done".

        A cell that failed is done; `check` reports it.
        """
        if cell in self.done:
            return "done"
        state = self._step(cell)
        if state == "done":
            self.done.add(cell)
        return state

    def _step(self, cell):
        point = {}
        if plan_lib.search_size(self.plan, cell):
            state = self._search(cell)
            if state != "done":
                return state
            point = _best_point(self.plan, self.workdir, cell)
            if point is None:
                logging.warning("%s: %s", cell.slug, ALL_DIVERGED)
                self.failures[cell.slug] = ALL_DIVERGED
                return "done"
        state = self._do_next(
            {
                f"{cell.slug}-seed{seed}": self._make_final(cell, point, seed)
                for seed in plan_lib.seeds(self.plan, cell)
            }
        )
        if state == "ran":
            _write_results(self.plan, self.workdir)
        return state

    def _search(self, cell):
        """Trains on train, scores on validation."""
        if not self.plan.needs_optuna:
            points = plan_lib.points(self.plan, cell.recipe)
            return self._do_next(
                {
                    f"{cell.slug}-point{i}": self._make_searched(cell, point)
                    for i, point in enumerate(points)
                }
            )
        from transfer.sweep import optuna_search

        return optuna_search.step(
            self.plan,
            self.workdir,
            cell,
            train=lambda point, watchers: self._train(
                self._make_searched(cell, point), watchers
            ),
            tidy=lambda point: self._tidy(self._make_searched(cell, point)),
        )

    def _make_searched(self, cell, point):
        config = plan_lib.make_config(
            self.plan, cell, point, train_on="train", evaluate_on="validation"
        )
        return _Run(
            cell,
            _searched(self.workdir, cell, point),
            config,
            shown=point,
            leftovers=(run_folder.CHECKPOINTS, run_folder.MODEL_FILE),
        )

    def _make_final(self, cell, point, seed):
        """Returns a run with what was chosen, which touches the test images."""
        return _Run(
            cell,
            _final(self.workdir, cell, seed),
            plan_lib.make_config(self.plan, cell, point, seed=seed),
            shown={**point, "seed": seed},
            leftovers=(run_folder.CHECKPOINTS,),
        )

    def _do_next(self, runs):
        """Does the first of {lock: run} that is left and that nobody is at.

        Returns "ran"; else "busy" if others are at some, or "done".
        """
        state = "done"
        for lock, run in runs.items():
            if workers.has_ended(run.folder) and self._is_tidy(run):
                continue
            try:
                with workers.lock(self.workdir, lock, 0):
                    # Another process may have ended it since.
                    ended = workers.has_ended(run.folder)
                    if not ended:
                        self._do(run)
                    self._tidy(run)
            except (filelock.Timeout, run_lock.InUse):
                state = "busy"
                continue
            if not ended:
                return "ran"
        return state

    def _do(self, run):
        try:
            self._train(run)
        except Exception as error:
            if not workers.is_runs_own(error):
                raise
            workers.fail(run.folder, error, run.config.seed)

    def _train(self, run, watchers=()):
        logging.info("%s", run.folder)
        keras.backend.clear_session()
        return finetune.finetune_and_evaluate(
            run.cell.task,
            run.cell.model,
            weights=self.plan.weights,
            config=run.config,
            workdir=run.folder,
            data_dir=self.data_dir,
            recipe=run.cell.recipe,
            folder=image_lists.folder_of(
                self.plan, self.workdir, run.cell.task
            ),
            watchers=watchers,
            source_family=self.plan.source_family,
            normalization=self.plan.normalization,
        )

    def _tidy(self, run):
        """Shows a run in TensorBoard, and removes what nobody needs."""
        row = _last_row(run.folder)
        if row and "failed" not in row and not _is_shown(run):
            _show(run, row)
        for name in run.leftovers:
            files.remove(run.folder / name)

    def _is_tidy(self, run):
        shown = _is_shown(run) or "failed" in _last_row(run.folder)
        return shown and not any(
            (run.folder / name).exists() for name in run.leftovers
        )


def _is_shown(run):
    # Beside the run's own logs, so that it is one run there, too. Earlier
    # versions wrote to a folder of the grid, and TensorBoard showed two.
    return any((run.folder / run_folder.LOGS).glob(f"*{_HPARAMS}"))


def _show(run, row):
    """Writes a run for the HParams page of TensorBoard."""
    import tensorflow as tf
    from tensorboard.plugins.hparams import api

    values = dataclasses.asdict(run.cell)
    values = {name: tables.to_unicode(v) for name, v in values.items()}
    values |= {field: getattr(run.config, field) for field in run.shown}
    writer = tf.summary.create_file_writer(
        str(run.folder / run_folder.LOGS), filename_suffix=_HPARAMS
    )
    with contextlib.closing(writer), writer.as_default():
        api.hparams(values, trial_id=f"{run.cell.slug}/{run.folder.name}")
        tf.summary.scalar(f"{row['evaluated_on']}/score", row["score"], 0)


def _count_searched(plan, workdir, cell):
    """Returns how many runs of a cell's search have ended."""
    if not plan_lib.search_size(plan, cell):
        return 0
    if plan.needs_optuna:
        from transfer.sweep import optuna_search

        return optuna_search.count_ended(plan, workdir, cell)
    return sum(
        workers.has_ended(_searched(workdir, cell, point))
        for point in plan_lib.points(plan, cell.recipe)
    )


def _best_point(plan, workdir, cell):
    """Returns the overrides that a finished search chose; None: no choice."""
    if plan.needs_optuna:
        from transfer.sweep import optuna_search

        return optuna_search.best_point(plan, workdir, cell)
    best, best_score = None, float("-inf")
    for point in plan_lib.points(plan, cell.recipe):
        row = _last_row(_searched(workdir, cell, point)) or {}
        # The first of equals, so that every process chooses the same.
        if row.get("score", best_score) > best_score:
            best, best_score = point, row["score"]
    return best


def _search_curves(plan, workdir, cell):
    """Returns the curves of the run whose point was chosen."""
    point = _best_point(plan, workdir, cell)
    row = _last_row(_searched(workdir, cell, point))
    return (row or {}).get("curves", {})


def _write_results(plan, workdir):
    with workers.lock(workdir, "results"):
        rows = read_results(plan, workdir)
        files.write_json_lines(workdir / run_folder.RESULTS_FILE, rows)


def _name(point):
    parts = [
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in point.items()
    ]
    return files.shorten_name(re.sub(r"[^\w.,=+-]+", "_", ",".join(parts)))


def _last_row(folder):
    row = run_folder.last_result(folder)
    if row and "failed" not in row:
        run_folder.check_result(folder, row, {"score": float})
    return row


def _searched(workdir, cell, point):
    return workdir / "search" / cell.slug / _name(point)


def _final(workdir, cell, seed):
    return workdir / "final" / cell.slug / f"seed={seed}"
