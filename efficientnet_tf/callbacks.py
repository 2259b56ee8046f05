"""Keras callbacks: checkpoints that survive any kill, and what to watch."""

import pathlib
import threading
import time

import keras

from efficientnet_tf import checkpoints, files


class Preempted(Exception):
    """The run was asked to stop and has saved where it is."""


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

    def request_stop(self):
        """Makes the next batch the last: saves, then raises `Preempted`."""
        self._stop.set()

    def on_train_begin(self, logs=None):
        # What a kill in the middle of a save left behind.
        if self.writes:
            files.remove_leftovers(self.directory)
        self._saved = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch_step = self.step

    def on_train_batch_end(self, batch, logs=None):
        self.step = self._epoch_step + batch + 1
        if self._stop.is_set():
            self._save()
            raise Preempted(f"Saved after step {self.step}.")
        elapsed = time.monotonic() - self._saved
        if self.minutes and elapsed > 60 * self.minutes:
            self._save()

    def on_epoch_end(self, epoch, logs=None):
        self._save((logs or {}).get(self.score))

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


class Throughput(keras.callbacks.Callback):
    """Adds images_per_second and learning_rate to an epoch's logs.

    Must stand before the callbacks that write logs.
    """

    def __init__(self, batch_size):
        super().__init__()
        self.batch_size = batch_size

    def on_epoch_begin(self, epoch, logs=None):
        self._images = 0
        self._begin = self._end = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self._images = (batch + 1) * self.batch_size
        self._end = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        seconds = max(self._end - self._begin, 1e-9)
        logs["images_per_second"] = self._images / seconds
        logs["learning_rate"] = float(
            keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)
        )


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
