"""Which images are drawn how often, and how much each counts in the loss."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from efficientnet_tf.data import examples as examples_lib
from efficientnet_tf.data.augment import mixing
from efficientnet_tf.utils import targets


def attach_weights(
    examples: examples_lib.Examples, weights: np.ndarray
) -> examples_lib.Examples:
    """Returns examples with labels float32 [2]: the class, then the weight.

    Of labels or numbers, their vector, then the weight.

    Args:
      examples: of an `Indexed` source.
      weights: of the images in the loss, [N].
    """
    source = check_indexed(examples)
    read = source.read

    def read_weighted(*row):
        image, label = read(*row[:-1])
        label = tf.reshape(tf.cast(label, "float32"), [-1])
        return image, tf.concat([label, row[-1][None]], axis=0)

    columns = (*source.columns, tf.constant(weights, "float32"))
    source = dataclasses.replace(source, columns=columns, read=read_weighted)
    return dataclasses.replace(examples, source=source)


def mix_weighted(
    images: tf.Tensor,
    labels: tf.Tensor,
    seed: Sequence[int] | tf.Tensor,
    *,
    classes: int,
    target: str = targets.CLASS,
    **settings: Any,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Mixes a batch of `attach_weights`; a mixed image weighs as its parts do.

    Args:
      images: floating point [N, H, W, C].
      labels: float32 [N, 2], or [N, classes + 1].
      seed: two integers.
      classes: number of classes, labels or numbers.
      target: one of `targets.KINDS`.
      **settings: of `mixing.mix`.

    Returns:
      Images, one-hot labels [N, classes] and weights [N].
    """
    vectors = labels
    if target == targets.CLASS:
        one_hot = tf.one_hot(tf.cast(labels[:, 0], "int64"), classes)
        vectors = tf.concat([one_hot, labels[:, 1:]], axis=1)
    images, vectors = mixing.mix(
        images, vectors, seed, classes=classes, **settings
    )
    return images, vectors[:, :classes], vectors[:, classes]


def balance(
    examples: examples_lib.Examples,
) -> examples_lib.Examples:
    """Returns examples of which each class is drawn equally often.

    An epoch has about as many draws as images: the images of a small class
    repeat, in another order each time, those of a large one take turns.

    Raises:
      ValueError: they are records, which cannot be read in any order.
    """
    source = check_indexed(examples)
    labels = examples.read_labels()
    fields = {
        field.name: getattr(source, field.name)
        for field in dataclasses.fields(source)
    }
    order = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    # Not one to hold out of, or to join with others.
    balanced: Any = Balanced(**fields, order=order, counts=counts[counts > 0])
    return dataclasses.replace(examples, source=balanced)


def check_indexed(examples: examples_lib.Examples) -> examples_lib.Indexed:
    """Returns the source of examples that can be read in any order.

    Raises:
      ValueError: they cannot.
    """
    source: Any = examples.source
    if not isinstance(source, examples_lib.Indexed):
        raise ValueError(
            "sampling='balanced' needs images that can be read in any order; "
            "for a set of TFDS, name tfds:NAME."
        )
    return source


@dataclasses.dataclass(frozen=True)
class Balanced(examples_lib.Indexed):
    """Examples whose epochs have each class equally often.

    `order` has the numbers of the examples by class, `counts` how many each
    class has.
    """

    order: np.ndarray = dataclasses.field(kw_only=True)
    counts: np.ndarray = dataclasses.field(kw_only=True)

    @property
    def size(self) -> int:
        """The number of draws in an epoch."""
        return len(self.counts) * -(-len(self.order) // len(self.counts))

    def _numbers(self, seed, begin):
        if seed is None:
            seed = tf.zeros([2], "int64")
        places = tf.data.Dataset.range(begin, self.size).batch(256)
        return places.map(lambda i: self._draw(i, seed)).unbatch()

    def _draw(self, places, seed):
        """Returns the numbers of the examples at places of an epoch."""
        classes = len(self.counts)
        places = examples_lib.permute(places, self.size, seed)
        own, turn = places % classes, places // classes
        counts = tf.gather(tf.constant(self.counts, "int64"), own)
        # The images of a class in one order, then in another one.
        epoch = tf.fill(tf.shape(own), seed[1])
        seeds = tf.stack([seed[0] + own, epoch, 1 + turn // counts], axis=1)
        # Not `index_shuffle`, which fails with a seed for each.
        inside = tf.raw_ops.RandomIndexShuffle(
            index=turn % counts, seed=seeds, max_index=counts - 1, rounds=4
        )
        first = tf.cumsum(tf.constant(self.counts, "int64"), exclusive=True)
        place = tf.gather(first, own) + inside
        return tf.gather(tf.constant(self.order, "int64"), place)
