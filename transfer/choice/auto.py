"""The recipe `auto`: a linear classifier, and training if that is better.

The linear classifier on frozen features is the baseline. A training planned by
`training_plan` starts from it, and is kept if on held-out images it is better
than the baseline by more than one standard error of their difference. What was
kept is then fitted on all images, as every recipe does.
"""

import dataclasses
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from efficientnet_tf.inference import unknown
from efficientnet_tf.utils import (
    documents,
    files,
    intervals,
    run_folder,
    untrusted,
    words,
)
from transfer.choice import folds, time_budget
from transfer.config import finetune_config, recipes, training_plan
from transfer.scores import image_names, predictions
from transfer.training import (
    fitting,
    linear_head,
    prototypes,
    scoring,
    unknown_images,
)

# In a run's folder: the trainings that were compared, and what was found.
FOLDER = "choice"
CHOICE_FILE = "choice.json"
FOLD_FILE = "fold.json"

LINEAR, TRAINING = "linear", "training"
# Of a row without a training.
NOT_COMPARED = {"compared_on": 0, "wins": 0, "losses": 0}

# What is read of `CHOICE_FILE`; the rest goes into the run's row.
_CHOICE_KINDS = {"kept": str, "why": str, "config": dict}

# What a config says of the images and of the classifier, not of the training.
_OF_BASELINE = (
    "resolution",
    "width",
    "resize",
    "crop",
    "interpolation",
    "deep_pixels",
    "l2_sweep",
    "class_weight",
    "sampling",
    "train_on",
    "evaluate_on",
    "precision",
    "time_limit",
    "seed",
)


# Takes the arguments of `_compare`, and returns what it does.
Compare = Callable[..., dict]


class StopIfNotBetter(keras.callbacks.Callback):
    """Stops a training that has not passed a baseline when half of it is over.

    Args:
      accuracy: the baseline's on the validation images.
    """

    def __init__(self, accuracy: float):
        super().__init__()
        self.accuracy = accuracy
        self._best = 0.0

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._best = max(self._best, (logs or {}).get("val_top1", 0.0))
        is_late = epoch + 1 >= self.params["epochs"] / 2
        if is_late and self._best <= self.accuracy:
            logging.info("Not better than the linear classifier; stopping.")
            self.model.stop_training = True


def list_detectors(workdir: pathlib.Path) -> list[pathlib.Path]:
    """Returns what told unknown images in trainings that were compared."""
    return sorted(workdir.glob(f"{FOLDER}/*/{unknown.UNKNOWN_FILE}"))


def metrics_files(workdir: pathlib.Path) -> list[pathlib.Path]:
    """Returns the metrics of all trainings that were compared in a run."""
    return sorted(workdir.glob(f"{FOLDER}/*/{run_folder.METRICS_FILE}"))


def choose(
    setup: fitting.Setup, image_area: int, compare: Compare | None = None
) -> tuple[recipes.FinetuneConfig, dict]:
    """Returns the config that is kept, and fields of the row that say why.

    What is found is written to `setup.workdir`, where a later call finds it.

    Args:
      setup: whose config has the rule "auto".
      image_area: of one training image, in pixels.
      compare: compares the linear head with a training; None: by accuracy.
    """
    changed = recipes.list_changes("auto", dataclasses.asdict(setup.config))
    changed = {name: getattr(setup.config, name) for name in changed}
    changed["seed"] = setup.config.seed
    # At once, since what the user has set may not go with it.
    plan = plan_training(setup, changed, image_area, accuracy=0.0)
    if setup.weights is None:
        why = "the weights are random, so a linear classifier has no features"
        tried = training_plan.describe(plan)
        return plan, {"kept": TRAINING, "tried": tried, "why": why}
    linear = dataclasses.replace(
        recipes.RECIPES["linear"],
        **{name: v for name, v in changed.items() if name in _OF_BASELINE},
    )
    path = setup.workdir / CHOICE_FILE
    if not path.exists():
        if setup.config.time_limit:
            linear = time_budget.limit_features(
                dataclasses.replace(setup, config=linear),
                fixed=changed,
                alone=False,
            )
        found = (compare or _compare)(setup, linear, changed, image_area)
        files.write_json(path, found)
    config, found = read_choice(path)
    logging.info("Kept: %s; %s.", found["kept"], found["why"])
    return config, found


