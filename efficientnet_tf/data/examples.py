"""Labelled images that can be read from any point of any epoch's order."""

import dataclasses
import functools
import itertools
import pathlib
import re
import struct
from collections.abc import Callable, Sequence
from concurrent import futures

import numpy as np
import tensorflow as tf

# Files of records that are read at a time, and what is shuffled within them.
CYCLE_LENGTH = 16
SHUFFLE_BUFFER = 10_000

# A worker has its own files where each gets so many; else it reads all, and
# only decodes its own part of each batch.
FILES_PER_WORKER = 16

# Labels of the tensorflow/tpu layout are 1 to 1000.
FIRST_LABEL = 1

_BLOCK = 256


@dataclasses.dataclass(frozen=True)
class Indexed:
    """Examples that can be read in any order, such as files and arrays.

    `columns` are arrays or tensors with a row for each example; `read` maps a
    row of them to (image, label), and `names` are for messages.
    """

    columns: tuple
    read: Callable
    names: Sequence[str] | None = None

    @property
    def size(self):
        return len(self.columns[0])

    def name(self, number):
        return self.names[number] if self.names else f"image {number}"

    def concatenate(self, other):
        columns = tuple(
            tf.concat([mine, theirs], axis=0)
            for mine, theirs in zip(self.columns, other.columns, strict=True)
        )
        names = None
        if self.names and other.names:
            names = (*self.names, *other.names)
        return Indexed(columns, self.read, names)

    def shard(self, index, count):
        """Returns None: any worker skips what is not its own for free."""
        return None

    def hold_out(self, count):
        """Returns the rest, and `count` examples at equal distances."""
        mask = np.zeros(self.size, bool)
        mask[np.arange(count) * self.size // count] = True
        return self._select(~mask), self._select(mask)

    def _select(self, mask):
        columns = tuple(tf.boolean_mask(c, mask) for c in self.columns)
        names = self.names and tuple(itertools.compress(self.names, mask))
        return Indexed(columns, self.read, names)

    def numbers(self, seed):
        """Yields the numbers of the examples in an epoch's order."""
        return self._numbers(seed, 0)

    def epoch(self, seed, begin):
        """Yields (place, row): the places from `begin` on, and what to open.

        A last one with the place `size` stands for the end.
        """
        end = tf.data.Dataset.from_tensors(tf.constant(-1, "int64"))
        return tf.data.Dataset.zip(
            tf.data.Dataset.range(begin, self.size + 1),
            self._numbers(seed, begin).concatenate(end),
        )

    def open(self, row):
        """Returns (image, label) of a row of `epoch`."""
        return self.read(*(tf.gather(column, row) for column in self.columns))

    def _numbers(self, seed, begin):
        numbers = tf.data.Dataset.range(begin, self.size)
        if seed is None:
            return numbers
        # Many at once, because each call has its price.
        numbers = numbers.batch(_BLOCK)
        return numbers.map(lambda i: _permute(i, self.size, seed)).unbatch()


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

    def numbers(self, seed):
        """Yields the numbers of the examples in an epoch's order."""
        return self._order(seed, _number_file)

    def epoch(self, seed, begin):
        """Yields (place, record), as `Indexed.epoch` does."""
        return tf.data.Dataset.zip(
            tf.data.Dataset.range(begin, self.size + 1),
            self._order(seed, _read_file)
            .skip(begin)
            .concatenate(tf.data.Dataset.from_tensors(b"")),
        )

    def open(self, row):
        """Returns (image, label) of a row of `epoch`."""
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
        files = files.map(lambda i: _permute(i, len(self.shards), seed))
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


@dataclasses.dataclass(frozen=True)
class Examples:
    """Labelled images of one split.

    `fingerprint` changes when the images may have changed.
    """

    source: Indexed | Sharded
    class_names: tuple[str, ...]
    fingerprint: str

    @property
    def size(self):
        return self.source.size

    @property
    def dataset(self):
        """All (image, label) in a fixed order.

        The image is encoded bytes or uint8 [H, W, 3], the label int64 [].
        """
        rows = self.source.epoch(None, 0).take(self.size)
        return rows.map(
            lambda _, row: self.source.open(row),
            num_parallel_calls=tf.data.AUTOTUNE,
        )

    def hold_out(self, count):
        """Returns the examples without `count` of them, and those.

        Raises:
          ValueError: there are no more than `count`.
        """
        if not 0 < count < self.size:
            raise ValueError(
                f"{count} images cannot be held out of {self.size}."
            )
        rest, held = self.source.hold_out(count)
        return (
            Examples(rest, self.class_names, f"{self.fingerprint}-{count}"),
            Examples(held, self.class_names, f"{self.fingerprint}:{count}"),
        )

    def count_shared(self, other):
        """Returns how many examples, of files of records, both have."""
        sources = self.source, other.source
        if not all(isinstance(source, Sharded) for source in sources):
            return 0
        return sum(
            max(0, min(a.skip + a.take, b.skip + b.take) - max(a.skip, b.skip))
            for a in sources[0].shards
            for b in sources[1].shards
            if a.file == b.file
        )

    def concatenate(self, other):
        return Examples(
            self.source.concatenate(other.source),
            self.class_names,
            f"{self.fingerprint}+{other.fingerprint}",
        )


def from_records(path, split, class_names):
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
    return Examples(Sharded(shards, read), tuple(class_names), fingerprint)


def count_records(path):
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


def _permute(places, size, seed):
    """The numbers at places of an order of 0 ... size - 1."""
    return tf.random.experimental.index_shuffle(
        places, seed, tf.constant(size - 1, "int64")
    )


def _one_seed(seed):
    return tf.random.stateless_uniform(
        [], seed, minval=0, maxval=2**62, dtype="int64"
    )
