"""Quantization-aware training: a finished run's network, as int8 computes it.

Batch normalization is folded, weights and activations are rounded in float32,
and training adapts the weights, https://arxiv.org/abs/1712.05877. The ranges of
activations are measured once, on training images, and then fixed.
"""

import dataclasses
import math
import pathlib

import numpy as np
from absl import logging

from efficientnet_tf.data import examples as examples_lib, resumable
from efficientnet_tf.inference import classifier as classifier_lib
from efficientnet_tf.models import folding, quantization
from efficientnet_tf.utils import documents, files, targets, untrusted, words

# In a run's folder: {name of a layer: [low, high]} of its outputs.
RANGES_FILE = "ranges.json"
CALIBRATION_IMAGES = 256
_BATCH_SIZE = 16


def build(
    folder: pathlib.Path, examples: examples_lib.Examples, workdir: pathlib.Path
) -> classifier_lib.Classifier:
    """Returns a run's classifier, its network with fake quantization.

    Args:
      folder: the finished run's.
      examples: to train on; some of them calibrate the ranges.
      workdir: where the ranges are kept, and read if they are there.

    Raises:
      ValueError: the run has other classes, or layers of its network cannot be
        quantized.
      OSError, untrusted.DamagedError: a file is damaged.
    """
    start = classifier_lib.from_run(folder)
    targets.check_class(start.target, "int8 training", f"the run {folder}")
    if start.class_names != examples.class_names:
        raise ValueError(
            f"{folder} has other classes than the images: "
            f"{_show(start.class_names)}, not {_show(examples.class_names)}."
        )
    quantization.check(start.model)
    folded = folding.fold(start.model)
    path = workdir / RANGES_FILE
    # Kept, because a processor with other kernels would measure others when the
    # run is resumed.
    if not path.exists():
        ranges = quantization.calibrate(folded, _batches(start, examples))
        files.write_json(path, ranges)
    network = quantization.quantize(folded, read_ranges(path))
    return dataclasses.replace(start, model=network)


def read_ranges(path: pathlib.Path) -> dict[str, tuple[float, float]]:
    """Returns the ranges in a file.

    Raises:
      untrusted.DamagedError: it holds something else.
    """
    found = documents.read_object(path, {})
    for name, pair in found.items():
        if not (
            isinstance(pair, list)
            and len(pair) == 2
            and all(files.is_a(value, float) for value in pair)
            and -math.inf < pair[0] <= pair[1] < math.inf
        ):
            raise untrusted.DamagedError(
                f"{path}: {untrusted.shorten(name)} must be two numbers, the "
                "lower one first."
            )
    return {name: (low, high) for name, (low, high) in found.items()}


def _batches(classifier, examples):
    """Yields images from all over a set, without augmentation."""
    count = min(CALIBRATION_IMAGES, examples.size)
    logging.info("Measuring ranges on %s.", words.count(count, "image"))
    places = np.linspace(0, examples.size - 1, count).astype(int)
    dataset = examples.pick(places).map(
        lambda image, _: classifier.preprocess(image)
    )
    with resumable.explained():
        yield from dataset.batch(_BATCH_SIZE).as_numpy_iterator()


def _show(names):
    return untrusted.shorten(", ".join(names))[:80]
