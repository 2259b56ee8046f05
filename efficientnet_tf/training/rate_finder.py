"""Finds a learning rate by a short training whose rate rises.

L. Smith, 2015, https://arxiv.org/abs/1506.01186, §3.3; the rate rises by a
factor, as in fastai's `lr_find`.
"""

from typing import Any

import keras
import numpy as np

# Of the window in which losses are smoothed, as a share of all steps.
_WINDOW = 0.03
# The loss's moving average, and how far above its least it stops.
_MEMORY, _DIVERGED = 0.8, 4.0
# The loss must fall by this share for the fall to mean something.
_FALL = 0.05
# Of the fall; ours: near it are the rates of `full`, which were chosen on
# validation images (docs/RESULTS.md).
_SHARE = 0.9


class LearningRateFinder(keras.callbacks.Callback):
    """Raises the learning rate from step to step, and records the loss.

    It ends training when the loss has diverged, or after `steps`; then it puts
    the weights and the rate back. For any model that was compiled with a number
    as its learning rate:

        finder = LearningRateFinder()
        model.fit(dataset, steps_per_epoch=finder.steps, callbacks=[finder])
        finder.suggestion

    Args:
      lowest: the first learning rate.
      highest: the last one.
      steps: how many.

    Attributes:
      rates: float64 [N], of the steps that were done.
      losses: float64 [N], each step's own.

    Raises:
      ValueError: the rates or steps are not sensible, or the model's learning
        rate is a schedule.
    """

    def __init__(
        self, lowest: float = 1e-6, highest: float = 1.0, steps: int = 100
    ):
        super().__init__()
        if not 0 < lowest < highest:
            raise ValueError(
                f"lowest={lowest:g} must be above 0 and below "
                f"highest={highest:g}."
            )
        if steps < 10:
            raise ValueError(f"steps={steps} must be at least 10.")
        self.steps = steps
        self._planned = np.geomspace(lowest, highest, steps)
        self._losses: list[float] = []
        self._mean: float | None = None
        self._least = np.inf

    @property
    def rates(self) -> np.ndarray:
        return self._planned[: len(self._losses)]

    @property
    def losses(self) -> np.ndarray:
        return np.array(self._losses)

    @property
    def suggestion(self) -> float | None:
        """The rate at which the smoothed loss has made 0.9 of its fall.

        None: it falls at no rate.
        """
        losses = smooth(self.losses)
        if not len(losses) or losses.min() > (1 - _FALL) * losses[0]:
            return None
        wanted = losses[0] - _SHARE * (losses[0] - losses.min())
        return float(self.rates[np.flatnonzero(losses <= wanted)[0]])

    def on_train_begin(self, logs: dict | None = None) -> None:
        optimizer: Any = self.model.optimizer
        if not isinstance(optimizer.learning_rate, keras.Variable):
            raise ValueError(
                "The model was compiled with a learning-rate schedule; compile "
                "it with a number, which the finder changes."
            )
        optimizer.build(self.model.trainable_variables)
        self._state = [*self.model.variables, *optimizer.variables]
        self._before = [
            keras.ops.convert_to_numpy(variable.value)
            for variable in self._state
        ]
        self._seen = 0
        self._sum = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._seen, self._sum = 0, 0.0  # `fit` means over an epoch.

    def on_train_batch_begin(
        self, batch: int, logs: dict | None = None
    ) -> None:
        place = min(len(self._losses), self.steps - 1)
        self.model.optimizer.learning_rate = float(self._planned[place])

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        # The logs have the mean over the epoch so far.
        total = float((logs or {})["loss"]) * (self._seen + 1)
        loss = total - self._sum
        self._seen, self._sum = self._seen + 1, total
        if not np.isfinite(loss):
            self.model.stop_training = True
            return
        self._losses.append(loss)
        if self._mean is None:
            self._mean = loss
        self._mean = _MEMORY * self._mean + (1 - _MEMORY) * loss
        self._least = min(self._least, self._mean)
        if (
            self._mean > _DIVERGED * self._least
            or len(self._losses) == self.steps
        ):
            self.model.stop_training = True

    def on_train_end(self, logs: dict | None = None) -> None:
        for variable, value in zip(self._state, self._before, strict=True):
            variable.assign(value)


def smooth(losses: np.ndarray) -> np.ndarray:
    """Returns the losses without their noise, by a window about each step."""
    steps = np.arange(len(losses))
    distances = (steps[:, None] - steps) / max(_WINDOW * len(losses), 1.0)
    weights = np.exp(-0.5 * distances**2)
    return weights @ losses / weights.sum(axis=1)
