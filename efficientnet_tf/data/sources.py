"""Labelled images by name: TFDS sets, class folders, TFRecords, arrays."""

import hashlib
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from efficientnet_tf.data import (
    class_folders,
    examples as examples_lib,
    imagenet,
    tfds,
    tfrecords,
)
from efficientnet_tf.utils import configs, files


def load(
    name: str, split: str, data_dir: str | os.PathLike | None = None
) -> examples_lib.Examples:
    """Reads a split of a data set.

    Args:
      name: a TFDS name, "folder:PATH" (see `from_folder`) or "records:PATH"
        (see `from_records`).
      split: the name of a split, such as "train".
      data_dir: the TFDS folder; None means TFDS's own default.

    Raises:
      ValueError: an unknown name or split.
      OSError, RuntimeError: the data are missing or damaged.
    """
    if name.startswith(files.FOLDER_PREFIX):
        return from_folder(name.removeprefix(files.FOLDER_PREFIX), split)
    if name.startswith(files.RECORDS_PREFIX):
        return from_records(name.removeprefix(files.RECORDS_PREFIX), split)
    return tfds.load(name, split, data_dir)


def from_arrays(
    images: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> examples_lib.Examples:
    """Wraps uint8 images [N, H, W, 3] and integer labels [N].

    Raises:
      ValueError: a label out of range, or a duplicate class name.
    """
    _check_labels(labels, class_names)
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    # Tensors, because arrays are copied into each graph that reads them.
    columns = (tf.constant(images), tf.constant(labels.astype("int64")))
    source = examples_lib.Indexed(columns, _pass_on)
    return examples_lib.Examples(source, tuple(class_names), digest)


def from_records(path: str | os.PathLike, split: str) -> examples_lib.Examples:
    """Reads a split of ImageNet; see `tfrecords.from_records`."""
    return tfrecords.from_records(path, split, imagenet.wordnet_ids())


def from_folder(
    path: str | os.PathLike, split: str, seed: int = 0
) -> examples_lib.Examples:
    """Reads a split of a folder of class folders; see `from_folder_splits`.

    Raises:
      ValueError: an unknown split.
    """
    if split not in class_folders.SPLIT_NAMES:
        raise ValueError(
            configs.unknown("split", split, class_folders.SPLIT_NAMES)
        )
    return from_folder_splits(path, seed, (split,))[split]


def from_folder_splits(
    path: str | os.PathLike,
    seed: int = 0,
    splits: Sequence[str] = tuple(class_folders.SPLIT_NAMES),
) -> dict[str, examples_lib.Examples]:
    """Reads splits of a folder of class folders; see `class_folders.index`.

    Returns:
      {split: Examples}.

    Raises:
      FileNotFoundError: there is no such folder.
      RuntimeError: no images, fewer than two classes, an empty class, or
        unreadable files.
    """
    divided, class_names = class_folders.index(path, seed)
    return {split: _from_files(divided[split], class_names) for split in splits}


def _from_files(labelled, class_names):
    paths = [file for file, _ in labelled]
    digest = class_folders.inspect(paths)
    labels = [label for _, label in labelled]
    names = [str(path) for path in paths]
    columns = (tf.constant(names), tf.constant(labels, "int64"))
    source = examples_lib.Indexed(columns, _read, names)
    fingerprint = f"{digest}{labels}"
    digest = hashlib.sha256(fingerprint.encode()).hexdigest()
    return examples_lib.Examples(source, class_names, digest)


def _check_labels(labels, class_names):
    names = list(class_names)
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise ValueError(f"The class name {twice[0]!r} appears twice.")
    (bad,) = ((labels < 0) | (labels >= len(names))).nonzero()
    if len(bad):
        raise ValueError(
            f"Image {bad[0]} has label {labels[bad[0]]}; {len(names)} classes "
            f"have labels 0 to {len(names) - 1}."
        )


def _pass_on(image, label):
    return image, label


def _read(path, label):
    return tf.io.read_file(path), label
