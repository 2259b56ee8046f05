import json
import os

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


@pytest.fixture
def trained(tmp_path):
    network = _compiled()
    _fit(network, [callbacks.Checkpointer(tmp_path / "checkpoints")], 3)
    return network, tmp_path / "checkpoints"


def _names(folder):
    return [path.name for path in callbacks.list_checkpoints(folder)]


def test_the_newest_epochs_are_kept(trained):
    assert _names(trained[1]) == ["epoch_00003", "epoch_00002"]


def test_restoring_gives_weights_optimizer_and_step(trained):
    network, folder = trained
    other = _compiled()
    assert callbacks.restore(other, folder) == 3
    for old, new in (
        (network.get_weights(), other.get_weights()),
        (
            [np.asarray(v) for v in network.optimizer.variables],
            [np.asarray(v) for v in other.optimizer.variables],
        ),
    ):
        assert len(old) == len(new) > 1
        for one, two in zip(old, new, strict=True):
            np.testing.assert_array_equal(one, two)
    assert int(other.optimizer.iterations) == 3 * STEPS


def _cut(path):
    path.write_bytes(path.read_bytes()[:200])


DAMAGE = {
    "cut short": _cut,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("words"),
    "missing": os.remove,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_newest_checkpoint_falls_back_to_the_older(trained, damage):
    folder = trained[1]
    damage(folder / "epoch_00003" / callbacks.WEIGHTS_FILE)
    other = _compiled()
    assert callbacks.restore(other, folder) == 2
    assert int(other.optimizer.iterations) == 2 * STEPS


def test_with_every_checkpoint_damaged_nothing_is_trained_by_mistake(trained):
    folder = trained[1]
    for path in callbacks.list_checkpoints(folder):
        _cut(path / callbacks.WEIGHTS_FILE)
    with pytest.raises(
        OSError, match="No checkpoint in .* can be read; delete"
    ):
        callbacks.restore(_compiled(), folder)


def test_without_checkpoints_nothing_is_restored(tmp_path):
    network = _compiled()
    before = network.get_weights()
    assert callbacks.restore(network, tmp_path / "nowhere") == 0
    np.testing.assert_array_equal(before[0], network.get_weights()[0])


def test_a_save_that_fails_leaves_the_older_epochs_alone(trained, monkeypatch):
    network, folder = trained

    def half(path):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(network, "save_weights", half)
    with pytest.raises(OSError, match="No space left"):
        _fit(network, [callbacks.Checkpointer(folder)], 4, done=3)
    assert sorted(os.listdir(folder)) == ["epoch_00002", "epoch_00003"]
    assert callbacks.restore(_compiled(), folder) == 3


def test_what_a_kill_left_is_removed_at_the_next_start(trained):
    network, folder = trained
    (folder / ".tmp-1-epoch_00004").mkdir()
    _fit(network, [callbacks.Checkpointer(folder)], 3, done=3)
    assert sorted(os.listdir(folder)) == ["epoch_00002", "epoch_00003"]


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
