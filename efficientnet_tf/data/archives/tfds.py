"""Data sets of TensorFlow Datasets (TFDS): found, downloaded, read."""

import contextlib
import os
import pathlib
import shutil
import textwrap
from collections.abc import Sequence

from absl import logging

from efficientnet_tf.data import examples as examples_lib
from efficientnet_tf.data.archives import (
    tfds_features,
    tfrecords,
    unpacked,
)
from efficientnet_tf.data.folders import layouts
from efficientnet_tf.utils import configs, data_names, extras

# With TFDS's default, a machine without network waits for minutes.
DOWNLOAD_RETRIES = 5

# Where to get data sets that TFDS cannot download.
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


def load(
    name: str, split: str, data_dir: str | os.PathLike | None = None
) -> examples_lib.Examples:
    """Reads a split of a TFDS data set, downloading it if necessary.

    Args:
      name: a TFDS name; the data set must have an image and its class.
      split: a TFDS split, such as "train[:90%]".
      data_dir: the TFDS folder; None means TFDS's own default.

    Raises:
      ImportError: tensorflow-datasets is not installed.
      ValueError: the data set is unknown, has no such split, or no labelled
        images.
      RuntimeError: the data set is missing and cannot be downloaded.
    """
    library = _import_library()
    data_dir = None if data_dir is None else pathlib.Path(data_dir).expanduser()
    builder = _prepared_builder(library, name, data_dir)
    tfds_features.find_class(library, builder)
    instructions = _find_split(builder, split)
    if builder.info.file_format != library.core.FileFormat.TFRECORD:
        raise ValueError(
            f"{builder.data_path} is {builder.info.file_format.name}; prepare "
            "it as TFRECORD."
        )
    shards = tuple(
        tfrecords.Shard(part.filename, part.skip, part.take)
        for part in instructions.file_instructions
    )
    names = tfds_features.find(library, builder).names
    fingerprint = (
        f"{builder.data_path}:{split}:{instructions.num_examples}:"
        f"{_written(builder)}"
    )
    source = tfrecords.Sharded(shards, _make_reader(library, builder))
    return examples_lib.Examples(source, names, fingerprint)


def read(
    name: str,
    data_dir: str | os.PathLike | None = None,
    numbers: Sequence[str] = (),
) -> layouts.Layout:
    """Reads a whole TFDS set as files; see `unpacked.unpack`.

    Args:
      name: a TFDS name; see `tfds_features.find` for what images may have.
      data_dir: see `load`.
      numbers: features to predict.

    Raises: see `load`.
    """
    library = _import_library()
    data_dir = None if data_dir is None else pathlib.Path(data_dir).expanduser()
    builder = _prepared_builder(library, name, data_dir, numbers)
    wanted = tfds_features.find(library, builder, numbers)
    splits = list(builder.info.splits)

    def read_all():
        for split in splits:
            dataset = builder.as_dataset(
                split=split,
                decoders=library.decode.PartialDecoding(
                    dict.fromkeys((wanted.image, *wanted.features), True),
                    decoders={wanted.image: library.decode.SkipDecoding()},
                ),
            )
            for number, row in enumerate(dataset.as_numpy_iterator()):
                yield unpacked.Image(
                    split,
                    wanted.read(row),
                    row[wanted.image],
                    f"{split}: example {number}",
                )

    sizes = {s: builder.info.splits[s].num_examples for s in splits}
    return unpacked.unpack(
        unpacked.Archive(
            f"{data_names.TFDS.prefix}{name}",
            f"{data_names.TFDS.prefix}{os.path.realpath(builder.data_path)}",
            f"{_written(builder)}:{sizes}",
            wanted.names,
            splits,
            read_all,
            sum(sizes.values()),
            wanted.kind,
        )
    )


def _written(builder):
    """Returns when a set was prepared: this file is written last."""
    path = pathlib.Path(builder.data_path, "dataset_info.json")
    return path.stat().st_mtime_ns


def _find_split(builder, split):
    """Returns TFDS's description of a split: its files and its size."""
    try:
        return builder.info.splits[split]
    except (KeyError, ValueError):
        raise ValueError(
            f"{builder.name} has no split {split!r}; choose one of "
            f"{', '.join(builder.info.splits)}."
            + configs.suggest(split, builder.info.splits)
        ) from None


def _make_reader(library, builder):
    """Returns a function from a record to (encoded image, label)."""
    image, label = tfds_features.find_class(library, builder)
    wanted = library.decode.PartialDecoding({image: True, label: True})
    features = wanted.extract_features(builder.info.features)

    def read_record(record):
        row = features.deserialize_example(
            record, decoders={image: library.decode.SkipDecoding()}
        )
        return row[image], row[label]

    return read_record


def _import_library():
    extras.require("Named data sets", "tensorflow_datasets")
    import tensorflow_datasets

    return tensorflow_datasets


def _prepared_builder(library, name, data_dir, numbers=()):
    try:
        builder = library.builder(name, data_dir=data_dir)
    except library.core.registered.DatasetNotFoundError:
        # Those of the community are listed on a server.
        known = library.list_builders(with_community_datasets=False)
        raise ValueError(
            f"TFDS knows no data set {name!r}.{configs.suggest(name, known)}"
        ) from None
    tfds_features.find(library, builder, numbers)
    if not pathlib.Path(builder.data_path).exists():
        _download(builder)
    return builder


def _download(builder):
    """Downloads and prepares a data set, or raises RuntimeError with advice."""
    from tensorflow_datasets.core.download import downloader

    name = builder.name
    logging.info("%s is not in %s; downloading it.", name, builder.data_path)
    root = pathlib.Path(builder.data_dir_root)
    downloads = root / "downloads"
    downloader.MAX_RETRIES = DOWNLOAD_RETRIES
    try:
        builder.download_and_prepare(download_dir=downloads)
    except Exception as error:  # Each data set of TFDS raises its own errors.
        _remove_partial(downloads, root / name)
        reason = str(error).strip().splitlines() or [type(error).__name__]
        hint = f" ({MANUAL[name]})" if name in MANUAL else ""
        raise RuntimeError(
            f"{name} is not in {builder.data_path} and cannot be downloaded"
            f"{hint}: {textwrap.shorten(reason[0], 200)} Prepare it with TFDS "
            "on a machine that can and pass its folder as data_dir; see "
            f"https://www.tensorflow.org/datasets/catalog/{name}."
        ) from None


def _remove_partial(downloads, prepared):
    """Removes what an interrupted download left; complete files stay."""
    for path in downloads.rglob("*.tmp.*"):
        shutil.rmtree(path, ignore_errors=True)
    for top in (downloads, prepared):
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):  # It is not empty.
                os.rmdir(folder)