def read_choice(
    path: str | os.PathLike,
) -> tuple[recipes.FinetuneConfig, dict]:
    """Returns the config that was kept, and the other fields of the file.

    Raises:
      untrusted.DamagedError: the file is not what `choose` wrote.
    """
    found = documents.read_object(path, _CHOICE_KINDS)
    documents.require(found, _CHOICE_KINDS, path)
    fields = finetune_config.upgrade(found.pop("config"))
    return documents.build(recipes.FinetuneConfig, fields, path), found


def plan_training(
    setup: fitting.Setup,
    changed: dict[str, Any],
    image_area: int,
    accuracy: float,
) -> recipes.FinetuneConfig:
    """Returns the training's config, with the fields that the user set."""
    parts = setup.config.train_on.split("+")
    plan = training_plan.plan(
        images=sum(setup.examples[part].size for part in parts),
        image_area=image_area,
        accelerated=bool(tf.config.list_physical_devices("GPU")),
        baseline=accuracy,
    )
    if changed.get("steps"):
        changed = {"epochs": 0, **changed}  # They exclude each other.
    return dataclasses.replace(plan, **changed)


def _compare(setup, linear, changed, image_area):
    """Returns what was found: the fields of CHOICE_FILE."""
    few = _find_too_few(setup.examples, linear)
    if few is not None:
        return few
    begin = time.perf_counter()
    baseline = _Baseline(dataclasses.replace(setup, config=linear))
    chosen = baseline.strength
    seconds = time.perf_counter() - begin
    logging.info(
        "Baseline: a linear classifier of %s, after %.0f s.", chosen, seconds
    )
    tf.summary.scalar("auto/baseline_top1", chosen.accuracy)
    found = {
        "kept": LINEAR,
        "baseline_top1": chosen.accuracy,
        "baseline_seconds": round(seconds, 1),
        "baseline_C": chosen.C,
    }
    # Stored, because the plan goes by the device, and that may be another when
    # the run is resumed.
    kept = dataclasses.replace(linear, l2_sweep=(chosen.C,))
    mistakes = round((1 - chosen.accuracy) * chosen.images)
    if not intervals.is_better(mistakes, 0):
        why = (
            f"the linear classifier gets {mistakes} of {chosen.images} "
            "held-out images wrong, too few to see whether training is better"
        )
        found |= {"tried": "no training", "why": why}
        found |= NOT_COMPARED
    else:
        plan = plan_training(setup, changed, image_area, chosen.accuracy)
        pairs = folds.divide(setup.examples)
        try:
            plan = limit(setup, plan, changed, len(pairs))
        except time_budget.TooShort as error:
            logging.info("No training: %s", error)
            found |= {"tried": "no training", "why": "there was no time for it"}
            found |= NOT_COMPARED
        else:
            found["tried"] = training_plan.describe(plan)
            found |= _train(setup, plan, baseline, pairs)
            kept = plan if found["kept"] == TRAINING else kept
    return {**found, "config": dataclasses.asdict(kept)}


def _find_too_few(examples, linear):
    """Returns what `_compare` does for images too few to hold any out."""
    parts = (examples["train"], examples["validation"])
    labels = np.concatenate([part.read_labels() for part in parts])
    if not prototypes.are_all(labels):
        return None
    # No penalty was searched: the linear head of these is prototypes.
    return {
        "kept": LINEAR,
        "why": f"{words.count(len(labels), 'image')} of "
        f"{words.count(len(np.unique(labels)), 'class')} are too few to hold "
        "any out, so its rows are the class means",
        "tried": "no training",
        **NOT_COMPARED,
        "config": dataclasses.asdict(linear),
    }


def limit(
    setup: fitting.Setup,
    plan: recipes.FinetuneConfig,
    changed: dict[str, Any],
    folds: int,
) -> recipes.FinetuneConfig:
    """Returns a plan that ends in time, if there is a limit."""
    if not plan.time_limit:
        return plan
    chosen = time_budget.choose(
        dataclasses.replace(setup, config=plan),
        fixed=changed,
        trainings=folds + 1,
    )
    return chosen.apply(plan)


