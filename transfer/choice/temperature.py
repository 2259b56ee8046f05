"""The temperature of a run: fitted on held-out images, kept in its head.

A softmax of logits / T is that of a dense layer whose kernel and bias are
divided by T. So nothing that loads or exports the network needs to know of it:
predictions stay the same, and probabilities mean what they say. Checkpoints
keep what was trained, so that a resumed run divides once.
"""

import dataclasses

from absl import logging

from efficientnet_tf.data import examples as examples_lib
from efficientnet_tf.inference import classifier as classifier_lib
from efficientnet_tf.utils import untrusted, words
from transfer.choice import auto
from transfer.scores import (
    calibration,
    image_names,
    predictions as predictions_lib,
)
from transfer.training import fitting, scoring


@dataclasses.dataclass(frozen=True)
class _Held:
    """Predictions of held-out images, or None; and which they are, or why."""

    found: predictions_lib.Predictions | None
    note: str


def calibrate(
    setup: fitting.Setup, classifier: classifier_lib.Classifier
) -> tuple[classifier_lib.Classifier, dict]:
    """Divides a trained head by its temperature, where one can be fitted.

    Args:
      setup: whose config has no rule.
      classifier: trained; its network is changed.

    Returns:
      The classifier, which knows its temperature, and fields of the run's row:
      "temperature" (None: none), "calibrated_on", how many images, and
      "calibration", which they are or why there are none.
    """
    held = _find_held_out(setup, classifier)
    facts = {"temperature": None, "calibrated_on": 0, "calibration": held.note}
    matrix = None
    if held.found is not None:
        matrix = held.found.to_matrix(len(classifier.class_names))
        if matrix is None:
            facts["calibration"] = (
                "of so many held-out images and classes only a part is kept"
            )
    if held.found is None or matrix is None:
        return classifier, facts
    # For the report, which also looks for wrong labels among them.
    predictions_lib.write(
        setup.workdir / predictions_lib.HELD_OUT_FILE, held.found
    )
    temperature = calibration.fit_temperature(matrix, held.found.labels)
    head = classifier.model.get_layer("predictions")
    head.set_weights([value / temperature for value in head.get_weights()])
    logging.info("Temperature %.3f, fitted on %s.", temperature, held.note)
    facts |= {"temperature": temperature, "calibrated_on": held.found.size}
    return dataclasses.replace(classifier, temperature=temperature), facts


def _find_held_out(setup, classifier):
    config = setup.config
    classes = len(setup.class_names)
    if config.quantization != "none":
        return _Held(None, "the ranges of a network for int8 are fixed")
    if config.evaluate_on == "validation":
        return _Held(
            None, "the validation images are those that it is scored on"
        )
    if not config.trains:
        path = setup.workdir / predictions_lib.HELD_OUT_FILE
        return _make_held(
            _read(path, classes), "of classifiers like it, fitted on the others"
        )
    if config.train_on == "train":
        found = _predict_some(setup.examples["validation"], classifier)
        return _make_held(found, "of the validation split")
    paths = setup.workdir.glob(
        f"{auto.FOLDER}/*/{predictions_lib.HELD_OUT_FILE}"
    )
    parts = [_read(path, classes) for path in sorted(paths)]
    known = [part for part in parts if part is not None]
    if known:
        total = setup.examples["train"].size + setup.examples["validation"].size
        # Each training had the images that its fold did not hold out.
        used = total - max(part.size for part in known)
        if used < calibration.LEAST_SHARE * total:
            return _Held(
                None,
                f"what was compared had been trained on {used:,} of the "
                f"{total:,} images, too few to tell of this one",
            )
        found = predictions_lib.concatenate(known)
        return _make_held(found, "that the training was compared on")
    return _Held(
        None,
        "no images were held out; --set=train_on=train keeps the validation "
        "images for it",
    )


def _read(path, classes):
    """Returns predictions; None: they are missing or damaged."""
    try:
        return predictions_lib.read(path, classes)
    except (OSError, untrusted.DamagedError) as error:
        logging.warning("Not calibrated on it: %s", error)
        return None


def _make_held(found, note):
    if found is None:
        return _Held(None, "too few images of some classes to hold out")
    return _Held(found, f"{words.count(found.size, 'held-out image')} {note}")


def _predict_some(
    examples: examples_lib.Examples, classifier: classifier_lib.Classifier
) -> predictions_lib.Predictions:
    """Returns the predictions of images from all over a set."""
    classes = len(classifier.class_names)
    most = min(calibration.MOST_IMAGES, predictions_lib.MOST_NUMBERS // classes)
    if examples.size > most:
        _, examples = examples.hold_out(most)
    collector = predictions_lib.Collector(examples.size)
    scoring.score(classifier, examples, collector.keep)
    return collector.collect(image_names.describe(examples))
