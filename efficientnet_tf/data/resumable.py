"""Decoded examples in training order; unreadable ones are replaced."""

import contextlib
import dataclasses
import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import tensorflow as tf
from absl import logging

from efficientnet_tf.data import examples
from efficientnet_tf.utils import tables

AUTOTUNE = tf.data.AUTOTUNE
FOREVER = np.iinfo(np.int64).max

_NONE_READ = "No image of a whole epoch can be read."
# What is said here, among what TensorFlow adds.
_SAID = re.compile(
    r"assertion failed: \[((?:\d+ of \d+ images|No image of a whole) .*?)\]"
    r"(?:\s+\[\[|$)",
    re.DOTALL,
)

# A worker with its own files counts its examples from this number times its
# index, so that no two workers use the same seed.
_WORKER_STRIDE = 2**40


@dataclasses.dataclass(frozen=True)
class Slice:
    """The part of each global batch that one input pipeline reads.

    An example has a `position`, counted over all epochs and all pipelines, and
    an `ordinal`, counted over this pipeline's examples.
    """

    batch_size: int
    index: int = 0
    count: int = 1

    @property
    def local_batch_size(self) -> int:
        """The number of examples of each batch that are read here."""
        return self.batch_size // self.count

    def contains(self, position: tf.Tensor) -> tf.Tensor:
        """Whether the example at a position is read here."""
        inside = position % self.batch_size
        return inside // self.local_batch_size == self.index

    def ordinal(self, position: int | tf.Tensor) -> int | tf.Tensor:
        """Returns how many examples of this slice come before a position."""
        batches = position // self.batch_size
        before = position % self.batch_size - self.index * self.local_batch_size
        if isinstance(position, int):
            before = min(max(before, 0), self.local_batch_size)
        else:
            before = tf.clip_by_value(before, 0, self.local_batch_size)
        return batches * self.local_batch_size + before

    def position(self, ordinal: int) -> int:
        """Returns the position of an example of this slice."""
        batches, inside = divmod(ordinal, self.local_batch_size)
        before = self.index * self.local_batch_size
        return batches * self.batch_size + before + inside


