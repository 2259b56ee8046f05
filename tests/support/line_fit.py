"""A line fitted to noise, for tests of what happens around `fit`."""

import keras
import numpy as np

from efficientnet_tf.training import optimizers, schedules

STEPS = 4


def compile_line():
    """Returns a dense layer with a scheduled optimizer."""
    layers = [keras.Input((2,)), keras.layers.Dense(1, name="dense")]
    network = keras.Sequential(layers)
    schedule = schedules.warmup_cosine(0.1, 20, 5)
    network.compile(optimizers.make_adamw(schedule, weight_decay=0.1), "mse")
    return network


def fit(network, watchers, epochs, done=0):
    """Trains `STEPS` steps an epoch, always on the same numbers."""
    noise = np.random.default_rng(0)
    network.fit(
        noise.normal(size=(8 * STEPS, 2)),
        noise.normal(size=(8 * STEPS, 1)),
        batch_size=8,
        epochs=epochs,
        initial_epoch=done,
        callbacks=watchers,
        verbose=0,
    )
