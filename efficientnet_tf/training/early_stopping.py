"""Ends a training that no longer gets better."""

import os
from collections.abc import Iterable, Mapping

import keras
from absl import logging

from efficientnet_tf.utils import run_folder


class EarlyStopping(keras.callbacks.Callback):
    """Stops after some epochs without a better score, resumed ones included.

    Unlike Keras's, it goes by the run's metrics, so that a resumed run stops
    where an undisturbed one does. The best weights are those of the best
    checkpoint, see `callbacks.Checkpointer`.

    Args:
      patience: epochs.
      score: the entry of the epochs' logs; higher is better.
      metrics_file: of the run, with the epochs before this call of `fit`.
    """

    def __init__(
        self, patience: int, score: str, metrics_file: str | os.PathLike
    ):
        super().__init__()
        self.patience = patience
        self.score = score
        self._metrics_file = metrics_file

    @property
    def is_over(self) -> bool:
        """Whether the epochs so far are enough to stop."""
        return self._waited(run_folder.read_metrics(self._metrics_file)) >= (
            self.patience
        )

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        # The file has this epoch already: its callback stands before.
        if self.is_over and not self.model.stop_training:
            logging.info(
                "No better %s for %d epochs; stopping.",
                self.score,
                self.patience,
            )
            self.model.stop_training = True

    def _waited(self, rows: Iterable[Mapping]) -> int:
        """Returns how many epochs have passed since the best one."""
        # A resumed run may have an epoch twice; the later one counts.
        by_epoch = {row["epoch"]: row.get(self.score) for row in rows}
        scores = [score for score in by_epoch.values() if score is not None]
        if not scores:
            return 0
        return len(scores) - 1 - scores.index(max(scores))
