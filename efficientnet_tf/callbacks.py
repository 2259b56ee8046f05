"""Keras callbacks: checkpoints that survive any kill, and what to watch."""

import pathlib
import shutil
import time

import keras
from absl import logging

from efficientnet_tf import files

WEIGHTS_FILE = "model.weights.h5"


class Checkpointer(keras.callbacks.Callback):
    """Keeps the newest `keep` epochs: weights, optimizer and step.

    Each epoch becomes a folder that appears whole or not at all.
    """

    def __init__(self, directory, keep=2):
        super().__init__()
        self.directory = pathlib.Path(directory)
        self.keep = keep

    def on_train_begin(self, logs=None):
        # What a kill in the middle of a save left behind.
        files.remove_leftovers(self.directory)

    def on_epoch_end(self, epoch, logs=None):
        with files.atomic(self.directory / f"epoch_{epoch + 1:05d}") as folder:
            folder.mkdir(parents=True)
            self.model.save_weights(folder / WEIGHTS_FILE)
        for old in list_checkpoints(self.directory)[self.keep :]:
            shutil.rmtree(old, ignore_errors=True)


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


def list_checkpoints(directory):
    """Returns the folders that `Checkpointer` wrote, newest first."""
    return sorted(pathlib.Path(directory).glob("epoch_*"), reverse=True)


def restore(model, directory):
    """Loads the newest readable checkpoint into a compiled model.

    Returns:
      The number of finished epochs; 0 where there is no checkpoint.

    Raises:
      OSError: there are checkpoints, and none of them can be read.
    """
    model.optimizer.build(model.trainable_variables)
    folders = list_checkpoints(directory)
    for folder in folders:
        try:
            model.load_weights(folder / WEIGHTS_FILE)
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            logging.warning("%s is damaged (%s), trying older.", folder, error)
            continue
        epochs = int(folder.name.removeprefix("epoch_"))
        logging.info("Resuming after epoch %d from %s.", epochs, folder)
        return epochs
    if folders:
        # The model may hold parts of them by now.
        raise OSError(
            f"No checkpoint in {directory} can be read; delete that folder to "
            "start from the beginning."
        )
    return 0
