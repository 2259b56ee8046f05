"""Labelled images that can be read from any point of any epoch."""

import dataclasses
import hashlib
import itertools
import typing
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from efficientnet_tf.utils import targets, words

_BLOCK = 256


class Source(typing.Protocol):
    """Where examples come from; `Indexed` and `tfrecords.Sharded` are two."""

    @property
    def size(self) -> int:
        """The number of examples."""

    def name(self, number: int) -> str:
        """Returns an example's name for messages."""

    def concatenate(self, other: typing.Self) -> typing.Self:
        """Returns these examples, then those of `other`."""

    def shard(self, index: int, count: int) -> typing.Self | None:
        """Returns a worker's own files, or None if each worker reads all."""

    def hold_out(self, count: int) -> tuple[typing.Self, typing.Self]:
        """Returns (the rest, `count` held-out examples)."""

    def select(self, places: np.ndarray) -> "Indexed":
        """Returns some examples, by their numbers in rising order."""

    def count_shared(self, other: "Source") -> int:
        """Returns how many examples both have, as far as known from files."""

    def numbers(self, seed: tf.Tensor | None) -> tf.data.Dataset:
        """Yields the indices of the examples in an epoch's order."""

    def epoch(self, seed: tf.Tensor | None, begin: int) -> tf.data.Dataset:
        """Yields (place, row) from the place `begin` on; `open` takes rows.

        A last element with the place `size` marks the end.
        """

    def open(self, row: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns (image, label) of a row of `epoch`."""


@dataclasses.dataclass(frozen=True)
class Indexed:
    """Examples with random access, such as files and arrays.

    `columns` are arrays or tensors with one row per example; `read` maps such a
    row to (image, label), `names` are for messages, `sha256` are the hashes of
    files, and `weights` those of the images in the loss.
    """

    columns: tuple
    read: Callable
    names: Sequence[str] | None = None
    sha256: Sequence[str] | None = None
    weights: Sequence[float] | None = None

    @property
    def size(self) -> int:
        return len(self.columns[0])

    def name(self, number: int) -> str:
        return self.names[number] if self.names else f"image {number}"

    def concatenate(self, other: "Indexed") -> "Indexed":
        columns = tuple(
            tf.concat([mine, theirs], axis=0)
            for mine, theirs in zip(self.columns, other.columns, strict=True)
        )
        return Indexed(
            columns,
            self.read,
            _join(self.names, other.names),
            _join(self.sha256, other.sha256),
            _join(self.weights, other.weights),
        )

    def shard(self, index: int, count: int) -> None:
        # Skipping the examples of other workers costs nothing.
        return None

    def hold_out(self, count: int) -> tuple["Indexed", "Indexed"]:
        """Returns (the rest, `count` evenly spaced examples)."""
        mask = np.zeros(self.size, bool)
        mask[np.arange(count) * self.size // count] = True
        return self._select(~mask), self._select(mask)

    def select(self, places: np.ndarray) -> "Indexed":
        return self._select(np.isin(np.arange(self.size), places))

    def _select(self, mask):
        columns = tuple(tf.boolean_mask(c, mask) for c in self.columns)
        names, sha256, weights = (
            values and tuple(itertools.compress(values, mask))
            for values in (self.names, self.sha256, self.weights)
        )
        return Indexed(columns, self.read, names, sha256, weights)

    def count_shared(self, other: Source) -> int:
        return 0

    def numbers(self, seed: tf.Tensor | None) -> tf.data.Dataset:
        return self._numbers(seed, 0)

    def epoch(self, seed: tf.Tensor | None, begin: int) -> tf.data.Dataset:
        end = tf.data.Dataset.from_tensors(tf.constant(-1, "int64"))
        return tf.data.Dataset.zip(
            tf.data.Dataset.range(begin, self.size + 1),
            self._numbers(seed, begin).concatenate(end),
        )

    def open(self, row: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self.read(*(tf.gather(column, row) for column in self.columns))

    def _numbers(self, seed, begin):
        numbers = tf.data.Dataset.range(begin, self.size)
        if seed is None:
            return numbers
        # In blocks, because each call has an overhead.
        numbers = numbers.batch(_BLOCK)
        return numbers.map(lambda i: permute(i, self.size, seed)).unbatch()


@dataclasses.dataclass(frozen=True)
class Examples:
    """The labelled images of one split.

    `fingerprint` differs if the images may have changed.
    """

    source: Source
    class_names: tuple[str, ...]
    fingerprint: str
    target: str = targets.CLASS  # One of `targets.KINDS`.

    @property
    def size(self) -> int:
        """The number of images."""
        return self.source.size

    @property
    def dataset(self) -> tf.data.Dataset:
        """All (image, label) in a fixed order.

        An image is encoded bytes or uint8 [H, W, 3], a label int64 []; of
        labels or numbers, it is float32 [names].
        """
        rows = self.source.epoch(None, 0).take(self.size)
        return rows.map(
            lambda _, row: self.source.open(row),
            num_parallel_calls=tf.data.AUTOTUNE,
        )

    def read_labels(self) -> np.ndarray:
        """Returns the labels [N] or [N, names], in the order of `dataset`."""
        rows = self.source.epoch(None, 0).take(self.size)
        # TensorFlow drops the image, which nobody asks for, from the graph.
        labels = rows.map(lambda _, row: self.source.open(row)[1])
        if self.target != targets.CLASS:
            return np.stack(list(labels.as_numpy_iterator()))
        return np.fromiter(labels.as_numpy_iterator(), "int64")

    def read_weights(self) -> np.ndarray | None:
        """Returns the images' weights in the loss [N]; None: all weigh 1."""
        weights = getattr(self.source, "weights", None)
        return None if weights is None else np.array(weights, "float32")

    def pick(self, places: np.ndarray) -> tf.data.Dataset:
        """Returns (image, label) of some places in `dataset`, in its order."""
        wanted = np.isin(np.arange(self.size), places)
        rows = self.source.epoch(None, 0).take(self.size)
        rows = tf.data.Dataset.zip(
            rows, tf.data.Dataset.from_tensor_slices(wanted)
        ).filter(lambda _, wanted: wanted)
        return rows.map(lambda row, _: self.source.open(row[1]))

    def hold_out(self, count: int) -> tuple["Examples", "Examples"]:
        """Returns (the rest, `count` held-out examples).

        Raises:
          ValueError: `count` is 0, or there are not more examples than that.
        """
        if not 0 < count < self.size:
            raise ValueError(
                f"{words.count(count, 'image')} cannot be held out of "
                f"{self.size}."
            )
        rest, held = self.source.hold_out(count)
        return (
            self._replace(rest, f"{self.fingerprint}-{count}"),
            self._replace(held, f"{self.fingerprint}:{count}"),
        )

    def select(self, places: np.ndarray) -> "Examples":
        """Returns some examples, by their numbers in rising order.

        Records are read into memory, encoded as they are.
        """
        digest = hashlib.sha256(np.asarray(places, "int64").tobytes())
        return self._replace(
            self.source.select(places),
            f"{self.fingerprint}@{digest.hexdigest()}",
        )

    def count_shared(self, other: "Examples") -> int:
        """Returns how many examples both have; see `Source`."""
        return self.source.count_shared(other.source)

    def concatenate(self, other: "Examples") -> "Examples":
        """Returns these examples, then those of `other`."""
        return self._replace(
            self.source.concatenate(other.source),
            f"{self.fingerprint}+{other.fingerprint}",
        )

    def _replace(self, source, fingerprint):
        return dataclasses.replace(self, source=source, fingerprint=fingerprint)


def _join(mine, theirs):
    return (*mine, *theirs) if mine and theirs else None


def permute(places: tf.Tensor, size: int, seed: tf.Tensor) -> tf.Tensor:
    """Returns the elements at `places` of a random permutation of `size`."""
    return tf.random.experimental.index_shuffle(
        places, seed, tf.constant(size - 1, "int64")
    )
