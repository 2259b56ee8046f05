"""Labelled images by name, see `data_names`; and arrays."""

import dataclasses
import hashlib
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from efficientnet_tf.data import examples as examples_lib, imagenet
from efficientnet_tf.data.archives import tfds, tfrecords
from efficientnet_tf.data.folders import folder_names
from efficientnet_tf.data.sets import (
    divisions,
    labelled_files,
    readers,
    run_images,
)
from efficientnet_tf.data.tables import csv_targets
from efficientnet_tf.utils import data_names, folder_options, targets

# Of labels.
_DTYPES = dict.fromkeys(targets.KINDS, "float32") | {targets.CLASS: "int64"}


def load(
    name: str,
    split: str,
    data_dir: str | os.PathLike | None = None,
    options: folder_options.Options = folder_options.DEFAULT,
    kinds: Sequence[str] = (targets.CLASS,),
) -> examples_lib.Examples:
    """Reads a split of a data set; see `load_splits`."""
    loaded = load_splits(name, (split,), data_dir, options, kinds)
    return loaded[split]


def load_splits(
    name: str,
    splits: Sequence[str],
    data_dir: str | os.PathLike | None = None,
    options: folder_options.Options = folder_options.DEFAULT,
    kinds: Sequence[str] = (targets.CLASS,),
) -> dict[str, examples_lib.Examples]:
    """Reads splits of a data set.

    Args:
      name: a TFDS name, or one of `data_names.FORMS`.
      splits: the names of splits, such as "train".
      data_dir: the TFDS folder; None means TFDS's own default.
      options: of images that are divided here.
      kinds: what images may have, some of `targets.KINDS`.

    Returns:
      {split: Examples}.

    Raises:
      ValueError: an unknown name or split, options that do not fit it, or
        images that have something else.
      OSError, RuntimeError: the data are missing or damaged.
    """
    kind = data_names.find_kind(name)
    _check_columns(name, kind, options)
    if kind is None:
        return {split: tfds.load(name, split, data_dir) for split in splits}
    if is_imagenet(name):
        if options.group_by or options.skip_bad:
            raise ValueError(
                f"{name} has ImageNet's layout, whose splits are given; "
                "--group_by and --skip_bad do not go with it."
            )
        path = data_names.parse(name)[1]
        return {split: from_records(path, split) for split in splits}
    layout = readers.read(name, data_dir, options)
    if layout.values is not None and layout.values.kind not in kinds:
        targets.check_class(layout.values.kind, "This command", name)
    division = labelled_files.divide(layout, splits, options)
    return {split: _from_files(division, split) for split in splits}


def suit(
    name: str, options: folder_options.Options, outputs: targets.Outputs
) -> folder_options.Options:
    """Returns options that read what a network answers with.

    Raises:
      ValueError: the data set cannot have it.
    """
    if outputs.kind == targets.CLASS:
        return options
    kind, path = data_names.parse(name)
    if kind is data_names.TFDS:
        if outputs.kind == targets.LABELS:
            return options
        return dataclasses.replace(options, targets=tuple(outputs.names))
    if kind is not data_names.CSV:
        has = {targets.LABELS: "labels", targets.NUMBERS: "numbers"}
        raise ValueError(
            f"The network gives {has[outputs.kind]}, which "
            f"{data_names.CSV.prefix}{data_names.CSV.rest} and "
            f"{data_names.TFDS.prefix}{data_names.TFDS.rest} may have, not "
            f"{name}."
        )
    return csv_targets.suit(path, options, outputs)


def is_imagenet(name: str) -> bool:
    """Whether a name is of records in the layout of tensorflow/tpu."""
    kind, path = data_names.parse(name)
    return kind is data_names.RECORDS and tfrecords.is_imagenet(path)


def warn_of_changes(
    name: str,
    workdir: str | os.PathLike,
    data_dir: str | os.PathLike | None = None,
    options: folder_options.Options = folder_options.DEFAULT,
) -> None:
    """Says what changed in a set of files since a finished run, if anything."""
    if data_names.find_kind(name) is not None and not is_imagenet(name):
        run_images.warn_of_changes(
            lambda: readers.read(name, data_dir, options), workdir
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
        tf.constant(labels, _DTYPES[division.target]),
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
        source, division.class_names, digest.hexdigest(), division.target
    )


def _check_columns(name, kind, options):
    """Raises ValueError for names of columns that a set does not have."""
    if kind is data_names.CSV:
        return
    if options.targets and kind is not data_names.TFDS:
        raise ValueError(
            f"--targets names columns of {data_names.CSV.prefix}"
            f"{data_names.CSV.rest}, or features of {data_names.TFDS.prefix}"
            f"{data_names.TFDS.rest}, not of {name}."
        )
    if options.labels:
        raise ValueError(
            f"--labels names columns of {data_names.CSV.prefix}"
            f"{data_names.CSV.rest}, not of {name}."
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
