"""From a classifier to files for elsewhere, each measured as it is written."""

import contextlib
import dataclasses
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from efficientnet_tf.deploy import (
    converters,
    layouts,
    plan as plan_lib,
    sample_files,
    scorecard,
    source as source_lib,
)
from efficientnet_tf.inference import classifier as classifier_lib
from efficientnet_tf.models import quantization
from efficientnet_tf.utils import (
    files,
    processor,
    run_folder,
    words,
)

# The largest difference of probabilities between a float32 file and Keras.
TOLERANCE = 1e-4

# Pictures that files are compared with Keras on; see `sample_files`.
_COMPARED = ("a PNG", "a turned JPEG", "a CMYK JPEG")


class TooLossyError(RuntimeError):
    """Exported files lost more accuracy than was allowed."""


def export(
    classifier: classifier_lib.Classifier,
    plan: plan_lib.Plan,
    *,
    held: scorecard.Held | None = None,
    calibration: np.ndarray | Sequence[np.ndarray] = (),
    batch_size: int | None = None,
    max_loss: float = plan_lib.MAX_LOSS,
    facts: Mapping[str, Any] = files.NOTHING,
    progress: Callable[[int], object] | None = None,
) -> list[dict]:
    """Writes the files of a plan, and a table of what each loses and gains.

    A file is there once it was measured, and is not if it lost too much.

    Args:
      classifier: of a Keras network.
      plan: see `plan`.
      held: images to score on, or None, which leaves accuracy out.
      calibration: images [M, size, size, 3] for int8, none of them in `held`;
        a network with fake quantization needs none.
      batch_size: the only one that files take; by default 1 for LiteRT, and
        any for the others.
      max_loss: of top-1, in points.
      facts: what the table's JSON says of the images and the network.
      progress: see `scorecard.score`.

    Returns:
      A row for Keras, then one for each file, as in the table's JSON.

    Raises:
      ValueError: int8 without calibration images, of a network without fake
        quantization; or a format or a map that the network cannot have.
      OSError: the output holds something else, or cannot be written.
      RuntimeError: a float32 file differs from the Keras network by more than
        1e-4.
      TooLossyError: a file lost too much; the others and the table are there.
    """
    _check(classifier, plan, calibration)
    with _temporary_folder(plan) as folder:
        source = source_lib.prepare(
            classifier, calibration, activation_map=plan.activation_map
        )
        written = {
            target: _write(classifier, source, target, folder, batch_size)
            for target in plan.targets
        }
        rows = _measure(classifier, written, held, progress)
        lossy = [row for row in rows if row.get("loss", 0) * 100 > max_loss]
        for target, path in written.items():
            if not any(row["file"] == target.path.name for row in lossy):
                _publish(target, path, classifier.class_names)
    _write_table(plan, classifier, rows, facts)
    if lossy:
        raise TooLossyError(_explain_loss(lossy, max_loss, plan))
    return rows


def _check(classifier, plan, calibration):
    if quantization.is_quantized(classifier.model):
        plan_lib.check_quantized(plan)
    elif not len(calibration):
        for target in plan.targets:
            if target.precision == "int8":
                raise ValueError(
                    f"{target.format} in int8 needs images for calibration."
                )
    plan_lib.check_paths(plan)


@contextlib.contextmanager
def _temporary_folder(plan) -> Iterator[pathlib.Path]:
    """Yields a folder on the file system of the plan's paths."""
    parent = plan.targets[0].path.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=files.PREFIX) as path:
        yield pathlib.Path(path)


def _write(classifier, source, target, folder, batch_size):
    """Writes a target into a folder, and returns its path there."""
    logging.info("Writing %s, %s.", target.path, target.precision)
    path = folder / f"{target.format}-{target.precision}{target.row.suffix}"
    if batch_size is None:
        batch_size = target.row.batch_size
    source = dataclasses.replace(source, batch_size=batch_size)
    with converters.silent():
        target.load_module().write(classifier, source, path, target.precision)
    return path


