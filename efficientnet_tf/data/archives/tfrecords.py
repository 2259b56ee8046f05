"""Labelled images in TFRecord files, shuffled across many files at once."""

import dataclasses
import functools
import os
import pathlib
import re
import struct
from collections.abc import Callable, Sequence
from concurrent import futures

import numpy as np
import tensorflow as tf

from efficientnet_tf.data import examples

# Files that are read at the same time, and records in the shuffle buffer.
CYCLE_LENGTH = 16
SHUFFLE_BUFFER = 10_000

# Workers divide the files if each gets at least so many; otherwise each reads
# all, and decodes only its own part of each batch.
FILES_PER_WORKER = 16

# Labels of the tensorflow/tpu layout are 1 to 1000.
FIRST_LABEL = 1

_FEATURES = {
    "image/encoded": tf.io.FixedLenFeature([], "string"),
    "image/class/label": tf.io.FixedLenFeature([], "int64"),
}


@dataclasses.dataclass(frozen=True)
class Shard:
    """A part of a file: `take` records after the first `skip`."""

    file: str
    skip: int
    take: int


@dataclasses.dataclass(frozen=True)
class Sharded:
    """Examples in files of records; `read` maps a record to (image, label)."""

    shards: tuple[Shard, ...]
    read: Callable

    @property
    def size(self) -> int:
        return sum(shard.take for shard in self.shards)

    def name(self, number: int) -> str:
        for shard in self.shards:
            if number < shard.take:
                return f"{shard.file}: record {shard.skip + number}"
            number -= shard.take
        raise IndexError(number)

    def concatenate(self, other: "Sharded") -> "Sharded":
        return Sharded(self.shards + other.shards, self.read)

    def shard(self, index: int, count: int) -> "Sharded | None":
        """Returns a worker's own files, or None if there are too few."""
        if len(self.shards) < count * FILES_PER_WORKER:
            return None
        return Sharded(self.shards[index::count], self.read)

    def hold_out(self, count: int) -> tuple["Sharded", "Sharded"]:
        """Returns (the rest, the last `count` examples).

        The last ones are as random as any, because records are written in
        random order, and others would have to be skipped one by one.
        """
        kept: list[Shard] = []
        held: list[Shard] = []
        missing = count
        for shard in reversed(self.shards):
            taken = min(missing, shard.take)
            missing -= taken
            rest = shard.take - taken
            if rest:
                kept.append(Shard(shard.file, shard.skip, rest))
            if taken:
                held.append(Shard(shard.file, shard.skip + rest, taken))
        return (
            Sharded(tuple(reversed(kept)), self.read),
            Sharded(tuple(reversed(held)), self.read),
        )

    def select(self, places: np.ndarray) -> examples.Indexed:
        """Returns some examples, whose records are read into memory."""
        wanted = np.isin(np.arange(self.size), places)
        rows = tf.data.Dataset.zip(
            self._order(None, _read_file),
            tf.data.Dataset.from_tensor_slices(wanted),
        ).filter(lambda _, wanted: wanted)
        records = [record for record, _ in rows.as_numpy_iterator()]
        return examples.Indexed(
            (tf.constant(records, "string"),),
            self.read,
            [self.name(place) for place in places],
        )

    def count_shared(self, other: examples.Source) -> int:
        if not isinstance(other, Sharded):
            return 0
        return sum(
            max(0, min(a.skip + a.take, b.skip + b.take) - max(a.skip, b.skip))
            for a in self.shards
            for b in other.shards
            if a.file == b.file
        )

    def numbers(self, seed: tf.Tensor | None) -> tf.data.Dataset:
        return self._order(seed, _number_file)

    def epoch(self, seed: tf.Tensor | None, begin: int) -> tf.data.Dataset:
        return tf.data.Dataset.zip(
            tf.data.Dataset.range(begin, self.size + 1),
            self._order(seed, _read_file)
            .skip(begin)
            .concatenate(tf.data.Dataset.from_tensors(b"")),
        )

    def open(self, row: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self.read(row)

    def _order(self, seed, open_file):
        """Yields the elements of `open_file` for all files in an epoch's order.

        The order depends only on how many elements each file has.
        """
        takes = [shard.take for shard in self.shards]
        columns = (
            tf.constant([shard.file for shard in self.shards]),
            tf.constant([shard.skip for shard in self.shards], "int64"),
            tf.constant(takes, "int64"),
            tf.cumsum(tf.constant(takes, "int64"), exclusive=True),
        )
        files = tf.data.Dataset.range(len(self.shards))
        if seed is None:
            files = files.map(lambda i: tuple(tf.gather(c, i) for c in columns))
            return files.flat_map(open_file)
        # TensorFlow mixes the graph's seed into the seed of `shuffle`; inside a
        # dataset function it is always the same.
        tf.compat.v1.set_random_seed(1)
        files = files.map(lambda i: examples.permute(i, len(self.shards), seed))
        files = files.map(lambda i: tuple(tf.gather(c, i) for c in columns))
        rows = files.interleave(
            open_file,
            cycle_length=min(CYCLE_LENGTH, len(self.shards)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        return rows.shuffle(
            min(self.size, SHUFFLE_BUFFER),
            _one_seed(seed),
            reshuffle_each_iteration=False,
        )


def from_records(
    path: str | os.PathLike, split: str, class_names: Sequence[str]
) -> examples.Examples:
    """Reads TFRecords in the layout of the tensorflow/tpu repository.

    PATH/train-00000-of-01024 and so on, with the features "image/encoded" and
    "image/class/label", the latter from 1 on.

    Args:
      path: the folder.
      split: the prefix of the file names, such as "train" or "validation",
        optionally with a slice, such as "train[:20]" for the first 20 files.
      class_names: the names of the labels 1, 2, ...

    Raises:
      FileNotFoundError: all or some of the files are missing.
      RuntimeError: a file is truncated.
      ValueError: an invalid split.
    """
    files = _list_files(pathlib.Path(path).expanduser(), split)
    with futures.ThreadPoolExecutor(16) as pool:
        counts = list(pool.map(count_records, files))
    shards = tuple(
        Shard(str(file), 0, count)
        for file, count in zip(files, counts, strict=True)
    )
    read = functools.partial(_parse_record, classes=len(class_names))
    size = sum(file.stat().st_size for file in files)
    fingerprint = f"{path}:{split}:{len(files)}:{size}"
    source = Sharded(shards, read)
    return examples.Examples(source, tuple(class_names), fingerprint)


def is_imagenet(path: str | os.PathLike) -> bool:
    """Whether a folder has files and features as `from_records` reads them."""
    folder = pathlib.Path(path).expanduser()
    found = sorted(folder.glob("*-[0-9]*-of-[0-9]*"))
    found = [f for f in found if re.fullmatch(r"\w+-\d+-of-\d+", f.name)]
    if not found:
        return False
    try:
        for record in tf.data.TFRecordDataset(str(found[0])).take(1):
            tf.io.parse_single_example(record, _FEATURES)
    except tf.errors.OpError as error:
        # What is damaged has the names, at least.
        return isinstance(error, tf.errors.DataLossError)
    return True


def count_records(path: str | os.PathLike) -> int:
    """Counts the records of a TFRecord file, reading only their lengths.

    Raises:
      RuntimeError: the file is truncated.
    """
    count, position = 0, 0
    end = pathlib.Path(path).stat().st_size
    # Unbuffered, because only the length of each record is read.
    with open(path, "rb", buffering=0) as stream:
        while position < end:
            stream.seek(position)
            header = stream.read(8)
            if len(header) == 8:
                # The length, its checksum, the record, its checksum.
                position += 8 + 4 + struct.unpack("<Q", header)[0] + 4
            if len(header) < 8 or position > end:
                raise RuntimeError(
                    f"{path} is cut short after {count} records."
                )
            count += 1
    return count


def _list_files(folder, split):
    match = re.fullmatch(r"([\w-]+?)(?:\[(\d*):(\d*)\])?", split)
    if match is None:
        raise ValueError(
            f"Unknown split {split!r}; choose a prefix of file names, such as "
            "train or validation, or a slice, such as train[20:]."
        )
    name, begin, end = match.groups()
    files = sorted(folder.glob(f"{name}-[0-9]*-of-[0-9]*"))
    if not files:
        raise FileNotFoundError(
            f"There are no files {folder}/{name}-00000-of-..."
        )
    total = int(files[0].name.rsplit("-", 1)[1])
    if len(files) != total:
        raise FileNotFoundError(
            f"{folder} holds {len(files)} of the {total} files {name}-*."
        )
    files = files[int(begin or 0) : int(end) if end else None]
    if not files:
        raise ValueError(f"{split!r} selects none of the {total} files.")
    return files


def _parse_record(record, classes):
    row = tf.io.parse_single_example(record, _FEATURES)
    label = row["image/class/label"] - FIRST_LABEL
    with tf.control_dependencies(
        [
            tf.debugging.Assert(
                (label >= 0) & (label < classes),
                ["label", label + FIRST_LABEL, "out of range 1 to", classes],
            )
        ]
    ):
        return row["image/encoded"], tf.identity(label)


def _read_file(file, skip, take, _):
    """Yields exactly `take` records of a file, even if it is damaged."""
    records = tf.data.TFRecordDataset(file, buffer_size=1 << 20)
    # Nothing can be read after a damaged record. Empty records replace what is
    # lost: they fail to decode like any bad image, and the count stays right.
    lost = tf.data.Dataset.from_tensors(b"").repeat()
    return records.ignore_errors().concatenate(lost).skip(skip).take(take)


def _number_file(_, __, take, first):
    """Yields the indices of the examples that `_read_file` reads."""
    return tf.data.Dataset.range(first, first + take)


def _one_seed(seed):
    return tf.random.stateless_uniform(
        [], seed, minval=0, maxval=2**62, dtype="int64"
    )
