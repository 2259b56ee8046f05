"""The callbacks of a run, in order: scores, NaN check, logs, checkpoints."""

import contextlib
import os
import pathlib
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from efficientnet_tf.data import resumable
from efficientnet_tf.training import checkpoints, ema, progress, summaries
from efficientnet_tf.utils import files, phases, run_folder


def list_callbacks(
    checkpointer: "Checkpointer",
    workdir: str | os.PathLike,
    *,
    epochs: int,
    batch_size: int,
    evaluation: "Evaluation | None" = None,
    clock: progress.InputClock | None = None,
    profile_steps: tuple[int, int] | None = None,
    watchers: Iterable[keras.callbacks.Callback] = (),
) -> list[keras.callbacks.Callback]:
    """Returns the callbacks of a run, in the order in which they must stand.

    Args:
      checkpointer: saves the run; logs are written only if it writes, and
        curves only inside `summaries.writing`.
      workdir: the run's folder, which gets the metrics.
      epochs: of the whole run.
      batch_size: images per optimizer step.
      evaluation: scores the network after each epoch, or None.
      clock: measures the wait for input, or None.
      profile_steps: (first, last) steps to profile for TensorBoard, or None.
      watchers: more callbacks, called after an epoch is saved.
    """
    workdir = pathlib.Path(workdir)
    # Scores first, since all others read them; then the check for a NaN, so
    # that none is logged or saved.
    found: list[keras.callbacks.Callback] = []
    found += [] if evaluation is None else [evaluation]
    found.append(StopOnBadLoss(checkpointer.step))
    found.append(progress.Throughput(batch_size, clock))
    if checkpointer.writes:
        found += [
            summaries.Curves(),
            progress.JsonLines(workdir / run_folder.METRICS_FILE),
            progress.Progress(epochs),
        ]
    if checkpointer.writes and profile_steps:
        found.append(summaries.Profile(workdir, profile_steps))
    return [*found, checkpointer, *watchers]


class Preempted(Exception):
    """Raised when a run was asked to stop and has saved its state.

    `signal` is the number of the signal that asked for it, or None.
    """

    def __init__(self, message: str, signal: int | None = None):
        super().__init__(message)
        self.signal = signal


class _StepCounter(keras.callbacks.Callback):
    """Counts the steps of a run in `step`, over several calls of `fit`."""

    def __init__(self, first_step):
        super().__init__()
        self.step = first_step

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch_step = self.step

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.step = self._epoch_step + batch + 1


