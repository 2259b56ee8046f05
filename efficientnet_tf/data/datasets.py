"""Batches of examples: endless for training, one pass for evaluation."""

import functools
from collections.abc import Callable

import tensorflow as tf

from efficientnet_tf.data import (
    examples as examples_lib,
    remote,
    resumable,
    watched,
)
from efficientnet_tf.utils import messages

AUTOTUNE = tf.data.AUTOTUNE

# If none of the first ones can be read, the images are not the problem.
TRIED_IMAGES = 16

# Of a batch that does not come.
WHY_LOCAL = "reading the images stands still"


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

    Each epoch has every image once. A batch, with all its random numbers, is a
    function of the seed and the step; nothing before `start_step` is decoded.

    Args:
      examples: `Examples`.
      preprocess: maps one image and a seed, int64 [2], to a tensor, or a
        structure of tensors, of known shape.
      batch_size: of all input pipelines together.
      seed: an integer.
      start_step: how many batches have been seen.
      batch_transform: maps (images, labels, seed) of a batch, or None.
      input_pipeline_id: the index of this input pipeline, from 0.
      num_input_pipelines: each yields its part of every batch.
      corrupt: counts, logs and limits unreadable images, each replaced by the
        next one. None: the first one raises.
      data_service: "grpc://HOST:PORT", the dispatcher of a tf.data service
        whose workers do all this, or None. Epochs then overlap, each still with
        every image once; the order depends on the workers' speed.

    Returns:
      A dataset of (images, labels). Too many corrupt images raise TensorFlow's
      InvalidArgumentError, and `corrupt.check()` a RuntimeError that says so.

    Raises:
      ValueError: the batch size cannot be divided among the pipelines.
      RuntimeError: none of the first images can be read, or by no worker.
    """
    part = _slice(batch_size, input_pipeline_id, num_input_pipelines)
    _try_first(examples, preprocess)
    preprocess, explain = _for_service(examples, preprocess, data_service)
    stream = resumable.Stream(examples.source, part, seed)
    if corrupt is None:
        corrupt = resumable.Corrupt(stream.size, 0)
    is_shared = data_service is not None
    decoded = stream.decode(
        preprocess, start_step=start_step, shared_out=is_shared
    )
    ds = _batch(decoded, part.local_batch_size, drop_remainder=True)
    if batch_transform is not None:  # E.g. mixup.
        seeds = functools.partial(_batch_seed, part, seed)
        ds = _transform_batches(ds, batch_transform, seeds, start_step)
    if data_service is not None:
        ds = remote.distribute(ds, data_service)
    ds = ds.map(functools.partial(stream.report, corrupt, explain=explain))
    return _finish(ds, data_service, trains=True)


def make_eval_dataset(
    examples: examples_lib.Examples, preprocess: Callable, *, batch_size: int
) -> tf.data.Dataset:
    """Returns one ordered pass; the last batch may be smaller.

    An unreadable image raises InvalidArgumentError with its name.
    """
    part = resumable.Slice(batch_size)
    return _finish(_batch(_evaluated(examples, preprocess, part), batch_size))


def make_padded_eval_dataset(
    examples: examples_lib.Examples,
    preprocess: Callable,
    *,
    batch_size: int,
    input_pipeline_id: int = 0,
    num_input_pipelines: int = 1,
) -> tf.data.Dataset:
    """Returns one ordered pass in batches of equal size, for many replicas.

    Yields (images, labels, weights). The padding of the last batch has weight
    zero, so that each image counts once however many replicas there are. Every
    input pipeline yields its part of each batch, and all yield the same number
    of batches.
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
    return _finish(_batch(ds, part.local_batch_size, drop_remainder=True))


def _for_service(examples, preprocess, address):
    """Returns `preprocess` for a service's workers, and why they lost images.

    Raises RuntimeError if they cannot decode one of the first images.
    """
    if address is None:
        return preprocess, None
    remote.check_first(examples, preprocess, TRIED_IMAGES)
    explain = functools.partial(remote.explain_lost, examples, preprocess)
    return remote.without_python(preprocess), explain


def _slice(batch_size, index, count):
    if batch_size % count:
        raise ValueError(
            f"A batch of {batch_size} cannot be divided among {count} input "
            "pipelines."
        )
    return resumable.Slice(batch_size, index, count)


def _transform_batches(dataset, transform, seeds, start_step):
    """Maps (images, labels) of each batch; `seeds` maps a step to its seed."""
    return dataset.enumerate(start=start_step).map(
        lambda step, batch: (batch[0], *transform(*batch[1:], seeds(step))),
        num_parallel_calls=AUTOTUNE,
    )


def _batch_seed(part, seed, step):
    """Returns a seed that no other batch or part of this batch has."""
    return tf.stack([seed, step * part.count + part.index])


def _try_first(examples, preprocess):
    """Raises an error if `preprocess` fails on all of the first images."""
    reason = None
    rows = examples.source.epoch(None, 0)
    for _, row in rows.take(min(examples.size, TRIED_IMAGES)):
        try:
            preprocess(examples.source.open(row)[0], tf.zeros([2], "int64"))
            return
        except tf.errors.OpError as error:
            reason = reason or messages.without_graph(error.message)
    raise RuntimeError(f"None of the first images can be read: {reason}")


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


def _finish(dataset, data_service=None, trains=False):
    why = WHY_LOCAL if data_service is None else remote.why(data_service)
    dataset = dataset.with_options(_options()).prefetch(AUTOTUNE)
    return watched.watch(dataset, why, trains=trains)


def _options():
    options = tf.data.Options()
    options.deterministic = True
    # What each machine reads is decided here, not by a distribution strategy.
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.OFF
    )
    return options
