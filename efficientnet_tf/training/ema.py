"""Exponential moving averages of weights and batch-norm statistics."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import keras


class ExponentialMovingAverage:
    """Averages of a model's variables, batch-norm statistics included.

    As in TensorFlow 1, the decay of update n is the smaller of `decay` and
    (1 + n) / (10 + n), so that early values are soon forgotten.

    Under a strategy, create it in the strategy's scope, after the model.
    `update` may be called inside or outside a replica; inside, each replica
    averages its own copies, without communication.

    Args:
      variables: of floats, e.g. `model.weights`.
      decay: in [0, 1).

    Raises:
      ValueError: the variables were created under another strategy.
    """

    def __init__(self, variables: Iterable[keras.Variable], decay: float):
        self.decay = decay
        self.swapped = False
        self._variables = list(variables)
        _check_scope(self._variables)
        self._averages = [
            keras.Variable(
                variable, dtype="float32", trainable=False, name="average"
            )
            for variable in self._variables
        ]
        self._step = keras.Variable(
            0, dtype="int", trainable=False, name="step"
        )

    def update(self, step: int | Any) -> None:
        """Moves the averages towards the variables.

        Args:
          step: optimizer steps so far, e.g. `optimizer.iterations` after the
            update of the weights. Nothing changes if it has not grown since
            the last call, i.e. if a step was skipped because its gradients
            overflowed, or if gradients are still being accumulated.
        """
        ops = keras.ops
        step = ops.cast(step, self._step.dtype)
        count = ops.cast(step, "float32")
        decay = ops.minimum(self.decay, (1 + count) / (10 + count))
        # No `cond`: inside a replica, graph mode cannot branch on this.
        rate = ops.where(step > self._step, 1 - decay, 0.0)
        self._step.assign(step)
        for average, variable in self._pairs():
            average.assign(average + rate * (variable - average))

    def swap(self) -> None:
        """Exchanges the variables and their averages; twice undoes it.

        To evaluate the averages: swap, evaluate, swap.
        """
        for average, variable in self._pairs():
            # A copy: converting alone may give a view that follows `assign`.
            value = keras.ops.copy(variable)
            variable.assign(average)
            average.assign(value)
        self.swapped = not self.swapped

    @property
    def variables(self) -> list[keras.Variable]:
        """The variables that a checkpoint of the averages holds.

        Raises:
          RuntimeError: the averages are swapped in at the moment.
        """
        if self.swapped:
            raise RuntimeError("Swap back before saving the averages.")
        return [*self._averages, self._step]

    def _pairs(self):
        return zip(self._averages, self._variables, strict=True)


@contextlib.contextmanager
def averaged(average: ExponentialMovingAverage | None) -> Iterator[None]:
    """Replaces the weights by their averages in a `with` block, if any.

    Example:
      with ema.averaged(average):
          model.evaluate(dataset)
    """
    if average is None:
        yield
        return
    average.swap()
    try:
        yield
    finally:
        average.swap()


def _check_scope(variables):
    """Raises ValueError if new variables would be under another strategy."""
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    scope = (
        tf.distribute.get_strategy() if tf.distribute.has_strategy() else None
    )
    for variable in variables:
        # All replicas would write to the one copy of an unmirrored average.
        if getattr(variable.value, "distribute_strategy", None) is not scope:
            raise ValueError(
                "The averages must be created in the scope of the strategy "
                f"that {variable.path} was created in."
            )
