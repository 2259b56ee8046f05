"""The search of a cell by TPE or with a pruner: its Optuna study, in SQLite.

A plain grid does not come here, so it runs without Optuna.
"""

import contextlib
import functools
import os
import pathlib
from collections.abc import Callable, Sequence

import filelock
import keras
import optuna
from absl import logging

from efficientnet_tf.utils import workers
from transfer import recipes
from transfer.sweep import plan as plan_lib

STUDY_FILE = "study.db"
# Epochs, or rounds, before ASHA or the median rule judges a run.
MIN_ROUNDS = 2

RUNNING = (optuna.trial.TrialState.RUNNING,)
WAITING = (optuna.trial.TrialState.WAITING,)
_SCORED = (optuna.trial.TrialState.COMPLETE,)
_ENDED = (
    *_SCORED,
    optuna.trial.TrialState.PRUNED,
    optuna.trial.TrialState.FAIL,
)


class Judge(keras.callbacks.Callback):
    """Reports each round's validation score to Optuna; stops hopeless runs."""

    def __init__(self, trial: optuna.Trial):
        super().__init__()
        self.trial = trial

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        logs = logs or {}
        # Averaged weights, where there are any, are what is scored in the end.
        name = "val_ema_top1" if "val_ema_top1" in logs else "val_top1"
        self.trial.report(float(logs[name]), epoch + 1)
        if self.trial.should_prune():
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
    study = open_study(plan, workdir, cell)
    with contextlib.ExitStack() as held:
        with workers.lock(workdir, cell.slug):
            trial = _claim(study, plan, workdir, cell, held)
            # Under the lock: a dead trial ends before it is replaced.
            running = study.get_trials(deepcopy=False, states=RUNNING)
        if trial is not None:
            _try(study, trial, train)
            tidy(trial.user_attrs["point"])
            return "ran"
    return "busy" if running else "done"


def count_ended(
    plan: plan_lib.Plan, workdir: str | os.PathLike, cell: plan_lib.Cell
) -> int:
    """Returns how many runs of a cell's search have ended."""
    if not (pathlib.Path(workdir) / STUDY_FILE).exists():
        return 0
    return len(_list_ended(open_study(plan, workdir, cell)))


def best_point(
    plan: plan_lib.Plan, workdir: str | os.PathLike, cell: plan_lib.Cell
) -> dict | None:
    """Returns the overrides of the best trial; None if no trial has a score."""
    study = open_study(plan, workdir, cell)
    scored = study.get_trials(deepcopy=False, states=_SCORED)
    # The first of equals, so that every process chooses the same.
    best = max(scored, key=lambda t: (t.value, -t.number), default=None)
    return best and best.user_attrs["point"]


def open_study(
    plan: plan_lib.Plan, workdir: str | os.PathLike, cell: plan_lib.Cell
) -> optuna.Study:
    """Returns the study of a cell, with a grid's points waiting in it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    workdir = pathlib.Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    with workers.lock(workdir, "storage"):
        study = optuna.create_study(
            storage=_storage(str(workdir / STUDY_FILE)),
            study_name=cell.slug,
            direction="maximize",
            load_if_exists=True,
            pruner=_make_pruner(plan.pruner),
        )
        if plan.sampler == "grid":
            # One query for all points, not one for each.
            there = [t.system_attrs["fixed_params"] for t in study.trials]
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
        started = len(_list_ended(study)) + len(
            study.get_trials(deepcopy=False, states=RUNNING)
        )
        left = left or started < plan.trials
    if not left:
        return None
    # A seed for each trial, whichever process makes it.
    study.sampler = optuna.samplers.TPESampler(seed=len(study.trials))
    trial = study.ask()
    held.enter_context(workers.lock(workdir, f"{cell.slug}-{trial.number}", 0))
    # Before the trial can be seen as running without its parameters.
    trial.set_user_attr("point", suggest(plan, cell, trial))
    return trial


def _replace(study, dead):
    """Puts another trial in the queue, to resume from a dead one's checkpoints.

    The dead trial ends last, so that after a kill in between the next process
    still finds it to replace.
    """
    # It may have died before it took them over from the queue.
    params = dead.system_attrs.get("fixed_params", dead.params)
    waiting = study.get_trials(deepcopy=False, states=WAITING)
    if params not in [t.system_attrs["fixed_params"] for t in waiting]:
        study.enqueue_trial(params)
    study.set_user_attr(f"killed-{dead.number}", True)
    study.tell(dead.number, state=optuna.trial.TrialState.FAIL)


def _try(study, trial, train):
    """Does the run of a trial, and tells the study how it ended."""
    try:
        row = train(trial.user_attrs["point"], [Judge(trial)])
    except optuna.TrialPruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    except Exception as error:
        if not workers.is_runs_own(error):
            raise
        logging.warning(
            "%s, trial %d: %s", study.study_name, trial.number, error
        )
        trial.set_user_attr("diverged", str(error))
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    else:
        study.tell(trial, row["score"])


def _list_ended(study):
    """Returns the trials that ended, without those that were killed."""
    killed = study.user_attrs
    return [
        trial
        for trial in study.get_trials(deepcopy=False, states=_ENDED)
        if f"killed-{trial.number}" not in killed
    ]


@functools.cache
def _storage(path):
    return optuna.storages.RDBStorage(
        f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": 60}}
    )


def _make_pruner(name):
    if name == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=MIN_ROUNDS)
    if name == "median":
        return optuna.pruners.MedianPruner(n_warmup_steps=MIN_ROUNDS)
    return optuna.pruners.NopPruner()
