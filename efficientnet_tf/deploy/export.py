"""From a classifier to files for elsewhere, each measured as it is written."""

import contextlib
import dataclasses
import errno
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from efficientnet_tf.deploy import (
    card as card_lib,
    converters,
    int8 as int8_lib,
    layouts,
    plan as plan_lib,
    sample_files,
    scorecard,
    source as source_lib,
    table as table_lib,
)
from efficientnet_tf.inference import classifier as classifier_lib
from efficientnet_tf.models import quantization
from efficientnet_tf.utils import files, scratch, targets, words

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
    int8: int8_lib.Int8 = int8_lib.STANDARD,
    batch_size: int | None = None,
    max_loss: float = plan_lib.MAX_LOSS,
    facts: Mapping[str, Any] = files.NOTHING,
    about: card_lib.About = card_lib.UNKNOWN,
    progress: Callable[[int], object] | None = None,
) -> list[dict]:
    """Writes the files of a plan, and a table of what each loses and gains.

    A folder of files gets a model card. A file that lost too much is not there.

    Args:
      classifier: of a Keras network.
      plan: see `plan`.
      held: images to score on, or None, which leaves accuracy out.
      calibration: images [M, size, size, 3] for int8, none of them in `held`;
        a network with fake quantization needs none.
      int8: how int8 is made.
      batch_size: the only one that files take; by default 1 for LiteRT, and
        any for the others.
      max_loss: of top-1, in points.
      facts: what the table's JSON says of the images and the network.
      about: what the model card says.
      progress: see `scorecard.score`.

    Returns:
      A row for Keras, then one for each file, as in the table's JSON.

    Raises:
      ValueError: int8 without calibration images or fake quantization; or a
        format, map or float part that it cannot have.
      OSError: the output holds something else, or cannot be written.
      RuntimeError: a float32 file differs from Keras by more than 1e-4.
      TooLossyError: a file lost too much; the others and the table are there.
    """
    _check(classifier, plan, calibration, int8)
    maps = plan.activation_map
    with _temporary_folder(plan) as folder, _explained(plan, folder):
        source = source_lib.prepare(
            classifier, calibration, activation_map=maps, int8=int8
        )
        written = {
            target: _write(classifier, source, target, folder, batch_size)
            for target in plan.targets
        }
        rows = _measure(classifier, written, held, progress)
        lossy = [row for row in rows if row.get("loss", 0) * 100 > max_loss]
        made = table_lib.write(plan, folder / "table", classifier, rows, facts)
        made |= _write_card(plan, folder / "table", classifier, about)
        _publish(_keep(written, lossy), made, classifier.class_names)
    if lossy:
        raise TooLossyError(_explain_loss(lossy, max_loss, plan, classifier))
    return rows


def _check(classifier, plan, calibration, int8):
    if quantization.is_quantized(classifier.model):
        plan_lib.check_quantized(plan)
        if int8 != int8_lib.STANDARD:
            raise ValueError(
                f"{int8} is for int8 that is calibrated; this network was "
                "trained for int8 as a whole."
            )
    elif not len(calibration):
        for target in plan.targets:
            if target.precision == "int8":
                raise ValueError(
                    f"{target.format} in int8 needs images for calibration."
                )
    plan_lib.check_paths(plan)
    table_lib.check_same(classifier, plan)


@contextlib.contextmanager
def _temporary_folder(plan) -> Iterator[pathlib.Path]:
    """Yields a folder on the file system of the plan's paths."""
    parent = plan.targets[0].path.absolute().parent
    new = [each for each in (parent, *parent.parents) if not each.exists()]
    parent.mkdir(parents=True, exist_ok=True)
    try:
        with scratch.make(parent) as folder:
            yield folder
    except BaseException:
        for each in new:
            with contextlib.suppress(OSError):  # It holds something.
                each.rmdir()
        raise


