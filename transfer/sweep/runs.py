"""Many fine-tuning runs: chosen on validation, then scored on test once each.

Optuna keeps what was tried in SQLite; file locks say who is at it, and end
with the process that holds them, so that nothing waits for the dead.
"""

import contextlib
import dataclasses
import pathlib
import re
import time

import filelock
import keras
import optuna
from absl import logging

from efficientnet_tf.utils import files, run_folder, workers
from transfer import finetune
from transfer.sweep import optuna_search, plan as plan_lib


def work(plan, workdir, data_dir=None, on_run=None):
    """Does what is left of a plan, one run after the other.

    Several processes may do so in one folder at a time. A run that one of
    them was killed in is gone on with by another.

    Args:
      plan: a `plans.Plan`.
      workdir: the grid's folder, see `sharing.start`.
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
            # Whoever made the last run may have been killed right after it.
            _write_results(plan, grid.workdir)
            grid.check()
            return


def count(plan, workdir):
    """Returns how many runs have ended, and how many there are in all."""
    workdir = pathlib.Path(workdir)
    ended, total = 0, 0
    for cell in plan.cells:
        searched = plan_lib.search_size(plan, cell)
        seeds = plan_lib.seeds(plan, cell)
        total += searched + len(seeds)
        if searched and (workdir / optuna_search.STUDY_FILE).exists():
            ended += len(
                optuna_search.list_ended(
                    optuna_search.open_study(plan, workdir, cell)
                )
            )
        ended += sum(
            workers.has_ended(_final(workdir, cell, seed)) for seed in seeds
        )
    return ended, total


def check(plan, workdir, failures=()):
    """Raises RuntimeError if final runs failed by themselves.

    Args:
      plan: a `plans.Plan`.
      workdir: the grid's folder.
      failures: {name: reason} of others that did.
    """
    found = dict(failures)
    for cell in plan.cells:
        for seed in plan_lib.seeds(plan, cell):
            row = _last_row(_final(pathlib.Path(workdir), cell, seed))
            if row and "failed" in row:
                found[f"{cell.slug} seed {seed}"] = row["failed"]
    if found:
        name, reason = next(iter(found.items()))
        raise RuntimeError(
            f"{len(found)} diverged, all else is done: {name}: {reason}"
        )


def read_results(plan, workdir):
    """Returns the rows of all final runs that have ended, but diverged ones.

    "folder" is where a run's other files are, seen from `workdir`,
    "chosen_from" the points that its search tried, "searched" the fields that
    they differ in, "search_curves" those of the one that was chosen, and
    "diverged" the seeds that are not there.
    """
    workdir = pathlib.Path(workdir)
    found = []
    for cell in plan.cells:
        folders = [
            _final(workdir, cell, seed) for seed in plan_lib.seeds(plan, cell)
        ]
        rows = {folder: row for folder in folders if (row := _last_row(folder))}
        diverged = sum("failed" in row for row in rows.values())
        about = {"chosen_from": plan_lib.search_size(plan, cell)}
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


class _Grid:
    def __init__(self, plan, workdir, data_dir):
        self.plan = plan
        self.workdir = workdir
        self.data_dir = data_dir
        self.failures = {}

    def check(self):
        """Raises RuntimeError for cells and runs that diverged."""
        check(self.plan, self.workdir, self.failures)

    def step(self, cell):
        """Does one run of a cell: "ran", "busy" with others, or "done".

        A cell that failed is done; `check` tells of it.
        """
        if cell.slug in self.failures:
            return "done"
        try:
            return self._step(cell)
        except optuna_search.AllDiverged as error:
            logging.warning("%s: %s", cell.slug, error)
            self.failures[cell.slug] = str(error)
            return "done"

    def _step(self, cell):
        point = {}
        if plan_lib.search_size(self.plan, cell):
            study = optuna_search.open_study(self.plan, self.workdir, cell)
            with contextlib.ExitStack() as held:
                with workers.lock(self.workdir, cell.slug):
                    trial = self._claim(study, cell, held)
                    # Under the lock: a dead trial ends before it is replaced.
                    running = study.get_trials(
                        deepcopy=False, states=optuna_search.RUNNING
                    )
                if trial is not None:
                    self._search(study, trial, cell)
                    return "ran"
            if running:
                return "busy"
            point = optuna_search.best_point(study)
        return self._finish(cell, point)

    def _claim(self, study, cell, held):
        """Returns a trial that is this process's alone, or None."""
        for trial in study.get_trials(
            deepcopy=False, states=optuna_search.RUNNING
        ):
            lock = workers.lock(self.workdir, f"{cell.slug}-{trial.number}", 0)
            with contextlib.suppress(filelock.Timeout), lock:
                # Nobody holds it: its process is dead, or has just ended it.
                if not study.trials[trial.number].state.is_finished():
                    self._replace(study, trial)
        left = study.get_trials(deepcopy=False, states=optuna_search.WAITING)
        if self.plan.sampler == "tpe":
            started = len(optuna_search.list_ended(study)) + len(
                study.get_trials(deepcopy=False, states=optuna_search.RUNNING)
            )
            left = left or started < self.plan.trials
        if not left:
            return None
        # Of its own for each trial, whichever process makes it.
        study.sampler = optuna.samplers.TPESampler(seed=len(study.trials))
        trial = study.ask()
        held.enter_context(
            workers.lock(self.workdir, f"{cell.slug}-{trial.number}", 0)
        )
        # Before the trial can be seen as running without its parameters.
        trial.set_user_attr(
            "point", optuna_search.suggest(self.plan, cell, trial)
        )
        return trial

    def _replace(self, study, dead):
        """Lets another trial go on from a dead one's checkpoints.

        The trial ends last, so that a kill in between leaves it to be replaced
        by the next process.
        """
        # It may have died before it took them over from the queue.
        params = dead.system_attrs.get("fixed_params", dead.params)
        waiting = study.get_trials(deepcopy=False, states=optuna_search.WAITING)
        if params not in [t.system_attrs["fixed_params"] for t in waiting]:
            study.enqueue_trial(params)
        study.set_user_attr(f"killed-{dead.number}", True)
        study.tell(dead.number, state=optuna.trial.TrialState.FAIL)

    def _search(self, study, trial, cell):
        """Trains on train, scores on validation."""
        point = trial.user_attrs["point"]
        folder = _searched(self.workdir, cell, point)
        config = plan_lib.make_config(
            self.plan,
            cell,
            point,
            train_on="train",
            evaluate_on="validation",
        )
        try:
            row = self._run(cell, config, folder, [optuna_search.Judge(trial)])
        except optuna.TrialPruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        except Exception as error:
            if not workers.is_runs_own(error):
                raise
            logging.warning("%s: %s", folder, error)
            trial.set_user_attr("diverged", str(error))
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, row["score"])
            self._show(cell, _name(point), config, point, row)
        # Nobody needs them.
        for name in (run_folder.CHECKPOINTS, run_folder.MODEL_FILE):
            files.remove(folder / name)

    def _finish(self, cell, point):
        """Trains with what was chosen, and touches the test images."""
        state = "done"
        for seed in plan_lib.seeds(self.plan, cell):
            folder = _final(self.workdir, cell, seed)
            if workers.has_ended(folder) and self._is_tidy(cell, seed):
                continue
            lock = workers.lock(self.workdir, f"{cell.slug}-seed{seed}", 0)
            try:
                with lock:
                    ended = workers.has_ended(folder)
                    config = plan_lib.make_config(
                        self.plan, cell, point, seed=seed
                    )
                    if not ended:
                        self._run_final(cell, config, folder)
                    self._tidy(cell, config, point)
            except filelock.Timeout:
                state = "busy"
                continue
            if not ended:
                _write_results(self.plan, self.workdir)
                return "ran"
        return state

    def _run_final(self, cell, config, folder):
        try:
            self._run(cell, config, folder, [])
        except Exception as error:
            if not workers.is_runs_own(error):
                raise
            workers.fail(folder, error, config.seed)

    def _tidy(self, cell, config, point):
        """Does what is left to do after a final run, which a kill prevents."""
        folder = _final(self.workdir, cell, config.seed)
        row = _last_row(folder)
        if "failed" not in row and not self._shown(cell, config.seed).exists():
            point = {**point, "seed": config.seed}
            self._show(cell, f"seed={config.seed}", config, point, row)
        files.remove(folder / run_folder.CHECKPOINTS)

    def _is_tidy(self, cell, seed):
        folder = _final(self.workdir, cell, seed)
        told = self._shown(cell, seed).exists() or "failed" in _last_row(folder)
        return told and not (folder / run_folder.CHECKPOINTS).exists()

    def _shown(self, cell, seed):
        return self.workdir / "tensorboard" / cell.slug / f"seed={seed}"

    def _run(self, cell, config, folder, watchers):
        logging.info("%s", folder)
        keras.backend.clear_session()
        return finetune.finetune_and_evaluate(
            cell.task,
            cell.model,
            weights=self.plan.weights,
            config=config,
            workdir=folder,
            data_dir=self.data_dir,
            recipe=cell.recipe,
            watchers=watchers,
        )

    def _show(self, cell, name, config, point, row):
        """Writes a run for the HParams page of TensorBoard."""
        import tensorflow as tf
        from tensorboard.plugins.hparams import api

        folder = self.workdir / "tensorboard" / cell.slug / name
        values = dataclasses.asdict(cell)
        values |= {field: getattr(config, field) for field in point}
        with tf.summary.create_file_writer(str(folder)).as_default():
            api.hparams(values, trial_id=f"{cell.slug}/{name}")
            tf.summary.scalar(f"{row['evaluated_on']}/score", row["score"], 0)


def _search_curves(plan, workdir, cell):
    """Returns the curves of the run whose point was chosen."""
    point = optuna_search.best_point(
        optuna_search.open_study(plan, workdir, cell)
    )
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
    return re.sub(r"[^\w.,=+-]+", "_", ",".join(parts))


def _last_row(folder):
    return run_folder.last_result(folder)


def _searched(workdir, cell, point):
    return workdir / "search" / cell.slug / _name(point)


def _final(workdir, cell, seed):
    return workdir / "final" / cell.slug / f"seed={seed}"
