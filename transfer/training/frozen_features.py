"""Features of a frozen network, cached on disk."""

import contextlib
import hashlib
import os
import pathlib
import typing
import weakref
from collections.abc import Iterable, Mapping

import keras
import numpy as np
import tqdm
from absl import logging

from efficientnet_tf.data import examples as examples_lib, resumable
from efficientnet_tf.inference import classifier as classifier_lib, pooled
from efficientnet_tf.utils import (
    cache_folder as cache_folder_lib,
    phases,
    targets,
)
from transfer.training import inputs

# Bytes that all cached features may take.
DISK_LIMIT = 4 * 2**30


# Those of models in use: each traces one graph, for all splits.
_networks: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


class Features(typing.NamedTuple):
    """Features [N, C], labels [N], and the images' own weights [N] if any.

    Of labels or numbers, labels are [N, names].
    """

    features: np.ndarray
    labels: np.ndarray
    weights: np.ndarray | None = None

    def select(self, rows: np.ndarray) -> "Features":
        """Returns some rows, by their numbers or a mask."""
        own = None if self.weights is None else self.weights[rows]
        return Features(self.features[rows], self.labels[rows], own)


def extract_splits(
    classifier: classifier_lib.Classifier,
    examples: Mapping[str, examples_lib.Examples],
    precision: str,
    cache_key: str,
) -> tuple[Features, Features]:
    """Returns the features of the train and the validation split.

    Args:
      classifier: whose image preparation is used.
      examples: {split: examples}.
      precision: the network's.
      cache_key: identifies the network's weights in the cache of features.
    """
    train, validation = (
        extract_split(classifier, examples[split], precision, cache_key, split)
        for split in ("train", "validation")
    )
    return train, validation


def extract_split(
    classifier: classifier_lib.Classifier,
    examples: examples_lib.Examples,
    precision: str,
    cache_key: str,
    split: str,
) -> Features:
    """Returns the features of one split; see `extract_splits`."""
    logging.info("Features of %d %s images.", examples.size, split)
    dataset = inputs.make_eval_dataset(examples, classifier)
    settings = f"{classifier.preparation}:{precision}"
    key = f"{cache_key}:{settings}:{examples.fingerprint}"
    names = len(examples.class_names)
    if examples.target == targets.CLASS:
        names = 0
    with phases.during(phases.FEATURES):
        found = extract_features(classifier.model, dataset, key, names)
    return Features(*found, examples.read_weights())


def extract_features(
    model: keras.Model, dataset: Iterable, cache_key: str, names: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns pooled features [N, C] and labels [N] of an ordered data set.

    A second call with the same key, weights and layers reads them from the
    cache.

    Args:
      model: see `pooled.find`.
      dataset: batches of (images, labels).
      cache_key: identifies the data set and its preprocessing.
      names: of labels or numbers, how many, whose labels are float32
        [N, names]; 0: a class each.
    """
    ends = pooled.find(model)
    network = _networks.get(model)
    if network is None:
        network = _networks[model] = keras.Model(model.inputs, ends)
    digest = hashlib.sha256(cache_key.encode())
    for layer in network.layers:
        # Equal weights give other features after another normalization.
        if not layer.weights:
            digest.update(repr(layer.get_config()).encode())
    for value in network.get_weights():
        digest.update(value.tobytes())
    path = cache_folder() / f"{digest.hexdigest()[:32]}.npz"
    columns = {
        "features": cache_folder_lib.Column("float32", ("n", ends.shape[-1])),
        "labels": cache_folder_lib.Column("int64", ("n",)),
    }
    if names:
        columns["labels"] = cache_folder_lib.Column("float32", ("n", names))
    cached = cache_folder_lib.load_arrays(path, columns)
    if cached:
        logging.info("Features from %s.", path)
        # Another process may remove it at any time; a disk may be read-only.
        with contextlib.suppress(OSError):
            os.utime(path)  # `files.prune` removes the longest unused.
        return cached["features"], cached["labels"]
    pairs = []
    with resumable.explained():
        for images, labels in tqdm.tqdm(
            dataset, "Features", unit="batch", disable=None
        ):
            values = network.predict_on_batch(np.asarray(images))
            pairs.append((np.asarray(values), np.asarray(labels)))
    features, labels = map(np.concatenate, zip(*pairs, strict=True))
    arrays = {
        "features": np.ascontiguousarray(features, "float32"),
        "labels": labels.astype(columns["labels"].dtype),
    }
    cache_folder_lib.save_arrays(path, arrays, DISK_LIMIT)
    return arrays["features"], arrays["labels"]


def cache_folder() -> pathlib.Path:
    """Returns the folder of cached features, beside the cached weights."""
    return pathlib.Path(cache_folder_lib.cache_dir()) / "features"


def concatenate(pairs: Iterable[Features]) -> Features:
    """Joins several `Features` into one; all have weights, or none has."""
    features, labels, weights = zip(*pairs, strict=True)
    return Features(
        np.concatenate(features),
        np.concatenate(labels),
        None if weights[0] is None else np.concatenate(weights),
    )
