"""The end of a run on classes: temperature, scores and its files."""

import dataclasses
import functools
from typing import Any

import tensorflow as tf
from absl import logging

from efficientnet_tf.data.images import decoding
from efficientnet_tf.data.sets import example_files
from efficientnet_tf.inference import (
    classifier as classifier_lib,
    unknown,
)
from efficientnet_tf.training import distribution, summaries
from efficientnet_tf.utils import figures, files, phases, run_folder
from transfer.choice import auto, temperature
from transfer.scores import (
    calibration,
    diagnostics,
    environment,
    gallery,
    image_names,
    predictions,
)
from transfer.training import fitting, inputs, scoring, unknown_images


def finish(setup: fitting.Setup, classifier: classifier_lib.Classifier) -> dict:
    """Calibrates, scores and saves a network; returns fields of the row.

    Args:
      setup: whose config has no rule.
      classifier: trained; its network is changed.
    """
    classifier, calibrated = temperature.calibrate(setup, classifier)
    classifier, fitted = unknown_images.add_detector(
        setup, classifier, auto.list_detectors(setup.workdir)
    )
    tested = setup.examples[setup.config.evaluate_on]
    collector = predictions.Collector(tested.size, classifier.temperature)
    recorder: Any = unknown.Recorder(classifier.model, classifier.unknown)
    scores = scoring.score(
        dataclasses.replace(classifier, model=recorder),
        tested,
        collector.keep,
    )
    _summarize(scores, classifier, setup.task, setup.config.evaluate_on)
    draw = gallery.make_drawer(classifier)
    with phases.during(phases.SAVING):
        kept = _keep(classifier, tested, scores, setup.workdir, draw)
        kept |= _keep_predictions(
            classifier, tested, collector, setup.workdir, draw
        )
    return {
        **_score_row(setup.task, scores),
        **_count(setup, tested),
        **calibrated,
        **fitted,
        **unknown_images.describe_kept(recorder.scores, classifier.unknown),
        **kept,
    }


def _summarize(scores, classifier, task, split):
    for name in ("top1", "top5", "mean_per_class"):
        tf.summary.scalar(summaries.tag(name, split), getattr(scores, name))
    image = figures.confusion_image(scores.confusion, classifier.class_names)
    tf.summary.image(summaries.tag("confusion"), image[None])
    logging.info("%s: %.4f", task.metric, getattr(scores, task.metric))


def _score_row(task, scores):
    return {
        "metric": task.metric,
        "score": getattr(scores, task.metric),
        "top1": scores.top1,
        "top5": scores.top5,
        "mean_per_class": scores.mean_per_class,
    }


def _count(setup, tested):
    """Returns the images of each class, in the order of "class_names"."""
    parts = setup.config.train_on.split("+")
    used = [inputs.count_classes(setup.examples[part]) for part in parts]
    return {
        "train_counts": sum(used).tolist(),
        "test_counts": inputs.count_classes(tested).tolist(),
    }


def _keep(classifier, examples, scores, workdir, draw):
    """Writes the model and its mistakes; returns diagnostics for the row."""
    example_files.save(
        examples, workdir / run_folder.EXAMPLES, classifier.deep_pixels
    )
    diagnostics.save_mistakes(
        examples.dataset,
        scores,
        workdir,
        _make_decoder(classifier),
        draw,
    )
    classifier.save(workdir)
    return diagnostics.collect(
        classifier.model,
        classifier.class_names,
        scores,
        workdir / run_folder.METRICS_FILE,
    )


def _keep_predictions(classifier, examples, collector, workdir, draw):
    """Writes what the run's report is drawn from; returns fields of the row.

    Whatever the images are called: a run is not lost by it.
    """
    found = collector.collect(image_names.describe(examples))
    try:
        predictions.write(workdir / predictions.PREDICTIONS_FILE, found)
        gallery.save(
            examples,
            found,
            workdir,
            _make_decoder(classifier),
            draw,
        )
        files.write_json(
            workdir / environment.ENVIRONMENT_FILE,
            environment.describe(distribution.describe_device()),
        )
    except (OSError, RuntimeError, ValueError) as error:
        logging.warning("The run's report will lack images: %s", error)
    return {
        name: calibration.bin_confidence(sure, found.hits).error
        for name, sure in (
            ("ece_before", found.before),
            ("ece", found.probabilities[:, 0]),
        )
    }


def _make_decoder(classifier):
    return functools.partial(
        decoding.decode, deep_pixels=classifier.deep_pixels
    )