class Checkpointer(_StepCounter):
    """Saves a run's whole state after each epoch, at intervals and on request.

    Args:
      directory: of the checkpoints, see `checkpoints.save`.
      variables: the state to save, see `checkpoints.state_of`.
      first_step: steps before this call of `fit`.
      keep: how many of the newest to keep, besides the best one.
      minutes: between saves within an epoch; 0: only after epochs.
      score: the entry of the epoch's logs that ranks checkpoints, higher is
        better; None: no best one.
      writes: whether this process writes; one of several workers does.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        variables: Sequence[keras.Variable],
        *,
        first_step: int = 0,
        keep: int = 2,
        minutes: float = 0.0,
        score: str | None = None,
        writes: bool = True,
    ):
        super().__init__(first_step)
        self.directory = pathlib.Path(directory)
        self.variables = variables
        self.keep = keep
        self.minutes = minutes
        self.score = score
        self.writes = writes
        self._stop = threading.Event()
        self._signal: int | None = None
        self._first_step = first_step
        self._in_step = False

    def request_stop(self, signal: int | None = None) -> None:
        """Saves after the next batch, then raises `Preempted`.

        A process that does not write only records the request: all workers
        stop after the step at which the writing one stops.
        """
        self._signal = signal
        self._stop.set()

    @property
    def stopped(self) -> Preempted | None:
        """The exception to raise if a stop was requested, else None."""
        if not self._stop.is_set():
            return None
        if not self.writes:
            return Preempted("Stopped; worker 0 saves.", self._signal)
        return Preempted(f"Saved after step {self.step}.", self._signal)

    @contextlib.contextmanager
    def kept_without_images(self, corrupt: resumable.Corrupt) -> Iterator[None]:
        """Saves before a `with` block ends for too many unreadable images."""
        try:
            yield
        except RuntimeError:
            # Within an execution of several steps, nobody knows how many are
            # done.
            if corrupt.exceeded and self.model.steps_per_execution == 1:
                self.save()
            raise

    def save_waiting(self, number: int | None) -> str | None:
        """Saves while `fit` waits for a batch; called from another thread.

        Args:
          number: of the batch since `fit` began, or None: a wait for another
            one, such as for evaluation.

        Returns:
          What there is to say; None: `fit` does not wait for this batch.
        """
        done = self.step - self._first_step
        if number is None or not self._in_step:
            return "" if number in (None, 0) else None
        if number != done:
            # Read ahead of a step that is running, unless that step has several
            # batches: then the weights are between two steps that count.
            several = done < number < done + self.model.steps_per_execution
            return "" if several else None
        if not self.writes:
            return ""
        self.save()
        return f"Saved after step {self.step}."

    def on_train_begin(self, logs: dict | None = None) -> None:
        # An earlier process may have been killed in the middle of a save.
        if self.writes:
            files.remove_leftovers(self.directory)
        self._saved = time.monotonic()

    def on_train_batch_begin(
        self, batch: int, logs: dict | None = None
    ) -> None:
        self._in_step = True

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        super().on_train_batch_end(batch, logs)
        self._in_step = False
        if self._step_of_epoch_is_last(batch):
            return  # `on_epoch_end` saves, with the scores.
        if self.writes and self.stopped:
            self.save()
            raise self.stopped
        elapsed = time.monotonic() - self._saved
        if self.minutes and elapsed > 60 * self.minutes:
            self.save()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.save((logs or {}).get(self.score))
        if self.writes and self.stopped:
            raise self.stopped

    def _step_of_epoch_is_last(self, batch):
        return batch + 1 == self.params.get("steps")

    def save(self, score: float | None = None) -> None:
        """Saves the state after the last step; `score` ranks it."""
        if self.writes:
            score = None if score is None else float(score)
            with phases.during(phases.SAVING):
                checkpoints.save(
                    self.directory,
                    self.variables,
                    self.step,
                    keep=self.keep,
                    score=score,
                )
        self._saved = time.monotonic()


class StopOnBadLoss(_StepCounter):
    """Stops a run whose loss is NaN or infinite, before that is saved.

    Args:
      first_step: steps before this call of `fit`.

    Raises:
      FloatingPointError: names the metric, its value and the step.
    """

    def __init__(self, first_step: int = 0):
        super().__init__(first_step)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        super().on_train_batch_end(batch, logs)
        # Both are means over the epoch so far, so one bad step shows in all
        # later ones. The loss is computed before the update, so a bad update
        # shows first in the norm of its gradient.
        self._check(logs, ("loss", "gradient_norm"))

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._check(logs, ("val_loss",))

    def _check(self, logs, names):
        for name in names:
            value = (logs or {}).get(name, 0.0)
            if not np.isfinite(value):
                raise FloatingPointError(
                    f"{name} is {value} at step {self.step}; the last "
                    "checkpoint is older. Try a lower learning rate, a longer "
                    "warm-up, or float32 or mixed_bfloat16 instead of "
                    "mixed_float16."
                )


class Evaluation(keras.callbacks.Callback):
    """Adds the scores of the weights and of their average to each epoch's logs.

    Args:
      dataset: batches of (images, targets, sample weights); a
        `tf.data.Dataset`, or what a strategy makes of one.
      steps: the number of batches, which a distributed data set cannot tell.
      average: of the weights, or None.
    """

    def __init__(
        self,
        dataset: Any,
        steps: int,
        average: ema.ExponentialMovingAverage | None = None,
    ):
        super().__init__()
        self.dataset = dataset
        self.steps = steps
        self.average = average

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        with phases.during(phases.EVALUATION):
            logs.update(self.score("val_"))
            if self.average is not None:
                with ema.averaged(self.average):
                    logs.update(self.score("val_ema_"))

    def score(self, prefix: str = "") -> dict[str, float]:
        """Returns the loss and metrics of the current weights."""
        scores = self.model.evaluate(
            self.dataset, steps=self.steps, verbose=0, return_dict=True
        )
        return {prefix + name: value for name, value in scores.items()}
