"""Keras callbacks: checkpoints that survive any kill, and what to watch."""

import contextlib
import pathlib
import sys
import threading
import time

import keras
import numpy as np
import tqdm

from efficientnet_tf.training import checkpoints
from efficientnet_tf.utils import files

# What people watch, of the logs: its name there, and how it is shown.
SHOWN = {
    "loss": "loss {:.4f}",
    "top1": "top-1 {:.4f}",
    "val_top1": "validation {:.4f}",
    "val_ema_top1": "of averages {:.4f}",
    "images_per_second": "{:,.0f} images/s",
    "learning_rate": "learning rate {:.3g}",
}
BAR_SECONDS = 0.5  # Between two looks at the logs, which wait for the device.


class Preempted(Exception):
    """The run was asked to stop and has saved where it is.

    `signal` is the number of the signal that asked, or None.
    """

    def __init__(self, message, signal=None):
        super().__init__(message)
        self.signal = signal


class Checkpointer(keras.callbacks.Callback):
    """Saves a run's whole state after epochs, after minutes, and on request.

    Args:
      directory: of the checkpoints, see `checkpoints.save`.
      variables: what is saved, see `checkpoints.state_of`.
      first_step: steps before this call of `fit`.
      keep: how many of the newest stay; the best one stays as well.
      minutes: between saves within an epoch; 0: only after epochs.
      score: the entry of the epoch's logs that says which one is best.
      writes: whether this process is the one that writes.
    """

    def __init__(
        self,
        directory,
        variables,
        *,
        first_step=0,
        keep=2,
        minutes=0.0,
        score=None,
        writes=True,
    ):
        super().__init__()
        self.directory = pathlib.Path(directory)
        self.variables = variables
        self.step = first_step
        self.keep = keep
        self.minutes = minutes
        self.score = score
        self.writes = writes
        self._stop = threading.Event()
        self._signal = None

    def request_stop(self, signal=None):
        """Makes the next batch the last: saves, then raises `Preempted`.

        In a process that does not write it only notes the request: the step
        that all stop after is that of the one which does.
        """
        self._signal = signal
        self._stop.set()

    @property
    def stopped(self):
        """What to raise where a stop was asked for, else None."""
        if not self._stop.is_set():
            return None
        if not self.writes:
            return Preempted("Stopped; worker 0 saves.", self._signal)
        return Preempted(f"Saved after step {self.step}.", self._signal)

    def on_train_begin(self, logs=None):
        # What a kill in the middle of a save left behind.
        if self.writes:
            files.remove_leftovers(self.directory)
        self._saved = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch_step = self.step

    def on_train_batch_end(self, batch, logs=None):
        self.step = self._epoch_step + batch + 1
        if self._step_of_epoch_is_last(batch):
            return  # The epoch's end saves, with its scores.
        if self.writes and self.stopped:
            self._save()
            raise self.stopped
        elapsed = time.monotonic() - self._saved
        if self.minutes and elapsed > 60 * self.minutes:
            self._save()

    def on_epoch_end(self, epoch, logs=None):
        self._save((logs or {}).get(self.score))
        if self.writes and self.stopped:
            raise self.stopped

    def _step_of_epoch_is_last(self, batch):
        return batch + 1 == self.params.get("steps")

    def _save(self, score=None):
        if self.writes:
            score = None if score is None else float(score)
            checkpoints.save(
                self.directory,
                self.variables,
                self.step,
                keep=self.keep,
                score=score,
            )
        self._saved = time.monotonic()


class StopOnBadLoss(keras.callbacks.Callback):
    """Ends a run whose loss is NaN or infinite, before it is saved.

    Must stand after `Evaluation` and before `Checkpointer`.
    """

    def __init__(self, first_step=0):
        super().__init__()
        self.step = first_step

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch_step = self.step

    def on_train_batch_end(self, batch, logs=None):
        self.step = self._epoch_step + batch + 1
        # Means over the epoch so far, which one bad step spoils. The loss is
        # that of before the step, the gradient what the step was made of.
        self._check(logs, ("loss", "gradient_norm"))

    def on_epoch_end(self, epoch, logs=None):
        self._check(logs, ("val_loss",))

    def _check(self, logs, names):
        for name in names:
            value = (logs or {}).get(name, 0.0)
            if not np.isfinite(value):
                raise FloatingPointError(
                    f"{name} is {value} at step {self.step}; the last "
                    "checkpoint is from before. Try a lower learning rate, a "
                    "longer warm-up, or float32 or mixed_bfloat16 in place of "
                    "mixed_float16."
                )


class Evaluation(keras.callbacks.Callback):
    """Adds the scores of the weights and of their average to epochs' logs.

    Must stand before the callbacks that read logs.

    Args:
      dataset: batches of (images, targets, sample weights).
      steps: how many they are; a distributed data set does not know.
      average: an `ema.ExponentialMovingAverage`, or None.
    """

    def __init__(self, dataset, steps, average=None):
        super().__init__()
        self.dataset = dataset
        self.steps = steps
        self.average = average

    def on_epoch_end(self, epoch, logs=None):
        logs.update(self.score("val_"))
        if self.average is not None:
            with averaged(self.average):
                logs.update(self.score("val_ema_"))

    def score(self, prefix=""):
        """Returns the loss and metrics of the weights as they are."""
        scores = self.model.evaluate(
            self.dataset, steps=self.steps, verbose=0, return_dict=True
        )
        return {prefix + name: value for name, value in scores.items()}