class Corrupt:
    """Counts and logs the unreadable examples of a run, up to a limit.

    `size` is the number of examples in an epoch, `max_share` the fraction of
    them that may be unreadable.
    """

    def __init__(self, size: int, max_share: float):
        self.names: set[str] = set()
        self.reason = ""
        self.size = size
        self.limit = max_share * size

    def add(self, names: Iterable[str]) -> str:
        """Adds names; returns the error message to stop with, or ""."""
        for name in names:
            if name not in self.names:
                self.names.add(name)
                shown = tables.to_unicode(tables.to_line(name))
                logging.warning("%s cannot be read.", shown)
        return self.message if self.exceeded else ""

    @property
    def exceeded(self) -> bool:
        """Whether more examples are unreadable than may be."""
        return len(self.names) > self.limit

    def stop(self, reason: str) -> str:
        """Returns the error message to stop with for another reason."""
        self.reason = reason
        return reason

    @property
    def message(self) -> str:
        """How many examples are unreadable, how many may be, and which."""
        share = len(self.names) / self.size
        # Names of old archives may be in no encoding.
        names = (os.fsencode(name) for name in sorted(self.names)[:3])
        shown = "; ".join(name.decode(errors="replace") for name in names)
        return (
            f"{len(self.names)} of {self.size} images ({share:.2%}) cannot be "
            f"read; the limit is {self.limit / self.size:.2%}: {shown}"
        )

    @contextlib.contextmanager
    def raised(self) -> Iterator[None]:
        """Turns a data set's error at the limit into a clear RuntimeError."""
        try:
            yield
        except tf.errors.OpError:
            self.check()
            # The error of another data set, such as one for evaluation.
            with explained():
                raise

    def check(self) -> None:
        """Raises RuntimeError above the limit, or for another reason."""
        if self.reason:
            raise RuntimeError(self.reason)
        if self.exceeded:
            raise RuntimeError(self.message)


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turns a data set's error about its images into one line.

    Raises:
      RuntimeError: how many images cannot be read, and which.
    """
    try:
        yield
    except tf.errors.OpError as error:
        found = _SAID.search(error.message)
        if found is None:
            raise
        raise RuntimeError(" ".join(found[1].split())) from None


class Stream:
    """Decoded examples in training order, or in the order of the source.

    The example at a position, and every random number in it, depend only on
    the seed and the position. An unreadable example is replaced by the next
    one, so that all others keep their positions.

    Args:
      source: an `examples.Source`.
      part: a `Slice`; in training, a source of many files is divided by files
        instead.
      seed: an integer; None means one epoch in the order of the source.
    """

    def __init__(
        self, source: examples.Source, part: Slice, seed: int | None = None
    ):
        self._salt = 0
        own = None
        if seed is not None and part.count > 1:
            own = source.shard(part.index, part.count)
        if own is not None:
            self._salt = part.index * _WORKER_STRIDE
            source, part = own, Slice(part.local_batch_size)
        self._source, self._part, self._seed = source, part, seed

    @property
    def size(self) -> int:
        """The number of examples of an epoch that are read here."""
        return self._part.ordinal(self._source.size)

    def decode(
        self,
        preprocess: Callable,
        *,
        start_step: int = 0,
        shared_out: bool = False,
    ) -> tf.data.Dataset:
        """Yields (lost, image, label); `lost` is for `report`.

        Args:
          preprocess: maps an image and a seed, int64 [2], to a tensor or a
            structure of tensors; without a seed in this stream, an image alone.
          start_step: the step to begin with; nothing before it is decoded.
          shared_out: whether epochs are distributed over other machines, so
            that positions are not consecutive.
        """
        size, part = self._source.size, self._part
        begin = start_step * part.batch_size

        def make_epoch(epoch):
            offset = tf.where(epoch == begin // size, begin % size, 0)
            rows = self._source.epoch(
                self._order(epoch), tf.cast(offset, "int64")
            )
            if part.count > 1:
                rows = rows.filter(
                    lambda place, _: (
                        part.contains(epoch * size + place) | (place == size)
                    )
                )
            # `zip` costs nothing per element; a `map` would.
            first = tf.data.Dataset.from_tensors(epoch * size)
            return tf.data.Dataset.zip(first.repeat(), rows)

        def open_row(first, row):
            place, row = row
            image, label = self._source.open(row)
            if self._seed is None:
                return preprocess(image), label
            seed = tf.stack([self._seed, first + place + self._salt])
            return preprocess(image, seed), label

        last = FOREVER if self._seed is not None else 1
        rows = tf.data.Dataset.range(begin // size, last).flat_map(make_epoch)
        opened = self._open_all(rows, open_row)
        expected = -1 if shared_out else part.ordinal(begin)
        return self._replace_lost(opened, expected, restart=shared_out)

    def report(
        self,
        corrupt: Corrupt,
        lost: tf.Tensor,
        *rest: tf.Tensor,
        explain: Callable[[int], str] | None = None,
    ) -> tuple[tf.Tensor, ...]:
        """Returns `rest`, after adding the names of lost examples to `corrupt`.

        Above its limit, TensorFlow raises InvalidArgumentError.

        Args:
          corrupt: what counts.
          lost: as `decode` yields it.
          *rest: what else it yields.
          explain: maps the index of a lost example to the reason to stop at
            once, or "". None: there is none.
        """

        def tell_python(lost):
            numbers = self._lost_numbers(lost)
            for number in numbers if explain else ():
                reason = explain(number)
                if reason:
                    return corrupt.stop(reason)
            return corrupt.add(map(self._source.name, numbers))

        def tell():
            message = tf.numpy_function(tell_python, [lost], "string")
            with tf.control_dependencies(
                [tf.debugging.Assert(message == "", [message])]
            ):
                return tf.constant(True)

        told = tf.cond(
            tf.reduce_any(lost[..., 1] > 0), tell, lambda: tf.constant(True)
        )
        with tf.control_dependencies([told]):
            return tf.nest.map_structure(tf.identity, rest)

    def _order(self, epoch):
        if self._seed is None:
            return None
        return tf.stack([tf.constant(self._seed, "int64"), epoch + self._salt])

    def _open_all(self, rows, open_row):
        """Yields (ordinal, whether an epoch ends, opened row).

        Rows that fail to open leave a gap in the ordinals. The end marks of
        epochs have no image and cannot fail, so that every gap is noticed.
        """
        size = self._source.size
        spec = rows.map(open_row).element_spec

        def open_unless_end(first, row):
            ends = row[0] == size
            opened = tf.cond(
                ends, lambda: _blank(spec), lambda: open_row(first, row)
            )
            opened = tf.nest.map_structure(
                lambda part, like: tf.ensure_shape(part, like.shape),
                opened,
                spec,
            )
            return self._part.ordinal(first + row[0]), ends, opened

        opened = rows.map(
            open_unless_end, num_parallel_calls=AUTOTUNE, deterministic=True
        )
        return opened.ignore_errors()

    def _replace_lost(self, opened, expected, *, restart):
        """Replaces each missing example by the next one."""
        # Losing a whole epoch is an error of its own, except in evaluation,
        # where `report` names its examples.
        limit = max(1, self.size) if self._seed is not None else FOREVER

        def at_end(missing):
            # Examples lost at the end are replaced in the next epoch; if there
            # is none, they must be reported now.
            if self._seed is not None:
                return missing * 0
            return tf.minimum(missing, 1)

        def count(expected, row):
            ordinal, ends, opened = row
            missing = tf.where(expected < 0, ordinal * 0, ordinal - expected)
            stop = tf.debugging.Assert(missing < limit, [_NONE_READ])
            with tf.control_dependencies([stop]):
                copies = tf.where(ends, at_end(missing), missing + 1)
            anew = ordinal * 0 - 1 if restart else expected
            lost = tf.stack([ordinal - missing, missing])
            following = tf.where(ends, anew, ordinal + 1)
            return following, (copies, (lost, *opened))

        counted = opened.scan(tf.constant(expected, "int64"), count)
        return counted.flat_map(
            lambda copies, row: tf.data.Dataset.from_tensors(row).repeat(copies)
        )

    def _lost_numbers(self, lost):
        """Returns the indices of lost examples, [N, 2] ordinals and counts."""
        numbers = []
        for first, count in np.unique(lost.reshape(-1, 2), axis=0):
            for ordinal in range(first, first + count):
                position = self._part.position(ordinal)
                epoch, place = divmod(position, self._source.size)
                numbers.append(int(self._numbers(epoch)[place]))
        return numbers

    @functools.lru_cache(maxsize=2)  # noqa: B019  A stream lives as long as a run.
    def _numbers(self, epoch):
        """Returns the indices of an epoch's examples, in its order."""
        ds = tf.data.Dataset.from_tensors(tf.constant(epoch, "int64"))
        ds = ds.flat_map(lambda epoch: self._source.numbers(self._order(epoch)))
        ds = ds.batch(1024).with_options(inner_options())
        return np.concatenate(list(ds.as_numpy_iterator()))


def inner_options() -> tf.data.Options:
    """Returns options for a data set that is read inside another one.

    The other one's threads may all be waiting.
    """
    options = tf.data.Options()
    options.threading.private_threadpool_size = 2
    return options


def _blank(spec):
    return tf.nest.map_structure(
        lambda part: tf.zeros([side or 0 for side in part.shape], part.dtype),
        spec,
    )
