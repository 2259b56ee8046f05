"""Children of a trained supernet, scored on held-out images."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Sequence

import keras
import numpy as np

from efficientnet_tf.data import datasets, examples as examples_lib
from efficientnet_tf.data.sets import sources
from efficientnet_tf.inference import classifier as classifier_lib, evaluate
from efficientnet_tf.models import layers, variants
from efficientnet_tf.search import trials
from efficientnet_tf.search.architect.supernet import slices, training
from efficientnet_tf.training import distribution

BATCH_SIZE = 256
# Training images for a child's batch-norm averages.
CALIBRATION_BATCHES = 4


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained supernet with the images that its children need."""

    largest: classifier_lib.Classifier
    calibration: tuple[np.ndarray, ...]
    held_out: examples_lib.Examples


@functools.lru_cache(maxsize=1)
def load(
    budget: trials.Budget,
    folder: str | os.PathLike,
    data_dir: str | None = None,
) -> Trained:
    """Returns a supernet that `training.run` has trained.

    Raises:
      FileNotFoundError: it is not trained.
    """
    # That of a process that has trained it.
    distribution.set_precision(budget.config.precision)
    largest = classifier_lib.from_run(pathlib.Path(folder) / training.RUN)
    train, held_out = (
        sources.load(budget.dataset, split, data_dir) for split in budget.splits
    )
    wanted = CALIBRATION_BATCHES * BATCH_SIZE
    if train.size > wanted:
        train = train.hold_out(wanted)[1]
    batches = _batch(train, largest)
    return Trained(largest, tuple(np.asarray(x) for x, _ in batches), held_out)


def take_out(
    trained: Trained, variant: variants.Variant
) -> classifier_lib.Classifier:
    """Returns a child as a network of its own, calibrated."""
    largest = trained.largest
    child = slices.take_out(largest.model, variant, len(largest.class_names))
    # It is called a few times only, which a trace would not pay for.
    child.run_eagerly = True
    calibrate(child, trained.calibration)
    return dataclasses.replace(largest, model=child)


def score(trained: Trained, variant: variants.Variant) -> float:
    """Returns a child's top-1 accuracy on the held-out images."""
    child = take_out(trained, variant)
    return evaluate.evaluate(child.model, _batch(trained.held_out, child)).top1


def calibrate(network: keras.Model, batches: Sequence[np.ndarray]) -> None:
    """Sets a network's batch-norm averages to the means over batches.

    The largest network's averages are not a child's, section 3.1 of
    https://arxiv.org/abs/2003.11142.

    Args:
      network: without dropout.
      batches: of images [N, H, W, 3]; only those as large as the first count.
    """
    norms = [
        layer
        for layer in network.layers
        if isinstance(layer, layers.BatchNormalization)
    ]
    momenta = [norm.momentum for norm in norms]
    # A mean of means: the last batch of a data set may be smaller.
    equal = [images for images in batches if len(images) == len(batches[0])]
    for number, images in enumerate(equal):
        for norm in norms:
            norm.momentum = number / (number + 1)  # A mean of all so far.
        network(images, training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _batch(examples, classifier):
    return datasets.make_eval_dataset(
        examples, classifier.preprocess, batch_size=BATCH_SIZE
    )
