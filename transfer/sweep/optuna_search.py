"""The search of a cell by TPE or with a pruner: its Optuna study, in SQLite.

A plain grid does not come here, so it runs without Optuna.
"""

import contextlib
import os
import pathlib
from collections.abc import Callable, Sequence

import filelock
import keras
import optuna
from absl import logging

from efficientnet_tf.utils import workers
from transfer.config import recipes
from transfer.sweep import plan as plan_lib, study_file

# Epochs, or rounds, before ASHA or the median rule judges a run.
MIN_ROUNDS = 2

RUNNING = (optuna.trial.TrialState.RUNNING,)
WAITING = (optuna.trial.TrialState.WAITING,)
_SCORED = (optuna.trial.TrialState.COMPLETE,)


class Judge(keras.callbacks.Callback):
    """Reports each round's validation score to Optuna; stops hopeless runs."""

    def __init__(self, trial: optuna.Trial):
        super().__init__()
        self.trial = trial
        self.rounds: dict[int, float] = {}

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        logs = logs or {}
        # Averaged weights, where there are any, are what is scored in the end.
        name = "val_ema_top1" if "val_ema_top1" in logs else "val_top1"
        score = float(logs[name])
        try:
            self.trial.report(score, epoch + 1)
            hopeless = self.trial.should_prune()
        # SQLAlchemy raises a dozen kinds on a database that is gone, locked or
        # damaged; a training of hours does not end by that.
        except Exception as error:
            reason = (
                str(error).strip().splitlines() or [type(error).__name__]
            )[0]
            logging.warning("This run goes on unjudged: %s", reason)
            return
        self.rounds[epoch + 1] = score
        if hopeless:
            raise optuna.TrialPruned


def step(
    plan: plan_lib.Plan,
    workdir: str | os.PathLike,
    cell: plan_lib.Cell,
    *,
    train: Callable[[dict, Sequence[keras.callbacks.Callback]], dict],
    tidy: Callable[[dict], None],
) -> str:
    """Does one run of a search.

    Args:
      plan: one that needs Optuna.
      workdir: the grid's folder.
      cell: the cell to search for.
      train: does the run of a point under some callbacks; returns its row.
      tidy: removes what nobody needs once a point's run has ended.

    Returns:
      "ran", "busy" if only runs of other processes are left, or "done".
    """
    workdir = pathlib.Path(workdir)
    study = open_study(plan, workdir, cell)
    with contextlib.ExitStack() as held:
        with workers.lock(workdir, cell.slug):
            trial = _claim(study, plan, workdir, cell, held)
            # Under the lock: a dead trial ends before it is replaced.
            running = study.get_trials(deepcopy=False, states=RUNNING)
        if trial is not None:
            _try(workdir, cell, trial, train)
            open_study(plan, workdir, cell)  # Which tells it how it ended.
            tidy(trial.user_attrs["point"])
            return "ran"
    return "busy" if running else "done"


def count_ended(
    plan: plan_lib.Plan, workdir: str | os.PathLike, cell: plan_lib.Cell
) -> int:
    """Returns how many runs of a cell's search have ended."""
    if not study_file.exists(pathlib.Path(workdir), cell.slug):
        return 0
    return len(study_file.list_ended(open_study(plan, workdir, cell)))


def best_point(
    plan: plan_lib.Plan, workdir: str | os.PathLike, cell: plan_lib.Cell
) -> dict | None:
    """Returns the overrides of the best trial; None if no trial has a score."""
    study = open_study(plan, workdir, cell)
    scored = study.get_trials(deepcopy=False, states=_SCORED)
    # Of equals the grid's first point, or the lowest values: not by number,
    # which changes if a trial's process is killed.
    best = max(scored, key=_rank, default=None)
    return best and best.user_attrs["point"]


def _rank(trial):
    params = trial.params
    return trial.value, [-params[name] for name in sorted(params)]