def _train(setup, plan, baseline, pairs):
    """Returns how the planned training compares with the baseline."""
    compared, wins, losses = 0, 0, 0
    for number, (train, held) in enumerate(pairs):
        if plan.time_limit:
            left = len(pairs) - number + 1
            setup = time_budget.hold(setup, trainings=left)
        examples = {"train": train, "validation": held}
        linear = baseline.find_hits(examples)
        trained = _train_fold(setup, plan, number, examples, linear.mean())
        compared += len(linear)
        wins += int((trained & ~linear).sum())
        losses += int((~trained & linear).sum())
        if wins <= losses:
            break  # The other folds would have to make up for this one.
    why = (
        f"of {compared} held-out images training gets {wins} right that the "
        f"linear classifier gets wrong, and {losses} wrong that it gets right"
    )
    return {
        "kept": TRAINING if intervals.is_better(wins, losses) else LINEAR,
        "compared_on": compared,
        "wins": wins,
        "losses": losses,
        "why": why,
    }


class _Baseline:
    """Linear classifiers on the features of a setup's frozen network."""

    def __init__(self, setup):
        logging.info("Fitting the baseline, a linear classifier.")
        self._setup = setup
        self._classifier = fitting.build(setup)
        self.strength = linear_head.choose_strength(
            *self._extract(setup.examples),
            setup.config.l2_sweep,
            weighing=setup.config.weigh(setup.class_names),
        )

    def find_hits(self, examples):
        """Returns which validation images one fitted on train has right."""
        fitted, scored = self._extract(examples)
        kernel, bias = linear_head.fit_classifier(
            fitted,
            len(self._setup.class_names),
            self.strength.C,
            weighing=self._setup.config.weigh(self._setup.class_names),
        )
        found = (scored.features @ kernel + bias).argmax(axis=1)
        return found == scored.labels

    def _extract(self, examples):
        return folds.extract_features(self._setup, self._classifier, examples)


def _train_fold(setup, plan, number, examples, accuracy):
    """Returns which validation images the planned training has right.

    `accuracy` is the baseline's on these.
    """
    folder = setup.workdir / FOLDER / f"fold{number}"
    path = folder / FOLD_FILE
    if path.exists():  # Of an earlier process.
        return _read_hits(path, examples["validation"].size)
    setup = folds.begin_fold(setup, plan, examples, folder)
    hits = _find_trained_hits(setup, accuracy)
    files.write_json(path, {"hits": hits.astype(int).tolist()})
    files.remove(folder / run_folder.CHECKPOINTS)
    return hits


def _read_hits(path, images):
    hits = documents.read_object(path, {"hits": list}).get("hits", [])
    if len(hits) != images or not all(hit in (0, 1) for hit in hits):
        raise untrusted.DamagedError(
            f"{path}: hits must be {images} numbers that are 0 or 1."
        )
    return np.array(hits, bool)


def _find_trained_hits(setup, accuracy):
    held = setup.examples["validation"]
    keras.utils.set_random_seed(setup.config.seed)
    classifier = fitting.build(setup)
    try:
        folds.train(setup, classifier, [StopIfNotBetter(accuracy)])
    except FloatingPointError as error:
        logging.warning("The training diverged: %s", error)
        return np.zeros(held.size, bool)
    collector = predictions.Collector(held.size)
    scores = scoring.score(classifier, held, collector.keep)
    predictions.write(
        setup.workdir / predictions.HELD_OUT_FILE,
        collector.collect(image_names.describe(held)),
    )
    _keep_detector(setup, classifier)
    return scores.predicted == held.read_labels()


def _keep_detector(setup, classifier):
    """Writes what tells unknown images, by the held-out ones."""
    if setup.config.time_limit:  # None was set aside for it.
        return
    if setup.examples["validation"].size < unknown_images.ENOUGH:
        return
    # On the images that are held out here, not those of the run's score.
    config = dataclasses.replace(setup.config, evaluate_on="test")
    classifier, _ = unknown_images.add_detector(
        dataclasses.replace(setup, config=config), classifier
    )
    if classifier.unknown is not None:
        unknown.write(setup.workdir / unknown.UNKNOWN_FILE, classifier.unknown)