@contextlib.contextmanager
def _explained(plan, folder) -> Iterator[None]:
    """Turns any library's error about a full disk into one that names it."""
    try:
        yield
    except Exception as error:
        message = str(error)
        for number in (errno.ENOSPC, errno.EDQUOT):
            if os.strerror(number) in message:
                place = plan.targets[0].path.absolute().parent
                # Converters put files there, too.
                temporary = tempfile.gettempdir()
                if str(folder) not in message and temporary in message:
                    place = pathlib.Path(temporary)
                raise OSError(
                    number, os.strerror(number), os.fspath(place)
                ) from error
        raise


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
        for target in written:
            row = scores[target.path.name]
            found = row.get("largest_in_deviations", row["max_difference"])
            _check_difference(target.path.name, target.precision, found)
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
        size = scorecard.count_megabytes(path, target.row.companions)
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
    made = sample_files.make(max(reference.size))
    images = np.stack(
        [reference.preprocess(tf.constant(made[kind])) for kind in _COMPARED]
    )
    expected = np.asarray(reference.model.predict_on_batch(images))
    differences = {}
    for name, (classifier, precision) in opened.items():
        found = np.asarray(classifier.model.predict_on_batch(images))
        # Of numbers relative to how large they are.
        size = 1.0
        if reference.target == targets.NUMBERS:
            size = np.maximum(np.abs(expected).max(axis=0), 1e-6)
        difference = float((np.abs(found - expected) / size).max())
        _check_difference(name, precision, difference)
        differences[name] = difference
    return differences


def _check_difference(name, precision, difference):
    allowed = TOLERANCE if precision == "float32" else np.inf
    if not difference <= allowed:  # As it stands, NaN is too large.
        raise RuntimeError(
            f"{name} differs from the Keras network by {difference:.2g}; "
            "nothing is written."
        )


def _keep(written, lossy):
    """Returns the files that did not lose too much."""
    names = {row["file"] for row in lossy}
    return {t: p for t, p in written.items() if t.path.name not in names}


def _write_card(plan, folder, classifier, about):
    """Writes the card beside the table; returns {path: where it belongs}."""
    if plan.folder is None:  # One file has none.
        return {}
    table = folder / plan.table(".json").name
    return card_lib.write(plan.folder, folder, classifier, about, table)


def _publish(written, made, class_names):
    """Puts files where they belong, once all are written.

    Args:
      written: {target: its path}.
      made: {path of another file: where it belongs}.
      class_names: of the classes.
    """
    moves = {}
    for target, path in written.items():
        if target.row.layout:  # Copies, for which there may be no room.
            getattr(layouts, target.row.layout)(path, target.path, class_names)
            continue
        for suffix in (*target.row.companions, target.row.suffix):
            belongs = target.path.with_suffix(suffix) if suffix else target.path
            moves[path.with_suffix(suffix)] = belongs
    for path, belongs in (moves | made).items():
        with files.atomic(belongs) as temporary:
            os.replace(path, temporary)


def _explain_loss(lossy, max_loss, plan, classifier):
    parts = [
        f"{row['file']} loses {100 * row['loss']:.2f} points "
        f"({100 * row['loss_low']:.2f} to {100 * row['loss_high']:.2f}) on "
        f"{words.count(row['images'], 'image')}"
        for row in lossy
    ]
    names = {row["file"] for row in lossy}
    earlier = [
        str(target.path)
        for target in plan.targets
        if target.path.name in names and target.path.exists()
    ]
    if earlier:
        parts[-1] += f" ({', '.join(earlier)} is of an earlier export)"
    return (
        f"{'; '.join(parts)}: more than the {max_loss:g} allowed, so it is not "
        f"kept; {plan.table('.md')} has the figures. "
        f"{_advise(lossy, classifier)}"
    )


def _advise(lossy, classifier):
    if quantization.is_quantized(classifier.model):
        return "Train it for longer, or export the run that it started from."
    if any(row["precision"] == "int8" for row in lossy):
        return "Take float16, or fine-tune for int8 (--recipe=qat)."
    return "Take float32."
