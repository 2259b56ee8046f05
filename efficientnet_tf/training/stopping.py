"""What ends a run early: signals, input or workers that stand still."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator

import keras
import tensorflow as tf
from absl import logging

from efficientnet_tf.training import callbacks
from efficientnet_tf.utils import waits, watchdog

# A step with other workers may last so long, or so many times the longest one
# so far, or as long as one of them may take to save, whichever is most.
STEP_SECONDS, STEP_TIMES, SAVE_BYTES_PER_SECOND = 30.0, 10.0, 20e6

# What a collective operation raises without one of its workers.
LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


@contextlib.contextmanager
def stopped_by_signals(saver: callbacks.Checkpointer) -> Iterator[None]:
    """Makes SIGTERM and Ctrl-C save, then stop; a second one stops at once.

    Where `fit` waits for a batch, the watchdog does so in its place.

    Raises:
      callbacks.Preempted: stopped; the state is saved.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    stopped_at = 0.0

    def stop(number, frame):
        nonlocal stopped_at
        if saver.stopped is None:
            stopped_at = time.monotonic()
            saver.request_stop(number)
            logging.info(
                "Saving a checkpoint before stopping; a second signal stops at "
                "once."
            )
        elif time.monotonic() - stopped_at > watchdog.ECHO_SECONDS:
            signal.signal(number, before[number])
            signal.raise_signal(number)

    before = {
        number: signal.signal(number, stop)
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        with watchdog.guarded(saver.save_waiting):
            yield
        if saver.stopped and saver.writes:
            # Requested after the last epoch, whose state is saved.
            raise saver.stopped
    except tf.errors.OpError:
        # This is how a worker sees that worker 0 has stopped.
        if saver.stopped and not saver.writes:
            raise saver.stopped from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def watch_others(
    devices: tf.distribute.Strategy,
) -> list[keras.callbacks.Callback]:
    """Returns a callback that notices other workers that hang, if there are."""
    return [StepWatch()] if _are_several(devices) else []


@contextlib.contextmanager
def naming_lost_workers(devices: tf.distribute.Strategy) -> Iterator[None]:
    """Turns TensorFlow's errors at the end of another worker into a line.

    Raises:
      RuntimeError: another worker has ended or does not answer.
    """
    try:
        yield
    except LOST as error:
        if not _are_several(devices):
            raise
        raise RuntimeError(
            "Another worker of this run has ended or does not answer "
            f"({type(error).__name__}). Run the same command again to resume."
        ) from None


def _are_several(devices):
    return isinstance(devices, tf.distribute.MultiWorkerMirroredStrategy)


class StepWatch(keras.callbacks.Callback):
    """Makes each step after the first one a `waits.Wait` for other workers.

    All workers end a step together, so that those which still run notice one
    that hangs. The first step compiles, which takes however long it takes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._longest: float | None = None

    def on_train_begin(self, logs: dict | None = None) -> None:
        # Weights, two of the optimizer's for each, and an average, in float32.
        self._save_seconds = (
            self.model.count_params() * 4 * 4 / SAVE_BYTES_PER_SECOND
        )

    def on_train_batch_begin(
        self, batch: int, logs: dict | None = None
    ) -> None:
        self._begin = time.monotonic()
        limit = None
        if self._longest is not None:
            limit = max(
                STEP_SECONDS, STEP_TIMES * self._longest, self._save_seconds
            )
        self._key = waits.begin(
            "No step",
            "another worker hangs or cannot be reached",
            limit=limit,
            code=1,
            is_input=False,
        )

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        waits.end(self._key)
        if self._longest is None:
            self._longest = 0.0  # Compilation does not count.
        else:
            seconds = time.monotonic() - self._begin
            self._longest = max(self._longest, seconds)
