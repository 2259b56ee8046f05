"""What `auto` compares for labels and numbers: mAP or R² on held-out images.

As for classes, see `auto`: a training is kept if on held-out images it is
better than the linear head by more than one standard error of the difference.
Not losses, which label smoothing makes worse: those of a training would lose.
"""

import dataclasses
import time
from typing import Any

import keras
import numpy as np
from absl import logging

from efficientnet_tf.data import examples as examples_lib
from efficientnet_tf.utils import files, run_folder, target_scores, targets
from transfer.choice import auto, folds, time_budget
from transfer.config import recipes, training_plan
from transfer.scores import image_names, target_answers
from transfer.training import fitting, scoring, target_heads


def compare(
    setup: fitting.Setup,
    linear: recipes.FinetuneConfig,
    changed: dict[str, Any],
    image_area: int,
) -> dict[str, Any]:
    """Returns what was found, the fields of `auto.CHOICE_FILE`.

    Args:
      setup: whose config has the rule "auto".
      linear: the config of the linear head.
      changed: what the user has set.
      image_area: of one training image, in pixels.
    """
    begin = time.perf_counter()
    metric = targets.METRICS[setup.target]
    baseline = _Baseline(dataclasses.replace(setup, config=linear))
    seconds = time.perf_counter() - begin
    logging.info(
        "Baseline: a linear head, C=%g, %s %.4f on held-out images, after "
        "%.0f s.",
        baseline.C,
        targets.METRIC_NAMES[metric],
        baseline.score,
        seconds,
    )
    found = {
        "kept": auto.LINEAR,
        f"baseline_{metric}": baseline.score,
        "baseline_seconds": round(seconds, 1),
        "baseline_C": baseline.C,
    }
    kept = dataclasses.replace(linear, l2_sweep=(baseline.C,))
    plan = auto.plan_training(
        setup, changed, image_area, max(baseline.score, 0.0)
    )
    pairs = folds.divide(setup.examples)
    try:
        plan = auto.limit(setup, plan, changed, len(pairs))
    except time_budget.TooShort as error:
        logging.info("No training: %s", error)
        found |= {"tried": "no training", "compared_on": 0}
        found["why"] = "there was no time for it"
    else:
        found["tried"] = training_plan.describe(plan)
        found |= _train(setup, plan, baseline, pairs)
        kept = plan if found["kept"] == auto.TRAINING else kept
    return {**found, "config": dataclasses.asdict(kept)}


def read_held_out(
    setup: fitting.Setup,
) -> target_scores.Answers | None:
    """Returns what compared trainings said of images they had not seen.

    None: nothing was compared.
    """
    outputs = len(setup.class_names)
    paths = sorted(
        setup.workdir.glob(f"{auto.FOLDER}/*/{target_answers.ANSWERS_FILE}")
    )
    parts = [target_answers.read(path, outputs) for path in paths]
    known = [part[0] for part in parts if part is not None]
    if not known:
        return None
    return _join(known)


class _Baseline:
    """A linear head on the features of a setup's frozen network."""

    def __init__(self, setup):
        self._setup = setup
        self._classifier = fitting.build(setup)
        chosen = target_heads.search(
            *self._extract(setup.examples), setup.config.l2_sweep, setup.target
        )
        self.C = chosen.C
        self.score = target_scores.find_metric(
            chosen.answers.truth, chosen.answers.found, setup.target
        )

    def answer(self, examples):
        """Returns what one fitted on train says of the validation images."""
        fitted, scored = self._extract(examples)
        return target_heads.answer(fitted, scored, self.C, self._setup.target)

    def _extract(self, examples):
        return folds.extract_features(self._setup, self._classifier, examples)


def _train(setup, plan, baseline, pairs):
    """Returns how the planned training compares with the baseline."""
    said: tuple[list, list] = [], []
    gain = error = 0.0
    for number, (train, held) in enumerate(pairs):
        if plan.time_limit:
            left = len(pairs) - number + 1
            setup = time_budget.hold(setup, trainings=left)
        examples = {"train": train, "validation": held}
        linear = baseline.answer(examples)
        said[0].append(linear)
        said[1].append(_train_fold(setup, plan, number, examples, linear))
        former, new = map(_join, said)
        gain, error = target_scores.find_gain(former, new, setup.target)
        if not gain > 0:
            break  # The other folds would have to make up for this one.
    images = sum(part.size for part in said[0])
    name = targets.METRIC_NAMES[targets.METRICS[setup.target]]
    return {
        "kept": auto.TRAINING if gain > error else auto.LINEAR,
        "compared_on": images,
        "gain": gain,
        "gain_error": error,
        "why": (
            f"on {images} held-out images training changes the {name} by "
            f"{gain:+.4f}, with a standard error of {error:.4f}"
        ),
    }


def _join(parts):
    return target_scores.Answers(
        np.concatenate([part.truth for part in parts]),
        np.concatenate([part.found for part in parts]),
    )


def _train_fold(setup, plan, number, examples, linear):
    """Returns what the planned training says of the validation images."""
    folder = setup.workdir / auto.FOLDER / f"fold{number}"
    path = folder / target_answers.ANSWERS_FILE
    held: examples_lib.Examples = examples["validation"]
    stored = target_answers.read(path, len(setup.class_names))
    if stored is not None and stored[0].size == held.size:
        return stored[0]  # Of an earlier process.
    setup = folds.begin_fold(setup, plan, examples, folder)
    keras.utils.set_random_seed(setup.config.seed)
    classifier = fitting.build(setup)
    try:
        folds.train(setup, classifier)
        answers = scoring.predict(classifier, held)
    except FloatingPointError as error:
        logging.warning("The training diverged: %s", error)
        # As bad as it can be, so that it is not kept.
        answers = target_scores.Answers(linear.truth, 1 - linear.truth)
    target_answers.write(path, answers, image_names.describe(held).names)
    files.remove(folder / run_folder.CHECKPOINTS)
    return answers
