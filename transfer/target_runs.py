"""The end of a run on labels or numbers: thresholds, scores and its files."""

import dataclasses
import functools
import pathlib

import tensorflow as tf
from absl import logging

from efficientnet_tf.data.images import decoding
from efficientnet_tf.data.sets import example_files
from efficientnet_tf.inference import (
    classifier as classifier_lib,
)
from efficientnet_tf.training import distribution, summaries
from efficientnet_tf.utils import (
    files,
    phases,
    run_folder,
    target_scores,
    targets,
    words,
)
from transfer.choice import target_choice
from transfer.scores import (
    diagnostics,
    environment,
    gallery,
    image_names,
    target_answers,
)
from transfer.training import fitting, scoring

# With fewer held-out images a threshold is one image's chance.
FEWEST_FOR_THRESHOLDS = 20


def check(setup: fitting.Setup) -> None:
    """Raises ValueError for what a recipe cannot do with a target."""
    config, target = setup.config, setup.target
    if target == targets.CLASS:
        if config.loss != "standard":
            raise ValueError(
                f"loss={config.loss!r} is for several labels an image, or for "
                "numbers; classes have the cross-entropy."
            )
        return
    if config.head == "prototypes":
        targets.check_class(target, "head='prototypes'", setup.task.dataset)
    suits = {targets.LABELS: "asymmetric", targets.NUMBERS: "squared"}[target]
    if config.loss not in ("standard", suits):
        raise ValueError(
            f"loss={config.loss!r} does not go with {target}; choose standard "
            f"or {suits}."
        )
    for field, plain in (
        ("class_weight", "none"),
        ("sampling", "shuffled"),
        ("quantization", "none"),
        ("shots", 0),
    ):
        if getattr(config, field) != plain:
            targets.check_class(
                target,
                f"{field}={getattr(config, field)}",
                setup.task.dataset,
            )


def finish(
    setup: fitting.Setup,
    classifier: classifier_lib.Classifier,
    held_out: target_scores.Answers | None,
) -> dict:
    """Scores and saves a trained network; returns fields of the run's row.

    Args:
      setup: whose config has no rule.
      classifier: trained.
      held_out: what a linear head said of images that it was not fitted on.
    """
    facts: dict = {}
    if classifier.target == targets.LABELS:
        classifier, facts = _choose_thresholds(setup, classifier, held_out)
    tested = setup.examples[setup.config.evaluate_on]
    answers = scoring.predict(classifier, tested)
    scores = target_scores.score(
        answers, classifier.target, classifier.thresholds
    )
    metric = targets.METRICS[classifier.target]
    if scores[metric] is None:
        raise ValueError(
            f"{metric} is not defined on the images of "
            f"{setup.config.evaluate_on}: no label occurs in them, or each "
            "number is the same in all."
        )
    split = setup.config.evaluate_on
    tf.summary.scalar(summaries.tag(metric, split), scores[metric])
    logging.info("%s: %.4f", targets.METRIC_NAMES[metric], scores[metric])
    with phases.during(phases.SAVING):
        _save(setup, classifier, tested, answers)
    return {
        "metric": metric,
        "score": scores[metric],
        "target": classifier.target,
        **scores,
        **facts,
        **_count(setup, tested),
        "class_names": list(classifier.class_names),
        **diagnostics.describe(
            classifier.model, setup.workdir / run_folder.METRICS_FILE
        ),
    }


def _count(setup, tested):
    """Returns the images of each label, as "class_names"; {} of numbers."""
    if tested.target != targets.LABELS:
        return {}
    parts = setup.config.train_on.split("+")
    used = [setup.examples[part].read_labels().sum(axis=0) for part in parts]
    return {
        "train_counts": sum(used).astype(int).tolist(),
        "test_counts": tested.read_labels().sum(axis=0).astype(int).tolist(),
    }


def _choose_thresholds(setup, classifier, held_out):
    """Returns the classifier with thresholds, and what they were chosen on."""
    config = setup.config
    note = "of classifiers like it, fitted on the others"
    if config.evaluate_on == "validation":
        held_out = None
        note = "the validation images are those that it is scored on"
    elif config.trains and config.train_on == "train":
        held_out = scoring.predict(classifier, setup.examples["validation"])
        note = "of the validation split"
    elif config.trains:
        held_out = target_choice.read_held_out(setup)
        note = "that the training was compared on"
        if held_out is None:
            note = (
                "no images were held out; --set=train_on=train keeps the "
                "validation images for it"
            )
    if held_out is None and not config.trains:
        note = "too few images were held out"
    if held_out is None or held_out.size < FEWEST_FOR_THRESHOLDS:
        if held_out is not None:
            note = f"only {words.count(held_out.size, 'image')} were held out"
        logging.warning("All thresholds are 0.5: %s.", note)
        chosen = (targets.THRESHOLD,) * len(classifier.class_names)
        note = f"all are 0.5: {note}"
    else:
        chosen = target_scores.choose_thresholds(held_out)
        note = f"of the best F1 on {held_out.size:,} held-out images {note}"
    classifier = dataclasses.replace(classifier, thresholds=chosen)
    return classifier, {"thresholds": list(chosen), "thresholds_by": note}


def _save(setup, classifier, tested, answers):
    """Writes the model, example images, and what the report is drawn from."""
    workdir = pathlib.Path(setup.workdir)
    example_files.save(
        tested, workdir / run_folder.EXAMPLES, classifier.deep_pixels
    )
    classifier.save(workdir)
    try:
        target_answers.write(
            workdir / target_answers.ANSWERS_FILE,
            answers,
            image_names.describe(tested).names,
        )
        gallery.save_worst(
            tested,
            answers,
            workdir,
            functools.partial(
                decoding.decode, deep_pixels=classifier.deep_pixels
            ),
            gallery.make_drawer(classifier),
        )
        files.write_json(
            workdir / environment.ENVIRONMENT_FILE,
            environment.describe(distribution.describe_device()),
        )
    except (OSError, RuntimeError, ValueError) as error:
        logging.warning("The run's report will lack images: %s", error)
