"""Labelled images in TFRecord files, shuffled across many files at a time."""

import dataclasses
import functools
import os
import pathlib
import re
import struct
from collections.abc import Callable, Sequence
from concurrent import futures

import tensorflow as tf

from efficientnet_tf.data import examples

# Files of records that are read at a time, and what is shuffled within them.
CYCLE_LENGTH = 16
SHUFFLE_BUFFER = 10_000

# A worker has its own files where each gets so many; else it reads all, and
# only decodes its own part of each batch.
FILES_PER_WORKER = 16

# Labels of the tensorflow/tpu layout are 1 to 1000.
FIRST_LABEL = 1


@dataclasses.dataclass(frozen=True)
class Shard:
    """A file of records, of which `take` after the first `skip` are meant."""

    file: str
    skip: int
    take: int


@dataclasses.dataclass(frozen=True)
class Sharded:
    """Examples in files of records; `read` maps a record to (image, label)."""

    shards: tuple[Shard, ...]
    read: Callable

    @property
    def size(self):
        return sum(shard.take for shard in self.shards)

    def name(self, number):
        for shard in self.shards:
            if number < shard.take:
                return f"{shard.file}: record {shard.skip + number}"
            number -= shard.take
        raise IndexError(number)

    def concatenate(self, other):
        return Sharded(self.shards + other.shards, self.read)

    def shard(self, index, count):
        """Returns a worker's own files, or None if there are too few."""
        if len(self.shards) < count * FILES_PER_WORKER:
            return None
        return Sharded(self.shards[index::count], self.read)

    def hold_out(self, count):
        """Returns the rest, and the last `count` examples.

        Records are written in random order and read from a file's beginning;
        others than the last would cost reading everything.
        """
        kept, held, missing = [], [], count
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

    def count_shared(self, other):
        if not isinstance(other, Sharded):
            return 0
        return sum(
            max(0, min(a.skip + a.take, b.skip + b.take) - max(a.skip, b.skip))
            for a in self.shards
            for b in other.shards
            if a.file == b.file
        )

    def numbers(self, seed):
        return self._order(seed, _number_file)

    def epoch(self, seed, begin):
        return tf.data.Dataset.zip(
            tf.data.Dataset.range(begin, self.size + 1),
            self._order(seed, _read_file)
            .skip(begin)
            .concatenate(tf.data.Dataset.from_tensors(b"")),
        )

    def open(self, row):
        return self.read(row)

    def _order(self, seed, open_file):
        """Yields what `open_file` does, which must not change the order."""
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
        # TensorFlow's shuffling mixes the seed of the graph into the seed that
        # it is given; in here it is always the same.
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
      split: how the names begin: "train", "validation", or another, with or
        without a part of the files, such as "train[:20]" for the first 20.
      class_names: of the labels 1, 2, ...

    Raises:
      FileNotFoundError: there are no such files, or some are missing.
      RuntimeError: a file is cut short.
      ValueError: the split is not understood.
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


def count_records(path: str | os.PathLike) -> int:
    """Counts the records of a TFRecord file by their lengths alone.

    Raises:
      RuntimeError: the file is cut short.
    """
    count, position = 0, 0
    end = pathlib.Path(path).stat().st_size
    # Unbuffered: of each record only its length is read.
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
            f"Unknown split {split!r}; name a kind of files, such as train, "
            "validation, or a part of them, such as train[20:]."
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
        raise ValueError(f"{split!r} is none of the {total} files.")
    return files


def _parse_record(record, classes):
    row = tf.io.parse_single_example(
        record,
        {
            "image/encoded": tf.io.FixedLenFeature([], "string"),
            "image/class/label": tf.io.FixedLenFeature([], "int64"),
        },
    )
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
    """Yields the records of a file, as many as there should be."""
    records = tf.data.TFRecordDataset(file, buffer_size=1 << 20)
    # Nothing can be read after a damaged record; empty ones stand for what is
    # lost, are found unreadable like any other, and leave the count as it is.
    lost = tf.data.Dataset.from_tensors(b"").repeat()
    return records.ignore_errors().concatenate(lost).skip(skip).take(take)


def _number_file(_, __, take, first):
    """Yields the numbers of the examples that `_read_file` reads."""
    return tf.data.Dataset.range(first, first + take)


def _one_seed(seed):
    return tf.random.stateless_uniform(
        [], seed, minval=0, maxval=2**62, dtype="int64"
    )
