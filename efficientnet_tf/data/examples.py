"""Labelled images that can be read from any point of any epoch's order."""

import dataclasses
import itertools
import typing
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

_BLOCK = 256


class Source(typing.Protocol):
    """Where examples come from: `Indexed` here, `tfrecords.Sharded` there."""

    @property
    def size(self) -> int: ...

    def name(self, number: int) -> str:
        """Returns what messages call an example."""

    def concatenate(self, other: typing.Self) -> typing.Self: ...

    def shard(self, index: int, count: int) -> typing.Self | None:
        """Returns a worker's own part, or None where each reads all."""

    def hold_out(self, count: int) -> tuple[typing.Self, typing.Self]:
        """Returns the rest, and `count` examples."""

    def count_shared(self, other: "Source") -> int:
        """Returns how many examples, of files of records, both have."""

    def numbers(self, seed: tf.Tensor | None) -> tf.data.Dataset:
        """Yields the numbers of the examples in an epoch's order."""

    def epoch(self, seed: tf.Tensor | None, begin: int) -> tf.data.Dataset:
        """Yields (place, row): the places from `begin` on, and what to open.

        A last one with the place `size` stands for the end.
        """

    def open(self, row: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns (image, label) of a row of `epoch`."""


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
        # Any worker skips what is not its own for free.
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

    def count_shared(self, other):
        return 0

    def numbers(self, seed):
        return self._numbers(seed, 0)

    def epoch(self, seed, begin):
        end = tf.data.Dataset.from_tensors(tf.constant(-1, "int64"))
        return tf.data.Dataset.zip(
            tf.data.Dataset.range(begin, self.size + 1),
            self._numbers(seed, begin).concatenate(end),
        )

    def open(self, row):
        return self.read(*(tf.gather(column, row) for column in self.columns))

    def _numbers(self, seed, begin):
        numbers = tf.data.Dataset.range(begin, self.size)
        if seed is None:
            return numbers
        # Many at once, because each call has its price.
        numbers = numbers.batch(_BLOCK)
        return numbers.map(lambda i: permute(i, self.size, seed)).unbatch()


@dataclasses.dataclass(frozen=True)
class Examples:
    """Labelled images of one split.

    `fingerprint` changes when the images may have changed.
    """

    source: Source
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
        return self.source.count_shared(other.source)

    def concatenate(self, other):
        return Examples(
            self.source.concatenate(other.source),
            self.class_names,
            f"{self.fingerprint}+{other.fingerprint}",
        )


def permute(places: tf.Tensor, size: int, seed: tf.Tensor) -> tf.Tensor:
    """Returns the numbers at places of a random order of 0 ... size - 1."""
    return tf.random.experimental.index_shuffle(
        places, seed, tf.constant(size - 1, "int64")
    )
