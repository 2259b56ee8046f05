import json

import keras
import numpy as np
import pytest

from efficientnet_tf.training import callbacks, progress

STEPS = 4


class _Scores(callbacks.Evaluation):
    """Adds scores that are given in advance, one per epoch."""

    def __init__(self, losses):
        super().__init__(None, 0)
        self.losses = iter(losses)

    def score(self, prefix=""):
        return {f"{prefix}loss": next(self.losses)}


class _Watcher(keras.callbacks.Callback):
    """Records which checkpoints exist after each epoch."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(_steps(self.folder))


def _steps(folder):
    return sorted(int(path.name[5:]) for path in folder.glob("step_*"))


def _fit(watchers, epochs):
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    network.compile("sgd", "mse")
    noise = np.random.default_rng(0)
    network.fit(
        noise.normal(size=(8 * STEPS, 2)),
        noise.normal(size=(8 * STEPS, 1)),
        batch_size=8,
        epochs=epochs,
        callbacks=watchers,
        verbose=0,
    )


def _list(folder, losses=(), writes=True, **options):
    saver = callbacks.Checkpointer(folder / "checkpoints", [], writes=writes)
    return callbacks.list_callbacks(
        saver,
        folder,
        epochs=2,
        batch_size=8,
        evaluation=_Scores(losses),
        **options,
    )


def test_a_run_writes_and_saves_what_the_callbacks_before_have_added(tmp_path):
    watcher = _Watcher(tmp_path / "checkpoints")
    _fit(_list(tmp_path, [0.5, 0.25], watchers=[watcher]), 2)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["val_loss"] for row in rows] == [0.5, 0.25]
    assert all(row["images_per_second"] > 0 for row in rows)
    # Each epoch is saved before others see it.
    assert watcher.seen == [[STEPS], [STEPS, 2 * STEPS]]


def test_what_is_not_finite_is_neither_written_nor_saved(tmp_path):
    watchers = _list(tmp_path, [0.5, float("nan")])
    with pytest.raises(FloatingPointError, match="val_loss is nan at step 8"):
        _fit(watchers, 2)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1
    assert _steps(tmp_path / "checkpoints") == [STEPS]


def test_the_callbacks_of_a_worker_that_does_not_write_leave_no_logs(tmp_path):
    watchers = _list(tmp_path, [0.5], writes=False)
    _fit(watchers, 1)
    assert not list(tmp_path.iterdir())
    assert progress.Throughput in map(type, watchers)
