"""Ends a training in time, with its learning-rate schedule complete."""

import dataclasses
import time
from typing import Any

import keras
import numpy as np
from absl import logging

# Steps whose median duration is the pace: enough for one slow step not to
# count, few enough to follow a machine that has other work to do.
SEEN_STEPS = 20


class Paced(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that may run ahead of the optimizer's steps.

    Args:
      schedule: the schedule.
      ahead: how many steps, float32 []. It never falls.
    """

    def __init__(
        self,
        schedule: keras.optimizers.schedules.LearningRateSchedule,
        ahead: keras.Variable,
    ):
        super().__init__()
        self.schedule = schedule
        self.ahead = ahead

    def __call__(self, step: Any) -> Any:
        return self.schedule(keras.ops.cast(step, "float32") + self.ahead)

    def get_config(self) -> dict:
        raise NotImplementedError("Only a run that saves its own state has it.")


def make_ahead() -> keras.Variable:
    """Returns how far a schedule is ahead, for `Paced`: not at all."""
    return keras.Variable(0.0, trainable=False, dtype="float32")


@dataclasses.dataclass(frozen=True)
class Length:
    """Of a training: its schedule's steps, and those between evaluations."""

    steps: int
    steps_per_round: int


class Pacer(keras.callbacks.Callback):
    """Shortens a schedule as much as the time that is left demands.

    Where steps take longer than was planned, each of the rest advances the
    schedule by more than one, so that its end is reached in time.

    Args:
      length: of the schedule.
      first_step: steps before this call of `fit`.
      ahead: of the schedule, see `Paced`; a checkpoint should hold it.
      end: by `time.perf_counter()`, when the last round must be over.
      round_seconds: what a round is expected to take besides its steps.
    """

    def __init__(
        self,
        length: Length,
        *,
        first_step: int,
        ahead: keras.Variable,
        end: float,
        round_seconds: float,
    ):
        super().__init__()
        self.length = length
        self.ahead = ahead
        self.end = end
        self.round_seconds = round_seconds
        self.step = first_step
        self._ahead = float(ahead.numpy())
        self._seconds: list[float] = []
        self._last: float | None = None
        self._round_end: float | None = None

    @property
    def left(self) -> float:
        """How many steps of the schedule are left."""
        return self.length.steps - self.step - self._ahead

    @property
    def is_over(self) -> bool:
        """Whether the schedule is complete."""
        return self.left < 0.5

    @property
    def is_shortened(self) -> bool:
        """Whether fewer steps than the schedule has complete it."""
        return self._ahead > 0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        now = time.perf_counter()
        if self._round_end is not None:
            self.round_seconds = max(self.round_seconds, now - self._round_end)
        self._last = None  # A round's first step waits for its input.

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        now = time.perf_counter()
        if self._last is not None:
            self._seconds = [*self._seconds, now - self._last][-SEEN_STEPS:]
        self._last = self._round_end = now
        self.step += 1
        self._hurry(now)
        if self.is_over:
            self.model.stop_training = True

    def on_train_end(self, logs: dict | None = None) -> None:
        if self.is_shortened:
            # As good as untrained, it deserves more than a remark.
            log = logging.info
            if self.step < self.length.steps / 2:
                log = logging.warning
            log(
                "Steps took longer than planned: the schedule of %d ended "
                "after %d, within the time limit.",
                self.length.steps,
                self.step,
            )

    def _hurry(self, now):
        """Advances the schedule if its steps take longer than there is time."""
        left = self.left
        rounds = np.ceil(left / self.length.steps_per_round)
        seconds = self.end - now - max(rounds, 1) * self.round_seconds
        if seconds <= 0:
            self._advance(left)
        elif self._seconds:
            possible = seconds / float(np.median(self._seconds))
            if possible < left:
                self._advance(min(left / max(possible, 1.0) - 1, left))

    def _advance(self, steps):
        if steps > 0:
            self._ahead += steps
            self.ahead.assign(self._ahead)
