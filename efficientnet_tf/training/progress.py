"""Progress and speed of a run: rates in the logs, a bar, a line, a file."""

import os
import sys
import time
from collections.abc import Iterable
from typing import Any, TextIO

import keras
import numpy as np
import tqdm

from efficientnet_tf.utils import durations, files, phases, run_folder

# The logs that are shown to people: name, and format.
SHOWN = {
    "loss": "loss {:.4f}",
    "top1": "top-1 {:.4f}",
    "val_top1": "validation {:.4f}",
    "val_ema_top1": "of averages {:.4f}",
    "map": "mAP {:.4f}",
    "val_map": "validation {:.4f}",
    "val_ema_map": "of averages {:.4f}",
    "r2": "R² {:.4f}",
    "val_r2": "validation {:.4f}",
    "val_ema_r2": "of averages {:.4f}",
    "images_per_second": "{:,.0f} images/s",
    "learning_rate": "learning rate {:.3g}",
}
# Between updates of the bar's text: reading the logs waits for the device.
BAR_SECONDS = 0.5
# Tells the rows of this process from those of earlier ones.
PROCESS = int.from_bytes(os.urandom(6))


class InputClock:
    """Records when each batch leaves the input pipeline.

    `arrivals` maps the number of a batch to its time in seconds.
    """

    def __init__(self) -> None:
        self.arrivals: dict[int, float] = {}

    def watch(self, dataset: Any) -> Any:
        """Returns a `tf.data.Dataset` of the same batches, timed on the way."""
        import tensorflow as tf

        def note(number, batch):
            tf.numpy_function(self._note, [number, tf.timestamp()], [])
            return batch

        # By number, because Keras draws the first batch twice.
        return dataset.enumerate().map(note)

    def _note(self, number, now):
        self.arrivals[int(number)] = float(now)


class Throughput(keras.callbacks.Callback):
    """Adds `images_per_second` and `learning_rate` to the logs.

    With a clock it also adds `input_wait` to each epoch's logs: the share of
    the time that the step waited for a batch.
    """

    def __init__(self, batch_size: int, clock: InputClock | None = None):
        super().__init__()
        self.batch_size = batch_size
        self.clock = clock
        self._batches = 0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._images = 0
        self._wait = 0.0
        self._begin = self._end = time.perf_counter()

    def on_train_batch_begin(
        self, batch: int, logs: dict | None = None
    ) -> None:
        self._asked = time.time()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._images = (batch + 1) * self.batch_size
        self._end = time.perf_counter()
        if self.clock is not None:
            arrived = self.clock.arrivals.pop(self._batches)
            waited = max(0.0, arrived - self._asked)
            self._wait += waited
            self._count_phases(waited)
        self._batches += 1
        if logs is not None:
            self._add_rates(logs)

    def _count_phases(self, waited):
        phase = phases.current()
        if phase is None:
            return
        if self._batches:
            phase.move(waited, phases.DECODING)
        else:  # Before it asks for a batch, the first step traces the graph.
            phase.turn(phases.STEPS)

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
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
    """Appends each epoch's logs, duration and end time to a JSON-lines file.

    The wall clock may be set at any time: `total_seconds` goes by "process" and
    by "clock", the process's own.
    """

    def __init__(self, path: str | os.PathLike):
        super().__init__()
        self.path = path

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._begin = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        row = {key: float(value) for key, value in (logs or {}).items()}
        files.append_json_line(
            self.path,
            {
                "epoch": epoch + 1,
                **row,
                "seconds": time.perf_counter() - self._begin,
                "finished": time.time(),
                "process": PROCESS,
                "clock": time.perf_counter(),
            },
        )


class Progress(keras.callbacks.Callback):
    """Shows a bar during each epoch, on a terminal, and a line after it.

    Keras's own progress bar prints all metrics, more than fit on a line.

    Args:
      epochs: of the whole run.
      terminal: where the bar goes; None: standard error, if it is a terminal.
    """

    def __init__(self, epochs: int, terminal: TextIO | None = None):
        super().__init__()
        self.epochs = epochs
        self.terminal = terminal
        if terminal is None and sys.stderr.isatty():
            self.terminal = sys.stderr
        self._bar = None
        self._seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
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

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self._bar is None:
            return
        if time.monotonic() - self._shown >= BAR_SECONDS:
            self._shown = time.monotonic()
            self._bar.set_postfix_str(_text(logs), refresh=False)
        # An execution may consist of several steps.
        self._bar.update(batch + 1 - self._bar.n)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.on_train_end()
        self._seconds.append(time.monotonic() - self._begin)
        line = f"Epoch {epoch + 1}/{self.epochs}: {_text(logs)}"
        line += f", {durations.show(self._seconds[-1])}"
        left = self.epochs - epoch - 1
        if left:
            # The first epoch is longer, because it compiles.
            mean = np.mean(self._seconds[1:] or self._seconds)
            line += f"; about {durations.show(float(left * mean))} left"
        print(line, flush=True)

    def on_train_end(self, logs: dict | None = None) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def total_seconds(paths: Iterable[str | os.PathLike], begin: float) -> float:
    """Returns how long a run took, including epochs of earlier processes.

    Args:
      paths: of the `JsonLines` files, which need not exist.
      begin: `time.perf_counter()` when this process began.
    """
    seconds = time.perf_counter() - begin
    rows = [row for path in paths for row in run_folder.read_metrics(path)]
    before = [
        row["seconds"]
        for row in rows
        if row.get("process") != PROCESS or row["clock"] < begin
    ]
    return seconds + sum(before)


def _text(logs):
    logs = logs or {}
    return ", ".join(
        form.format(float(logs[name]))
        for name, form in SHOWN.items()
        if name in logs
    )
