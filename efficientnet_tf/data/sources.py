"""Labelled images by name: TFDS sets, class folders, TFRecords, arrays."""

import hashlib
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from efficientnet_tf.data import (
    examples as examples_lib,
    folder_names,
    imagenet,
    labelled_files,
    tfds,
    tfrecords,
)
from efficientnet_tf.utils import files, folder_options


def load(
    name: str,
    split: str,
    data_dir: str | os.PathLike | None = None,
    options: folder_options.Options = folder_options.DEFAULT,
) -> examples_lib.Examples:
    """Reads a split of a data set; see `load_splits`."""
    return load_splits(name, (split,), data_dir, options)[split]


def load_splits(
    name: str,
    splits: Sequence[str],
    data_dir: str | os.PathLike | None = None,
    options: folder_options.Options = folder_options.DEFAULT,
) -> dict[str, examples_lib.Examples]:
    """Reads splits of a data set.

    Args:
      name: a TFDS name, "folder:PATH" (see `from_folder_splits`) or
        "records:PATH" (see `from_records`).
      splits: the names of splits, such as "train".
      data_dir: the TFDS folder; None means TFDS's own default.
      options: of a folder.

    Returns:
      {split: Examples}.

    Raises:
      ValueError: an unknown name or split.
      OSError, RuntimeError: the data are missing or damaged.
    """
    if name.startswith(files.FOLDER_PREFIX):
        path = name.removeprefix(files.FOLDER_PREFIX)
        return from_folder_splits(path, splits, options=options)
    if name.startswith(files.RECORDS_PREFIX):
        path = name.removeprefix(files.RECORDS_PREFIX)
        return {split: from_records(path, split) for split in splits}
    return {split: tfds.load(name, split, data_dir) for split in splits}


def warn_of_changes(name: str, workdir: str | os.PathLike) -> None:
    """Says what changed in a folder since a finished run, if `name` is one."""
    if name.startswith(files.FOLDER_PREFIX):
        path = name.removeprefix(files.FOLDER_PREFIX)
        labelled_files.warn_of_changes(path, workdir)


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


def from_folder_splits(
    path: str | os.PathLike,
    splits: Sequence[str] = folder_names.SPLITS,
    *,
    seed: int = 0,
    options: folder_options.Options = folder_options.DEFAULT,
) -> dict[str, examples_lib.Examples]:
    """Reads splits of a folder of class folders; see `labelled_files.divide`.

    Returns:
      {split: Examples}.
    """
    division = labelled_files.divide(path, splits, options, seed)
    return {split: _from_files(division, split) for split in splits}


def _from_files(division, split):
    labelled = division.files[split]
    labels = [label for _, label in labelled]
    names = [str(file) for file, _ in labelled]
    facts = [division.facts[file] for file, _ in labelled]
    columns = (
        # Bytes, because names of old archives may be in no encoding.
        tf.constant([os.fsencode(name) for name in names], "string"),
        tf.constant(labels, "int64"),
    )
    source = examples_lib.Indexed(
        columns, _read, names, [known.sha256 for known in facts]
    )
    digest = hashlib.sha256()
    for name, label, known in zip(names, labels, facts, strict=True):
        row = f"{name}\0{label}\0{known.size}\0{known.mtime_ns}\0"
        digest.update(os.fsencode(row))
    return examples_lib.Examples(
        source, division.class_names, digest.hexdigest()
    )


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
