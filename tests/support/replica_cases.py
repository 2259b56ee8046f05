"""Runs layers on many replicas, which a process sets up before all else.

python tests/replica_cases.py RESULTS.npz
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from efficientnet_tf.models import layers
from efficientnet_tf.training import distribution

REPLICAS, SHAPE = 16, (2, 3, 3, 4)


def normalize(strategy, inputs, upstream, statistics):
    """Returns outputs and gradients to inputs, gamma and beta by replica."""
    with strategy.scope():
        network = keras.Sequential(
            [keras.Input(SHAPE[1:]), layers.BatchNormalization(momentum=0.5)]
        )
    layers.set_statistics(network, statistics)
    weights = [v.value for v in network.trainable_variables]

    def step(x, dy):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = network(x, training=True)
            loss = tf.reduce_sum(y * dy)
        return y, *tape.gradient(loss, [x, *weights])

    results = tf.function(
        lambda *args: strategy.run(step, args), autograph=False
    )(spread(strategy, inputs), spread(strategy, upstream))
    results = [collect(strategy, result) for result in results]
    moving = [collect(strategy, v.value) for v in network.non_trainable_weights]
    return dict(
        zip(
            ("outputs", "dx", "dgamma", "dbeta", "mean", "variance"),
            [*results, *moving],
            strict=True,
        )
    )


def drop(strategy):
    """Returns two masks of each replica."""
    with strategy.scope():
        layer = layers.Dropout(0.5, seed=3)
        ones = tf.ones((8, 8))
    return collect(
        strategy,
        strategy.run(
            lambda: tf.stack([layer(ones, training=True) for _ in range(2)])
        ),
    )


def spread(strategy, values):
    return strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(values[context.replica_id_in_sync_group])
    )


def collect(strategy, values):
    return np.stack(strategy.experimental_local_results(values))


if __name__ == "__main__":
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * REPLICAS,
    )
    rng = np.random.default_rng(0)
    # Replicas differ in mean and in scale.
    inputs, upstream = rng.normal(
        rng.normal(size=(2, REPLICAS, 1, 1, 1, 1)),
        rng.uniform(0.5, 2, (2, REPLICAS, 1, 1, 1, 1)),
        (2, REPLICAS, *SHAPE),
    ).astype("float32")
    strategy = distribution.make_strategy("mirrored")
    arrays = {"inputs": inputs, "upstream": upstream, "drop": drop(strategy)}
    for statistics in layers.STATISTICS:
        found = normalize(strategy, inputs, upstream, statistics)
        arrays |= {f"{statistics}/{k}": v for k, v in found.items()}
    np.savez(sys.argv[1], **arrays)
