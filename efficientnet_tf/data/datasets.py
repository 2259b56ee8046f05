"""Data sources (TFDS, class folders, arrays, TFRecords) by name."""

import contextlib
import functools
import hashlib
import importlib.resources
import os
import pathlib
import shutil
import textwrap

import tensorflow as tf
from absl import logging

from efficientnet_tf.data import (
    class_folders,
    examples as examples_lib,
    preprocessing,
    resumable,
)
from efficientnet_tf.utils import extras, files

AUTOTUNE = tf.data.AUTOTUNE

# TFDS's own number makes a machine without network wait for minutes.
DOWNLOAD_RETRIES = 5

# Where the complete sets come from when TFDS cannot download them.
_ARCHIVES = "`efficientnet prepare` reads the publisher's archives"
MANUAL = {
    "cars196": f"its address is dead; {_ARCHIVES}",
    "cifar10": _ARCHIVES,
    "cifar100": _ARCHIVES,
    "food101": _ARCHIVES,
    "oxford_flowers102": _ARCHIVES,
    "oxford_iiit_pet": _ARCHIVES,
    "imagenet2012": "download the archives from image-net.org yourself",
}

# If none of these can be read, it is not the images that are bad.
TRIED_IMAGES = 16

Examples = examples_lib.Examples


def load(name, split, data_dir=None):
    """Reads a split of a TFDS name, of "folder:PATH" or "records:PATH"."""
    if name.startswith(files.FOLDER_PREFIX):
        return from_folder(name.removeprefix(files.FOLDER_PREFIX), split)
    if name.startswith(files.RECORDS_PREFIX):
        return from_records(name.removeprefix(files.RECORDS_PREFIX), split)
    return from_tfds(name, split, data_dir)


def from_tfds(name, split, data_dir=None):
    """Reads a split of a TensorFlow data set, downloading it if need be.

    Args:
      name: a TFDS name with the features "image" and "label".
      split: a TFDS split, such as "train[:90%]".
      data_dir: where TFDS keeps its sets; None is TFDS's own default.

    Raises:
      ImportError: tensorflow-datasets is not installed.
      ValueError: the set is unknown, has no such split, or no labelled images.
      RuntimeError: the set is not there and cannot be downloaded.
    """
    tfds = _import_tfds()
    data_dir = None if data_dir is None else pathlib.Path(data_dir).expanduser()
    builder = _prepared_builder(tfds, name, data_dir)
    try:
        info = builder.info.splits[split]
    except (KeyError, ValueError):
        raise ValueError(
            f"{name} has no split {split!r}; choose one of "
            f"{', '.join(builder.info.splits)}."
        ) from None
    if builder.info.file_format != tfds.core.FileFormat.TFRECORD:
        raise ValueError(
            f"{builder.data_path} is {builder.info.file_format.name}; prepare "
            "it as TFRECORD."
        )
    shards = tuple(
        examples_lib.Shard(part.filename, part.skip, part.take)
        for part in info.file_instructions
    )
    label = builder.info.features["label"]
    names = tuple(label.int2str(i) for i in range(label.num_classes))
    # Written last when a set is prepared, so also when it is prepared anew.
    written = pathlib.Path(builder.data_path, "dataset_info.json").stat()
    fingerprint = (
        f"{builder.data_path}:{split}:{info.num_examples}:{written.st_mtime_ns}"
    )
    source = examples_lib.Sharded(shards, _tfds_reader(tfds, builder))
    return Examples(source, names, fingerprint)


def from_arrays(images, labels, class_names):
    """Wraps uint8 images [N, H, W, 3] and integer labels [N].

    Raises:
      ValueError: a label out of range, or a class name that is there twice.
    """
    _check_labels(labels, class_names)
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    # Tensors, because arrays would be copied into each graph that reads them.
    columns = (tf.constant(images), tf.constant(labels.astype("int64")))
    source = examples_lib.Indexed(columns, _pass_on)
    return Examples(source, tuple(class_names), digest)


def from_records(path, split):
    """Reads a split of ImageNet from TFRecords; see `records.from_records`."""
    return examples_lib.from_records(path, split, imagenet_ids())


def imagenet_ids():
    """Returns ImageNet's WordNet ids in the order of the labels, as TFDS."""
    return tuple(wordnet_id for wordnet_id, _ in imagenet_classes())


@functools.cache
def imagenet_classes():
    """Returns (WordNet id, name) of ImageNet's classes in their order."""
    text = importlib.resources.files("efficientnet_tf.data")
    text = text.joinpath("imagenet_classes.txt").read_text()
    return tuple(tuple(line.split(maxsplit=1)) for line in text.splitlines())


def from_folder(path, split, seed=0):
    """Reads a split of a folder of class folders; see `from_folder_splits`.

    Raises:
      ValueError: an unknown split.
    """
    if split not in class_folders.SPLIT_NAMES:
        raise ValueError(
            f"Unknown split {split!r}; choose one of "
            f"{', '.join(class_folders.SPLIT_NAMES)}."
        )
    return from_folder_splits(path, seed, (split,))[split]