@contextlib.contextmanager
def averaged(average):
    """Puts averages in the place of the weights while a block runs."""
    average.swap()
    try:
        yield
    finally:
        average.swap()


class InputClock:
    """Notes when each batch left the input pipeline, to see who waits."""

    def __init__(self):
        self.arrivals = {}

    def watch(self, dataset):
        """Returns a data set of the same batches, noted as they pass."""

        import tensorflow as tf

        def note(number, batch):
            tf.numpy_function(self._note, [number, tf.timestamp()], [])
            return batch

        # By number, because Keras looks at the first batch once more.
        return dataset.enumerate().map(note)

    def _note(self, number, now):
        self.arrivals[int(number)] = float(now)


class Throughput(keras.callbacks.Callback):
    """Adds images_per_second and learning_rate to logs.

    With a clock it adds `input_wait` to an epoch's: the share of its time in
    which the step waited for a batch. Must stand before the callbacks that
    write logs.
    """

    def __init__(self, batch_size, clock=None):
        super().__init__()
        self.batch_size = batch_size
        self.clock = clock
        self._batches = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._images = 0
        self._wait = 0.0
        self._begin = self._end = time.perf_counter()

    def on_train_batch_begin(self, batch, logs=None):
        self._asked = time.time()

    def on_train_batch_end(self, batch, logs=None):
        self._images = (batch + 1) * self.batch_size
        self._end = time.perf_counter()
        if self.clock is not None:
            self._wait += max(
                0.0, self.clock.arrivals.pop(self._batches) - self._asked
            )
        self._batches += 1
        if logs is not None:
            self._add_rates(logs)

    def on_epoch_end(self, epoch, logs=None):
        self._add_rates(logs)
        if self.clock is not None:
            logs["input_wait"] = self._wait / self._seconds()

    def _add_rates(self, logs):
        logs["images_per_second"] = self._images / self._seconds()
        logs["learning_rate"] = float(
            keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        )

    def _seconds(self):
        return max(self._end - self._begin, 1e-9)


class JsonLines(keras.callbacks.Callback):
    """Appends each epoch's logs, seconds and time to a JSON-lines file."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_epoch_begin(self, epoch, logs=None):
        self._begin = time.time()

    def on_epoch_end(self, epoch, logs=None):
        row = {key: float(value) for key, value in (logs or {}).items()}
        files.append_json_line(
            self.path,
            {
                "epoch": epoch + 1,
                **row,
                "seconds": time.time() - self._begin,
                "finished": time.time(),
            },
        )


class Progress(keras.callbacks.Callback):
    """Shows a bar during an epoch, on a terminal, and a line after each.

    In place of Keras's own, whose line of all metrics is wider than a terminal.
    Must stand after the callbacks that add to the logs.

    Args:
      epochs: of the whole run.
      terminal: where the bar goes; None: standard error, if it is a terminal.
    """

    def __init__(self, epochs, terminal=None):
        super().__init__()
        self.epochs = epochs
        self.terminal = terminal
        if terminal is None and sys.stderr.isatty():
            self.terminal = sys.stderr
        self._bar = None
        self._seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self._begin = self._shown = time.monotonic()
        if self.terminal is not None:
            self._bar = tqdm.tqdm(
                total=self.params["steps"],
                desc=f"Epoch {epoch + 1}/{self.epochs}",
                unit="step",
                leave=False,
                dynamic_ncols=True,
                file=self.terminal,
            )

    def on_train_batch_end(self, batch, logs=None):
        if self._bar is None:
            return
        if time.monotonic() - self._shown >= BAR_SECONDS:
            self._shown = time.monotonic()
            self._bar.set_postfix_str(_text(logs), refresh=False)
        # One execution may be several steps.
        self._bar.update(batch + 1 - self._bar.n)

    def on_epoch_end(self, epoch, logs=None):
        self.on_train_end()
        self._seconds.append(time.monotonic() - self._begin)
        line = f"Epoch {epoch + 1}/{self.epochs}: {_text(logs)}"
        line += f", {_duration(self._seconds[-1])}"
        left = self.epochs - epoch - 1
        if left:
            # The first is longer: it compiles.
            mean = np.mean(self._seconds[1:] or self._seconds)
            line += f"; about {_duration(left * mean)} left"
        print(line, flush=True)

    def on_train_end(self, logs=None):
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def total_seconds(path, begin):
    """Returns how long a run took, with the epochs of earlier processes.

    Args:
      path: of the `JsonLines` file.
      begin: `time.perf_counter()` when this process began.
    """
    seconds = time.perf_counter() - begin
    path = pathlib.Path(path)
    rows = files.read_json_lines(path) if path.exists() else []
    started = time.time() - seconds
    before = [row["seconds"] for row in rows if row["finished"] < started]
    return seconds + sum(before)


def _text(logs):
    logs = logs or {}
    return ", ".join(
        form.format(float(logs[name]))
        for name, form in SHOWN.items()
        if name in logs
    )


def _duration(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
