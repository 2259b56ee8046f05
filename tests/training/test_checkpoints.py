import os

import keras
import numpy as np
import pytest

import line_fit
from efficientnet_tf.data import resumable
from efficientnet_tf.training import (
    callbacks,
    checkpoints,
)


@pytest.fixture
def trained(tmp_path):
    network = line_fit.compile_line()
    folder = tmp_path / "checkpoints"
    line_fit.fit(network, [_checkpointer(network, folder)], 3)
    return network, folder


def _checkpointer(network, folder, done=0, **options):
    return callbacks.Checkpointer(
        folder,
        checkpoints.state_of(network),
        first_step=done * line_fit.STEPS,
        **options,
    )


def _restore(network, folder):
    return checkpoints.restore(folder, checkpoints.state_of(network))


def _steps(folder):
    return [int(p.name[5:]) for p in checkpoints.list_newest(folder)]


def test_the_newest_epochs_are_kept(trained):
    assert _steps(trained[1]) == [3 * line_fit.STEPS, 2 * line_fit.STEPS]


def test_restoring_gives_every_variable_and_the_step(trained):
    network, folder = trained
    other = line_fit.compile_line()
    assert _restore(other, folder) == 3 * line_fit.STEPS
    old, new = checkpoints.state_of(network), checkpoints.state_of(other)
    assert len(old) == len(new) > 4
    for one, two in zip(old, new, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(two))
    assert int(other.optimizer.iterations) == 3 * line_fit.STEPS


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
    damage(checkpoints.list_newest(folder)[0] / checkpoints.STATE_FILE)
    other = line_fit.compile_line()
    assert _restore(other, folder) == 2 * line_fit.STEPS
    assert int(other.optimizer.iterations) == 2 * line_fit.STEPS


def test_with_every_checkpoint_damaged_nothing_is_trained_by_mistake(trained):
    folder = trained[1]
    for path in checkpoints.list_newest(folder):
        _cut(path / checkpoints.STATE_FILE)
    with pytest.raises(
        OSError, match="No checkpoint in .* can be read; delete"
    ):
        _restore(line_fit.compile_line(), folder)


def test_without_checkpoints_nothing_is_restored(tmp_path):
    network = line_fit.compile_line()
    before = network.get_weights()
    assert _restore(network, tmp_path / "nowhere") == 0
    np.testing.assert_array_equal(before[0], network.get_weights()[0])


def test_a_save_that_fails_leaves_the_older_epochs_alone(trained, monkeypatch):
    network, folder = trained

    def half(path, **arrays):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", half)
    with pytest.raises(OSError, match="No space left"):
        line_fit.fit(network, [_checkpointer(network, folder, 3)], 4, done=3)
    assert _steps(folder) == [3 * line_fit.STEPS, 2 * line_fit.STEPS]
    assert _restore(line_fit.compile_line(), folder) == 3 * line_fit.STEPS


def test_what_a_kill_left_is_removed_at_the_next_start(trained):
    network, folder = trained
    (folder / ".tmp-1-step_000000016").mkdir()
    line_fit.fit(network, [_checkpointer(network, folder, 3)], 3, done=3)
    assert len(os.listdir(folder)) == 2


def test_the_best_stays_beside_the_newest(tmp_path):
    network = line_fit.compile_line()
    state = checkpoints.state_of(network)
    for step, score in enumerate((0.3, 0.9, None, 0.5, 0.4), start=1):
        checkpoints.save(tmp_path, state, step, keep=2, score=score)
    assert _steps(tmp_path) == [5, 4, 2]
    assert checkpoints.find_best(tmp_path).name == "step_000000002"


@pytest.mark.parametrize("keep", [1, 3])
def test_going_on_from_an_older_one_removes_the_damaged_newer(tmp_path, keep):
    network = line_fit.compile_line()
    state = checkpoints.state_of(network)
    for step in (10, 20, 30):
        checkpoints.save(tmp_path, state, step, keep=3, score=step)
    _cut(tmp_path / "step_000000030" / checkpoints.STATE_FILE)
    assert _restore(network, tmp_path) == 20
    for step in (21, 22):
        checkpoints.save(tmp_path, state, step, keep=keep)
        assert _steps(tmp_path)[0] == step
    assert 30 not in _steps(tmp_path)
    assert checkpoints.find_best(tmp_path).name == "step_000000020"
    assert _restore(network, tmp_path) == 22


def test_a_checkpoint_of_another_network_is_refused(trained):
    layers = [keras.Input((2,)), keras.layers.Dense(3, name="dense")]
    other = keras.Sequential(layers)
    other.compile("adamw", "mse")
    with pytest.raises(ValueError, match="holds another network or optimizer"):
        _restore(other, trained[1])


class _AskToStop(keras.callbacks.Callback):
    def __init__(self, checkpointer, batch):
        super().__init__()
        self.checkpointer, self.batch = checkpointer, batch

    def on_train_batch_begin(self, batch, logs=None):
        if batch == self.batch:
            self.checkpointer.request_stop()


def test_a_request_to_stop_saves_within_the_epoch(tmp_path):
    network = line_fit.compile_line()
    saver = _checkpointer(network, tmp_path)
    with pytest.raises(callbacks.Preempted, match="after step 3"):
        line_fit.fit(network, [saver, _AskToStop(saver, batch=2)], 3)
    assert _steps(tmp_path) == [3]
    other = line_fit.compile_line()
    assert _restore(other, tmp_path) == 3
    assert int(other.optimizer.iterations) == 3


@pytest.mark.parametrize(
    "writes,saved", [(True, [line_fit.STEPS]), (False, [])]
)
def test_a_request_at_an_epochs_end_waits_for_its_scores(
    tmp_path, writes, saved
):
    network = line_fit.compile_line()
    saver = _checkpointer(network, tmp_path, writes=writes)
    watchers = [saver, _AskToStop(saver, batch=line_fit.STEPS - 1)]
    if writes:
        with pytest.raises(callbacks.Preempted, match=f"step {line_fit.STEPS}"):
            line_fit.fit(network, watchers, 1)
    else:  # Another process decides, and this one does not claim to save.
        line_fit.fit(network, watchers, 1)
        assert "worker 0 saves" in str(saver.stopped)
    assert _steps(tmp_path) == saved


def test_time_alone_brings_a_save_within_the_epoch(tmp_path):
    network = line_fit.compile_line()
    saver = _checkpointer(network, tmp_path, minutes=1e-9, keep=99)
    line_fit.fit(network, [saver], 1)
    assert _steps(tmp_path) == [4, 3, 2, 1]


@pytest.mark.parametrize("lost", [True, False])
def test_images_that_break_bring_a_save_of_the_last_step(tmp_path, lost):
    network = line_fit.compile_line()
    saver = _checkpointer(network, tmp_path)
    corrupt = resumable.Corrupt(10, 0)

    class Break(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                if lost:
                    corrupt.add(["x.png"])
                raise RuntimeError("no image")

    with pytest.raises(RuntimeError, match="no image"):
        with saver.kept_without_images(corrupt):
            line_fit.fit(network, [saver, Break()], 1)
    assert _steps(tmp_path) == [2] * lost


def test_a_process_that_does_not_write_leaves_no_files(tmp_path):
    network = line_fit.compile_line()
    folder = tmp_path / "checkpoints"
    line_fit.fit(network, [_checkpointer(network, folder, writes=False)], 1)
    assert not folder.exists()