def from_folder_splits(path, seed=0, splits=tuple(class_folders.SPLIT_NAMES)):
    """Reads splits of a folder of class folders, `folders.index` says which.

    Photographs are turned as their EXIF tag says.

    Returns:
      {split: Examples}.

    Raises:
      FileNotFoundError: there is no such folder.
      RuntimeError: no images, fewer than two classes, an empty class, or
        unreadable files.
    """
    divided, class_names = class_folders.index(path, seed)
    return {split: _from_files(divided[split], class_names) for split in splits}


def make_epochs_dataset(
    examples,
    preprocess,
    *,
    batch_size,
    seed,
    start_step=0,
    batch_transform=None,
    input_pipeline_id=0,
    num_input_pipelines=1,
    corrupt=None,
    data_service=None,
):
    """Turns examples into endless shuffled batches that can be gone on with.

    Each epoch shows every image once. What a step holds, and every random
    number in it, is a function of the seed and the step: begun at
    `start_step`, which decodes nothing of what is before it, the data go on
    as if they had not been interrupted.

    Args:
      examples: `Examples`.
      preprocess: maps one image, and a seed int64 [2], to a tensor of known
        shape, or a structure of them.
      batch_size: of all input pipelines together.
      seed: an integer.
      start_step: how many batches have been seen.
      batch_transform: maps (images, labels, seed) of a batch, or None.
      input_pipeline_id: which of the machines that read this is, from 0.
      num_input_pipelines: how many read; each yields its part of a batch.
      corrupt: the `streams.Corrupt` that counts unreadable images, names each
        in the log and sets their limit; up to it the next image takes the
        place of each. None: the first one ends it.
      data_service: "grpc://HOST:PORT" of the dispatcher of a tf.data service
        whose workers are to do all this, or None. Each image is still seen
        once an epoch, but several epochs are under way at a time, and the
        order is as the workers happen to be fast.

    Returns:
      A dataset of (images, labels). When too many images are corrupt it
      raises TensorFlow's InvalidArgumentError; `corrupt.check()` then raises
      the RuntimeError that says so.

    Raises:
      ValueError: the batch size cannot be divided.
      RuntimeError: not one of the first images can be read.
    """
    part = _slice(batch_size, input_pipeline_id, num_input_pipelines)
    _try_first(examples, preprocess)
    stream = resumable.Stream(examples.source, part, seed)
    if corrupt is None:
        corrupt = resumable.Corrupt(stream.size, 0)
    decoded = stream.decode(
        preprocess,
        start_step=start_step,
        shared_out=data_service is not None,
    )
    ds = _batch(decoded, part.local_batch_size, drop_remainder=True)
    if batch_transform is not None:  # E.g. mixup.
        ds = ds.enumerate(start=start_step)
        ds = ds.map(
            lambda step, batch: (
                batch[0],
                *batch_transform(
                    *batch[1:],
                    # No two parts of any batch share a seed.
                    tf.stack([seed, step * part.count + part.index]),
                ),
            ),
            num_parallel_calls=AUTOTUNE,
        )
    if data_service is not None:
        ds = _distribute(ds, data_service)
    ds = ds.map(functools.partial(stream.report, corrupt))
    return ds.with_options(_options()).prefetch(AUTOTUNE)


def make_eval_dataset(examples, preprocess, *, batch_size):
    """One ordered pass; the last batch may be short, so no image is skipped.

    An image that cannot be read raises InvalidArgumentError with its name.
    """
    part = resumable.Slice(batch_size)
    ds = _batch(_evaluated(examples, preprocess, part), batch_size)
    return ds.with_options(_options()).prefetch(AUTOTUNE)


def make_padded_eval_dataset(
    examples,
    preprocess,
    *,
    batch_size,
    input_pipeline_id=0,
    num_input_pipelines=1,
):
    """One ordered pass in equal batches, each machine its part of each.

    Yields (images, labels, weights): the weights of what fills up the last
    batch are zero, so that each image counts once however many replicas there
    are. All machines yield the same number of batches.
    """
    part = _slice(batch_size, input_pipeline_id, num_input_pipelines)
    stream = _evaluated(examples, preprocess, part)
    spec = stream.element_spec
    filled = -(-examples.size // batch_size) * part.local_batch_size
    stream = stream.map(lambda *row: (*row, tf.ones([])))
    padding = tf.data.Dataset.from_tensors(
        (*(tf.zeros(part.shape, part.dtype) for part in spec), tf.zeros([]))
    )
    ds = stream.concatenate(padding.repeat()).take(filled)
    ds = _batch(ds, part.local_batch_size, drop_remainder=True)
    return ds.with_options(_options()).prefetch(AUTOTUNE)


def _slice(batch_size, index, count):
    if batch_size % count:
        raise ValueError(
            f"A batch of {batch_size} cannot be divided among {count} input "
            "pipelines."
        )
    return resumable.Slice(batch_size, index, count)


def _try_first(examples, preprocess):
    """Raises what is wrong with `preprocess` rather than with an image."""
    reason = None
    rows = examples.source.epoch(None, 0)
    for _, row in rows.take(min(examples.size, TRIED_IMAGES)):
        try:
            preprocess(examples.source.open(row)[0], tf.zeros([2], "int64"))
            return
        except tf.errors.OpError as error:
            reason = reason or error.message
    raise RuntimeError(f"Not one of the first images can be read: {reason}")


def _evaluated(examples, preprocess, part):
    stream = resumable.Stream(examples.source, part)
    corrupt = resumable.Corrupt(examples.size, 0)
    decoded = stream.decode(preprocess)
    decoded = decoded.map(functools.partial(stream.report, corrupt))
    return decoded.apply(tf.data.experimental.assert_cardinality(stream.size))


def _batch(dataset, batch_size, drop_remainder=False):
    return dataset.batch(
        batch_size,
        drop_remainder=drop_remainder,
        num_parallel_calls=AUTOTUNE,
        deterministic=True,
    )


def _options():
    options = tf.data.Options()
    options.deterministic = True
    # What each machine reads is decided here, not by a strategy.
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.OFF
    )
    return options


