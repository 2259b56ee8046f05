import json

import keras
import numpy as np
import pytest

from efficientnet_tf import callbacks, optimization

STEPS = 4


def _compiled():
    layers = [keras.Input((2,)), keras.layers.Dense(1, name="dense")]
    network = keras.Sequential(layers)
    schedule = optimization.warmup_cosine(0.1, 20, 5)
    network.compile(optimization.make_adamw(schedule, weight_decay=0.1), "mse")
    return network


def _fit(network, watchers, epochs, done=0):
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


def test_logs_say_the_learning_rate_and_the_images_a_second(tmp_path):
    network = _compiled()
    path = tmp_path / "metrics.jsonl"
    watchers = [callbacks.Throughput(8), callbacks.JsonLines(path)]
    _fit(network, watchers, 3)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    schedule = optimization.warmup_cosine(0.1, 20, 5)
    for row in rows:
        expected = float(schedule(STEPS * row["epoch"]))
        assert row["learning_rate"] == pytest.approx(expected, rel=1e-5)
        assert np.isfinite(row["loss"])
        # All images of the epoch, in no more time than the epoch took.
        assert row["images_per_second"] * row["seconds"] >= 8 * STEPS
        assert row["images_per_second"] < 1e7
    assert rows[0]["finished"] < rows[1]["finished"] < rows[2]["finished"]
