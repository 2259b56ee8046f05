"""Images that the workers of a tf.data service prepare, on other machines.

Workers run TensorFlow's graph alone. What goes through Pillow here would be
lost there and be taken for damaged: it is refused by name.
"""

from collections.abc import Callable

import tensorflow as tf

from efficientnet_tf.data import examples as examples_lib, resumable
from efficientnet_tf.data.images import decoding
from efficientnet_tf.utils import addresses, waits


def check_service(address: str | None) -> None:
    """Raises ValueError unless it is None or "grpc://HOST:PORT"."""
    if address is None:
        return
    protocol, _, rest = address.partition("://")
    if protocol != "grpc":
        raise ValueError(f"data_service={address!r} must begin with grpc://.")
    addresses.check("data_service", rest)


def why(address: str) -> str:
    """Returns the reason for a batch that does not come from a service."""
    return f"the data service at {address} does not answer"


def distribute(dataset: tf.data.Dataset, address: str) -> tf.data.Dataset:
    """Distributes epochs over the workers of the service at `address`."""
    check_service(address)
    # TensorFlow asks for ever where nobody is.
    with waits.waiting("No answer", why(address)):
        return dataset.apply(
            tf.data.experimental.service.distribute(
                processing_mode=(
                    tf.data.experimental.service.ShardingPolicy.DYNAMIC
                ),
                service=address,
            )
        )


def without_python(preprocess: Callable) -> Callable:
    """Returns `preprocess` as a graph that other processes can run."""

    def prepare(image, seed):
        with decoding.graph_only():
            return preprocess(image, seed)

    return prepare


def check_first(
    examples: examples_lib.Examples, preprocess: Callable, count: int
) -> None:
    """Raises RuntimeError if workers cannot decode one of the first images."""
    for number in range(min(count, examples.size)):
        reason = explain_lost(examples, preprocess, number)
        if reason:
            raise RuntimeError(reason)


def explain_lost(
    examples: examples_lib.Examples, preprocess: Callable, number: int
) -> str:
    """Returns which format workers lose that is read here, or "".

    Args:
      examples: where the image is from.
      preprocess: maps an image and a seed, int64 [2], as in training.
      number: its index.
    """
    rows = examples.source.epoch(None, number).take(1)
    _, row = next(iter(rows.with_options(resumable.inner_options())))
    try:
        image, _ = examples.source.open(row)
        preprocess(image, tf.zeros([2], "int64"))
    except tf.errors.OpError:
        return ""  # Damaged, wherever it is read.
    what = decoding.name_not_exact(image)
    if not what:
        return ""
    name = examples.source.name(number)
    return (
        f"{name} is {what}, which the workers of a data service cannot decode; "
        "convert it, or train without --data_service."
    )