def _measure(classifier, written, held, progress):
    """Returns the rows of the table."""
    opened = {scorecard.REFERENCE: classifier}
    for target, path in written.items():
        with converters.silent():
            opened[target.path.name] = target.load_module().load(path)
    differences = check_equal(
        classifier,
        {
            target.path.name: (opened[target.path.name], target.precision)
            for target in written
        },
    )
    scores: dict[str, dict] = {name: {} for name in opened}
    if held is not None:
        logging.info("Scoring.")
        scores = scorecard.score(opened, held, progress)
    times = scorecard.time_all(opened)
    rows = [
        {
            "file": scorecard.REFERENCE,
            "format": scorecard.REFERENCE,
            "precision": classifier.model.dtype_policy.compute_dtype,
            **scores[scorecard.REFERENCE],
            **times[scorecard.REFERENCE],
        }
    ]
    for target, path in written.items():
        name = target.path.name
        size = scorecard.count_megabytes(path) + sum(
            scorecard.count_megabytes(path.with_suffix(suffix))
            for suffix in target.row.companions
        )
        rows.append(
            {
                "file": name,
                "format": target.format,
                "precision": target.precision,
                "max_difference": differences[name],
                **scores[name],
                "megabytes": size,
                **times[name],
            }
        )
    return rows


def check_equal(
    reference: classifier_lib.Classifier,
    opened: Mapping[str, tuple[classifier_lib.Classifier, str]],
) -> dict[str, float]:
    """Compares exported files with the Keras network on a few images.

    Args:
      reference: the Keras network's.
      opened: {name: (the file's classifier, its precision)}.

    Returns:
      {name: the largest difference of probabilities}.

    Raises:
      RuntimeError: a float32 file is another function, or the output of any
        is not a number.
    """
    made = sample_files.make(reference.resolution)
    images = np.stack(
        [reference.preprocess(tf.constant(made[kind])) for kind in _COMPARED]
    )
    expected = np.asarray(reference.model.predict_on_batch(images))
    differences = {}
    for name, (classifier, precision) in opened.items():
        found = np.asarray(classifier.model.predict_on_batch(images))
        difference = float(np.abs(found - expected).max())
        allowed = TOLERANCE if precision == "float32" else np.inf
        if not difference <= allowed:  # As it stands, NaN is too large.
            raise RuntimeError(
                f"{name} differs from the Keras network by {difference:.2g}; "
                "nothing is written."
            )
        differences[name] = difference
    return differences


def _publish(target, path, class_names):
    if target.row.layout:
        getattr(layouts, target.row.layout)(path, target.path, class_names)
        return
    for suffix in target.row.companions:
        os.replace(path.with_suffix(suffix), target.path.with_suffix(suffix))
    with files.atomic(target.path) as temporary:
        os.replace(path, temporary)


def _write_table(plan, classifier, rows, facts):
    if plan.folder is not None:
        files.write_json(
            plan.folder / run_folder.SETTINGS_FILE,
            dataclasses.asdict(classifier.settings),
        )
        layouts.write_labels(
            plan.folder / layouts.LABELS_FILE, classifier.class_names
        )
    table = {**facts, "processor": processor.describe(), "rows": rows}
    files.write_json(plan.table(".json"), table)
    files.write_text(plan.table(".md"), scorecard.to_markdown(rows) + "\n")


def _explain_loss(lossy, max_loss, plan):
    parts = [
        f"{row['file']} loses {100 * row['loss']:.2f} points "
        f"({100 * row['loss_low']:.2f} to {100 * row['loss_high']:.2f}) on "
        f"{words.count(row['images'], 'image')}"
        for row in lossy
    ]
    return (
        f"{'; '.join(parts)}: more than the {max_loss:g} allowed, so it is not "
        f"kept; {plan.table('.md')} has the figures. Take float16, or more "
        "images for calibration."
    )