def open_study(
    plan: plan_lib.Plan, workdir: str | os.PathLike, cell: plan_lib.Cell
) -> optuna.Study:
    """Returns the study of a cell, with a grid's points waiting in it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    workdir = pathlib.Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    with workers.lock(workdir, "storage"):
        study = study_file.open_study(
            workdir, cell.slug, _make_pruner(plan.pruner)
        )
        if plan.sampler == "grid":
            # One query for all points, not one for each.
            there = [_params(trial) for trial in study.trials]
            for number in range(plan_lib.search_size(plan, cell)):
                if {"point": number} not in there:
                    study.enqueue_trial({"point": number})
    return study


def suggest(
    plan: plan_lib.Plan, cell: plan_lib.Cell, trial: optuna.Trial
) -> dict:
    """Returns a trial's overrides."""
    choices = plan_lib.points(plan, cell.recipe)
    if plan.sampler == "grid":
        number = trial.suggest_categorical("point", list(range(len(choices))))
        return choices[number]
    own = not plan.search
    if own:  # Kornblith's: a strong decay goes with a small rate.
        choices = [
            {**c, "weight_decay": c["weight_decay"] * c["learning_rate"]}
            for c in choices
        ]
    config = recipes.get_recipe(cell.recipe, task=cell.task)
    point = {}
    for name in choices[0]:
        values = [float(choice[name]) for choice in choices]
        values = sorted(value for value in values if value > 0)
        if isinstance(getattr(config, name), int):
            low, high = int(values[0]), int(values[-1])
            point[name] = trial.suggest_int(name, low, high, log=True)
        else:
            point[name] = trial.suggest_float(
                name, values[0], values[-1], log=True
            )
    if own:
        point["weight_decay"] /= point["learning_rate"]
    return point


def _claim(study, plan, workdir, cell, held):
    """Returns a trial that is this process's alone, or None."""
    for trial in study.get_trials(deepcopy=False, states=RUNNING):
        lock = workers.lock(workdir, f"{cell.slug}-{trial.number}", 0)
        with contextlib.suppress(filelock.Timeout), lock:
            # Nobody holds it: its process is dead, or has just ended it.
            if not study.trials[trial.number].state.is_finished():
                _replace(study, trial)
    left = study.get_trials(deepcopy=False, states=WAITING)
    if plan.sampler == "tpe":
        started = len(study_file.list_ended(study)) + len(
            study.get_trials(deepcopy=False, states=RUNNING)
        )
        left = left or started < plan.trials
    if not left:
        return None
    # A seed for each trial, whichever process makes it, and however often.
    number = len(study.trials) - sum(map(_was_killed, study.user_attrs))
    study.sampler = optuna.samplers.TPESampler(seed=number)
    trial = study.ask()
    held.enter_context(workers.lock(workdir, f"{cell.slug}-{trial.number}", 0))
    trial.set_user_attr("id", study_file.make_id())
    # Before the trial can be seen as running without its parameters.
    trial.set_user_attr("point", suggest(plan, cell, trial))
    return trial


def _replace(study, dead):
    """Puts another trial in the queue, to resume from a dead one's checkpoints.

    The dead trial ends last, so that after a kill in between the next process
    still finds it to replace.
    """
    # It may have died before it took them over from the queue.
    params = _params(dead)
    waiting = study.get_trials(deepcopy=False, states=WAITING)
    if params not in map(_params, waiting):
        study.enqueue_trial(params)
    study.set_user_attr(f"{study_file.KILLED}{dead.number}", True)
    study.tell(dead.number, state=optuna.trial.TrialState.FAIL)


def _params(trial):
    return trial.system_attrs.get("fixed_params", trial.params)


def _try(workdir, cell, trial, train):
    """Does the run of a trial, and logs how it ended."""
    judge, value, state = Judge(trial), None, "FAIL"
    try:
        value = train(trial.user_attrs["point"], [judge])["score"]
        state = "COMPLETE"
    except optuna.TrialPruned:
        state = "PRUNED"
    except Exception as error:
        if not workers.is_runs_own(error):
            raise
        logging.warning("%s, trial %d: %s", cell.slug, trial.number, error)
    with workers.lock(workdir, "storage"):
        study_file.log_end(
            workdir,
            cell.slug,
            trial,
            state=state,
            value=value,
            rounds=judge.rounds,
        )


def _was_killed(attribute):
    return attribute.startswith(study_file.KILLED)


def _make_pruner(name):
    if name == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=MIN_ROUNDS)
    if name == "median":
        return optuna.pruners.MedianPruner(n_warmup_steps=MIN_ROUNDS)
    return optuna.pruners.NopPruner()
