"""Batches whose delay can be seen by another thread of this process."""

import itertools

import tensorflow as tf

from efficientnet_tf.utils import waits


def watch(
    dataset: tf.data.Dataset, why: str, *, trains: bool = False
) -> tf.data.Dataset:
    """Returns the same batches, each of them a `waits.Wait` until it comes.

    Whoever asks for a batch waits inside TensorFlow, where Python can neither
    look at a clock nor handle a signal.

    Args:
      dataset: batches, as they go to the network.
      why: the likely reason for a batch that does not come.
      trains: whether they are for training, so that their number says where
        the run stands.
    """

    def ask():
        for number in itertools.count():
            key = waits.begin(
                "No batch", why, number=number if trains else None
            )
            try:
                yield key
            finally:  # Also when the iterator is dropped or ends.
                waits.drop(key)

    def arrive(key, batch):
        tf.numpy_function(waits.end, [key], [])
        return batch

    asked = tf.data.Dataset.from_generator(
        ask, output_signature=tf.TensorSpec((), "int64")
    ).apply(
        # So that the length of the whole is that of `dataset`.
        tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
    )
    # `zip` asks its parts one after the other.
    return tf.data.Dataset.zip(asked, dataset).map(arrive)
