"""Batches of examples: endless ones to train on, one pass to evaluate."""

import functools
from collections.abc import Callable

import tensorflow as tf

from efficientnet_tf.data import examples as examples_lib, resumable

AUTOTUNE = tf.data.AUTOTUNE

# If none of these can be read, it is not the images that are bad.
TRIED_IMAGES = 16


def make_epochs_dataset(
    examples: examples_lib.Examples,
    preprocess: Callable,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    batch_transform: Callable | None = None,
    input_pipeline_id: int = 0,
    num_input_pipelines: int = 1,
    corrupt: resumable.Corrupt | None = None,
    data_service: str | None = None,
) -> tf.data.Dataset:
    """Returns endless shuffled batches, resumable from any step.

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
      corrupt: the `resumable.Corrupt` that counts unreadable images, names each
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
        seeds = functools.partial(_batch_seed, part, seed)
        ds = ds.enumerate(start=start_step).map(
            lambda step, batch: (
                batch[0],
                *batch_transform(*batch[1:], seeds(step)),
            ),
            num_parallel_calls=AUTOTUNE,
        )
    if data_service is not None:
        ds = _distribute(ds, data_service)
    ds = ds.map(functools.partial(stream.report, corrupt))
    return ds.with_options(_options()).prefetch(AUTOTUNE)


def make_eval_dataset(
    examples: examples_lib.Examples, preprocess: Callable, *, batch_size: int
) -> tf.data.Dataset:
    """One ordered pass; the last batch may be short, so no image is skipped.

    An image that cannot be read raises InvalidArgumentError with its name.
    """
    part = resumable.Slice(batch_size)
    ds = _batch(_evaluated(examples, preprocess, part), batch_size)
    return ds.with_options(_options()).prefetch(AUTOTUNE)


def make_padded_eval_dataset(
    examples: examples_lib.Examples,
    preprocess: Callable,
    *,
    batch_size: int,
    input_pipeline_id: int = 0,
    num_input_pipelines: int = 1,
) -> tf.data.Dataset:
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


def _batch_seed(part, seed, step):
    """No two parts of any batch share a seed."""
    return tf.stack([seed, step * part.count + part.index])


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