def _distribute(dataset, address):
    """Deals epochs out to the workers of a tf.data service."""
    if not address.startswith("grpc://"):
        raise ValueError(
            f"The data service is {address!r}; it begins with grpc://."
        )
    return dataset.apply(
        tf.data.experimental.service.distribute(
            processing_mode=tf.data.experimental.service.ShardingPolicy.DYNAMIC,
            service=address,
        )
    )


def _from_files(files, class_names):
    paths = [file for file, _ in files]
    orientations, digest = class_folders.inspect(paths)
    labels = [label for _, label in files]
    names = [str(path) for path in paths]
    columns = (
        tf.constant(names),
        tf.constant(labels, "int64"),
        tf.constant(orientations),
    )
    turned = any(orientation != 1 for orientation in orientations)
    source = examples_lib.Indexed(
        columns, _read_turned if turned else _read, names
    )
    fingerprint = f"{digest}{labels}"
    digest = hashlib.sha256(fingerprint.encode()).hexdigest()
    return Examples(source, class_names, digest)


def _check_labels(labels, class_names):
    names = list(class_names)
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise ValueError(f"The class name {twice[0]!r} is there twice.")
    (bad,) = ((labels < 0) | (labels >= len(names))).nonzero()
    if len(bad):
        raise ValueError(
            f"Image {bad[0]} has label {labels[bad[0]]}; {len(names)} classes "
            f"have labels 0 to {len(names) - 1}."
        )


def _pass_on(image, label):
    return image, label


def _read(path, label, _):
    return tf.io.read_file(path), label


def _read_turned(path, label, orientation):
    image = preprocessing.decode(tf.io.read_file(path))
    return preprocessing.turn(image, orientation), label


def _tfds_reader(tfds, builder):
    """Returns a function from a record to (encoded image, label)."""
    wanted = tfds.decode.PartialDecoding({"image": True, "label": True})
    features = wanted.extract_features(builder.info.features)

    def read(record):
        row = features.deserialize_example(
            record, decoders={"image": tfds.decode.SkipDecoding()}
        )
        return row["image"], row["label"]

    return read


def _import_tfds():
    extras.require("Named data sets", "tensorflow_datasets")
    import tensorflow_datasets as tfds

    return tfds


def _prepared_builder(tfds, name, data_dir):
    from tensorflow_datasets.core.download import downloader

    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except tfds.core.registered.DatasetNotFoundError:
        raise ValueError(f"TFDS knows no data set {name!r}.") from None
    missing = {"image", "label"} - set(builder.info.features or ())
    if missing:
        raise ValueError(
            f"{name} has no feature {min(missing)!r}; choose a data set of "
            "labelled images."
        )
    if pathlib.Path(builder.data_path).exists():
        return builder
    logging.info("%s is not in %s; downloading it.", name, builder.data_path)
    root = pathlib.Path(builder.data_dir_root)
    downloads = root / "downloads"
    downloader.MAX_RETRIES = DOWNLOAD_RETRIES
    try:
        builder.download_and_prepare(download_dir=downloads)
    except Exception as error:  # TFDS raises whatever its data sets raise.
        _remove_partial(downloads, root / name)
        reason = str(error).strip().splitlines() or [type(error).__name__]
        hint = f" ({MANUAL[name]})" if name in MANUAL else ""
        raise RuntimeError(
            f"{name} is not in {builder.data_path} and cannot be downloaded"
            f"{hint}: {textwrap.shorten(reason[0], 200)} Prepare it with TFDS "
            "on a machine that can and pass its folder as data_dir; see "
            f"https://www.tensorflow.org/datasets/catalog/{name}."
        ) from None
    return builder


def _remove_partial(downloads, prepared):
    """Removes what a broken-off download left; what is complete stays."""
    for path in downloads.rglob("*.tmp.*"):
        shutil.rmtree(path, ignore_errors=True)
    for top in (downloads, prepared):
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):  # It is not empty.
                os.rmdir(folder)
