"""The Optuna study of a cell of a grid: what was tried, and what was best."""

import functools

import keras
import optuna

from efficientnet_tf.utils import workers
from transfer import recipes
from transfer.sweep import plan as plan_lib

STUDY_FILE = "study.db"
# Of ASHA and the median rule: epochs, or rounds, before the first judgement.
MIN_ROUNDS = 2

RUNNING = (optuna.trial.TrialState.RUNNING,)
WAITING = (optuna.trial.TrialState.WAITING,)
_SCORED = (optuna.trial.TrialState.COMPLETE,)
_ENDED = (
    *_SCORED,
    optuna.trial.TrialState.PRUNED,
    optuna.trial.TrialState.FAIL,
)


class AllDiverged(Exception):
    """There is nothing to choose from."""


class Judge(keras.callbacks.Callback):
    """Reports each round's validation to Optuna, and stops hopeless runs."""

    def __init__(self, trial):
        super().__init__()
        self.trial = trial

    def on_epoch_end(self, epoch, logs=None):
        # Of the averages, where there are any, as in the end.
        score = logs.get("val_ema_top1", logs.get("val_top1"))
        self.trial.report(float(score), epoch + 1)
        if self.trial.should_prune():
            raise optuna.TrialPruned


def open_study(plan, workdir, cell):
    """Returns the study of a cell, with a grid's points waiting in it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
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
            # What is there is asked once, not for each point.
            there = [t.system_attrs["fixed_params"] for t in study.trials]
            for number in range(plan_lib.search_size(plan, cell)):
                if {"point": number} not in there:
                    study.enqueue_trial({"point": number})
    return study


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


def suggest(plan, cell, trial):
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
        kind, draw = float, trial.suggest_float
        if isinstance(getattr(config, name), int):
            kind, draw = int, trial.suggest_int
        values = sorted(v for p in choices if (v := kind(p[name])) > 0)
        point[name] = draw(name, values[0], values[-1], log=True)
    if own:
        point["weight_decay"] /= point["learning_rate"]
    return point


def best_point(study):
    """Returns the overrides of the best trial.

    Raises:
      AllDiverged: there is none.
    """
    scored = study.get_trials(deepcopy=False, states=_SCORED)
    if not scored:
        raise AllDiverged(
            "no run of the search came to its end; choose other values to "
            "search."
        )
    # The first of equals, so that every process chooses the same.
    best = max(scored, key=lambda trial: (trial.value, -trial.number))
    return best.user_attrs["point"]


def list_ended(study):
    """Returns the trials that ended, without those that were killed."""
    killed = study.user_attrs
    return [
        trial
        for trial in study.get_trials(deepcopy=False, states=_ENDED)
        if f"killed-{trial.number}" not in killed
    ]
