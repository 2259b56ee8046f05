"""Labelled images by name, see `data_names`; and arrays."""

import hashlib
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from efficientnet_tf.data import (
    divisions,
    examples as examples_lib,
    folder_names,
    imagenet,
    labelled_files,
    readers,
    run_images,
    tfds,
    tfrecords,
)
from efficientnet_tf.utils import data_names, folder_options


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
      name: a TFDS name, or one of `data_names.FORMS`.
      splits: the names of splits, such as "train".
      data_dir: the TFDS folder; None means TFDS's own default.
      options: of images that are divided here.

    Returns:
      {split: Examples}.

    Raises:
      ValueError: an unknown name or split, or options that do not fit it.
      OSError, RuntimeError: the data are missing or damaged.
    """
    if data_names.find_kind(name) is None:
        return {split: tfds.load(name, split, data_dir) for split in splits}
    if is_imagenet(name):
        if options.group_by or options.skip_bad:
            raise ValueError(
                f"{name} has ImageNet's layout, whose splits are given; "
                "--group_by and --skip_bad do not go with it."
            )
        path = data_names.parse(name)[1]
        return {split: from_records(path, split) for split in splits}
    division = labelled_files.divide(
        readers.read(name, data_dir), splits, options
    )
    return {split: _from_files(division, split) for split in splits}


def is_imagenet(name: str) -> bool:
    """Whether a name is of records in the layout of tensorflow/tpu."""
    kind, path = data_names.parse(name)
    return kind is data_names.RECORDS and tfrecords.is_imagenet(path)


def warn_of_changes(
    name: str,
    workdir: str | os.PathLike,
    data_dir: str | os.PathLike | None = None,
) -> None:
    """Says what changed in a set of files since a finished run, if anything."""
    if data_names.find_kind(name) is not None and not is_imagenet(name):
        run_images.warn_of_changes(
            lambda: readers.read(name, data_dir), workdir
        )


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
    layout = readers.read(f"{data_names.FOLDER.prefix}{os.fspath(path)}")
    division = labelled_files.divide(layout, splits, options, seed)
    return {split: _from_files(division, split) for split in splits}


def _from_files(division: divisions.Division, split):
    labelled = division.files[split]
    labels = [label for _, label in labelled]
    names = [str(file) for file, _ in labelled]
    facts = [division.facts[file] for file, _ in labelled]
    columns = (
        # Bytes, because names of old archives may be in no encoding.
        tf.constant([os.fsencode(name) for name in names], "string"),
        tf.constant(labels, "int64"),
    )
    weights = None
    if division.weights:
        weights = [division.weights[file] for file, _ in labelled]
    source = examples_lib.Indexed(
        columns, _read, names, [known.sha256 for known in facts], weights
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
