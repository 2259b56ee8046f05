import types

import keras
import numpy as np
import pytest

import line_fit
from efficientnet_tf.training import checkpoints, optimizers, pacing


class Clock:
    """Seconds that pass only when a simulated step takes them."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(
            pacing, "time", types.SimpleNamespace(perf_counter=lambda: self.now)
        )


def simulate(clock, pacer, step_seconds, round_seconds):
    """Calls a pacer as `fit` does; returns how many steps were done."""
    pacer.set_model(types.SimpleNamespace(stop_training=False))
    steps = 0
    for epoch in range(100):
        pacer.on_epoch_begin(epoch)
        for batch in range(pacer.length.steps_per_round):
            clock.now += step_seconds(steps)
            steps += 1
            pacer.on_train_batch_end(batch)
            if pacer.model.stop_training:
                break
        clock.now += round_seconds
        if pacer.model.stop_training or steps == pacer.length.steps:
            return steps
    raise AssertionError


@pytest.mark.parametrize(
    "seconds,step_seconds,done",
    [
        # Enough time: nothing is shortened.
        (200, lambda _: 1.0, 100),
        (111, lambda _: 1.0, 100),
        # Steps take twice what was planned.
        (110, lambda _: 2.0, (49, 53)),
        # From the 50th on they take three times as much.
        (110, lambda step: 3.0 if step > 50 else 1.0, (65, 70)),
        # One slow step is no slow machine.
        (150, lambda step: 30.0 if step == 7 else 1.0, 100),
        # There is no time at all.
        (-5, lambda _: 1.0, 1),
    ],
)
def test_a_schedule_is_complete_when_its_time_is_over(
    monkeypatch, seconds, step_seconds, done
):
    clock = Clock(monkeypatch)
    ahead = pacing.make_ahead()
    pacer = pacing.Pacer(
        pacing.Length(100, 20),
        first_step=0,
        ahead=ahead,
        end=clock.now + seconds,
        round_seconds=2.0,
    )
    steps = simulate(clock, pacer, step_seconds, round_seconds=2.0)
    low, high = done if isinstance(done, tuple) else (done, done)
    assert low <= steps <= high
    assert steps + float(ahead.numpy()) == pytest.approx(100, abs=0.6)
    if seconds > 0:
        assert clock.now <= 1000 + seconds * 1.02


def test_rounds_that_take_longer_than_planned_are_taken_into_account(
    monkeypatch,
):
    clock = Clock(monkeypatch)
    pacer = pacing.Pacer(
        pacing.Length(100, 10),
        first_step=0,
        ahead=pacing.make_ahead(),
        end=clock.now + 150,
        round_seconds=0.0,
    )
    steps = simulate(clock, pacer, lambda _: 1.0, round_seconds=10.0)
    assert steps < 85
    # The first round was longer than anyone could know.
    assert clock.now <= 1000 + 150 * 1.02


class Slow(keras.callbacks.Callback):
    """Makes each step appear to take a second."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def on_train_batch_end(self, batch, logs=None):
        self.clock.now += 1.0


def compile_paced():
    network = line_fit.compile_line()
    ahead = pacing.make_ahead()
    schedule = pacing.Paced(
        keras.optimizers.schedules.CosineDecay(0.1, 40), ahead
    )
    optimizer = optimizers.make_adamw(schedule, weight_decay=0.1)
    optimizer.ahead = ahead
    network.compile(optimizer, "mse")
    return network, ahead


def test_fit_ends_at_a_learning_rate_of_zero_and_a_checkpoint_knows_it(
    monkeypatch, tmp_path
):
    clock = Clock(monkeypatch)
    network, ahead = compile_paced()
    pacer = pacing.Pacer(
        pacing.Length(40, line_fit.STEPS),
        first_step=0,
        ahead=ahead,
        end=clock.now + 20,
        round_seconds=0.0,
    )
    line_fit.fit(network, [Slow(clock), pacer], 10)
    steps = int(network.optimizer.iterations.numpy())
    assert 18 <= steps <= 21
    assert float(network.optimizer.learning_rate) == pytest.approx(0, abs=1e-4)
    checkpoints.save(tmp_path, checkpoints.state_of(network), steps, keep=1)
    restored, ahead = compile_paced()
    found = checkpoints.restore(tmp_path, checkpoints.state_of(restored))
    assert found == steps
    assert pacing.Pacer(
        pacing.Length(40, line_fit.STEPS),
        first_step=found,
        ahead=ahead,
        end=np.inf,
        round_seconds=0.0,
    ).is_over
