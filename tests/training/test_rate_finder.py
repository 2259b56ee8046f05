import keras
import numpy as np
import pytest

import line_fit
from efficientnet_tf.training import rate_finder


def compile_line(rate=0.5):
    network = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="ones")]
    )
    network.compile(keras.optimizers.SGD(rate, momentum=0.9), "mse")
    return network


def fit(network, finder):
    noise = np.random.default_rng(0)
    images = noise.normal(size=(32, 2)).astype("float32")
    network.fit(
        images,
        images @ np.array([[3.0], [-2.0]], "float32"),
        batch_size=32,
        epochs=finder.steps,
        shuffle=False,
        callbacks=[finder],
        verbose=0,
    )


def test_the_rate_before_the_loss_diverges_is_found_and_nothing_is_changed():
    network = compile_line()
    before = [value.numpy() for value in network.weights]
    finder = rate_finder.LearningRateFinder(1e-5, 100.0, 80)
    fit(network, finder)
    # Gradient descent on a square diverges above 2 / curvature, about 1.
    assert len(finder.losses) < 80
    assert 0.01 < finder.suggestion < 1.0
    assert finder.losses.min() < 0.2 * finder.losses[0]
    for value, kept in zip(network.weights, before, strict=True):
        np.testing.assert_array_equal(value.numpy(), kept)
    assert float(network.optimizer.learning_rate) == 0.5
    assert int(network.optimizer.iterations.numpy()) == 0


def test_each_steps_own_loss_is_recorded():
    network = compile_line()
    seen = []
    finder = rate_finder.LearningRateFinder(1e-4, 1e-3, 10)
    watcher = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(logs["loss"])
    )
    noise = np.random.default_rng(0)
    images = noise.normal(size=(80, 2)).astype("float32")
    network.fit(
        *(images, images @ np.ones((2, 1)) + noise.normal(size=(80, 1))),
        batch_size=8,
        shuffle=False,
        callbacks=[watcher, finder],
        verbose=0,
    )
    means = np.cumsum(finder.losses) / np.arange(1, 11)
    np.testing.assert_allclose(means, seen, rtol=1e-5)
    np.testing.assert_allclose(finder.rates, np.geomspace(1e-4, 1e-3, 10))


def test_a_loss_that_falls_at_no_rate_gives_no_suggestion():
    finder = rate_finder.LearningRateFinder(1e-9, 1e-8, 20)
    fit(compile_line(), finder)
    assert len(finder.losses) == 20
    assert finder.suggestion is None


def test_a_schedule_and_senseless_rates_are_refused():
    with pytest.raises(ValueError, match="compiled with a learning-rate sch"):
        fit(line_fit.compile_line(), rate_finder.LearningRateFinder())
    for lowest, highest in ((0, 1), (1, 1), (1, 0.1), (-1, 1)):
        with pytest.raises(ValueError, match="must be above 0 and below"):
            rate_finder.LearningRateFinder(lowest, highest)
    with pytest.raises(ValueError, match="steps=3 must be at least 10"):
        rate_finder.LearningRateFinder(steps=3)
