"""A network compiled for `fit` and its state, for `train` and `finetune`."""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras

from efficientnet_tf.data import resumable
from efficientnet_tf.models import builder
from efficientnet_tf.training import callbacks, checkpoints, ema, trainer


@dataclasses.dataclass(frozen=True)
class TrainState:
    """A compiled network and the moving average of its weights, or None."""

    network: trainer.Trainer
    average: ema.ExponentialMovingAverage | None

    @property
    def variables(self) -> list[keras.Variable]:
        """The variables that a checkpoint holds, in order."""
        averages = [] if self.average is None else self.average.variables
        return [*checkpoints.state_of(self.network), *averages]

    def begin_stage(self, dropout: float | None) -> None:
        """Traces the step anew, with another dropout before the classifier.

        A trace for two image sizes would round differently from one for the
        second size alone, which is what a resumed run has.

        Args:
          dropout: the rate; None: as it is.
        """
        self.network.train_function = None
        if dropout is not None:
            self.network.get_layer(builder.TOP_DROPOUT).rate = dropout

    def restore(self, folder: str | os.PathLike) -> int:
        """Loads the newest checkpoint; returns its step, or 0 without one."""
        return checkpoints.restore(folder, self.variables)

    def make_checkpointer(
        self, folder: str | os.PathLike, **options: Any
    ) -> callbacks.Checkpointer:
        """Returns the callback that saves this state."""
        return callbacks.Checkpointer(folder, self.variables, **options)

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Replaces the weights by their averages in a `with` block, if any."""
        return ema.averaged(self.average)

    def fit(
        self,
        dataset: Any,
        *,
        epochs: tuple[int, int],
        steps_per_epoch: int,
        watchers: Sequence[keras.callbacks.Callback],
    ) -> None:
        """Trains for the epochs [begin, end) on an endless data set.

        Raises:
          RuntimeError: images cannot be read.
        """
        begin, end = epochs
        with resumable.explained():
            self.network.fit(
                dataset,
                initial_epoch=begin,
                epochs=end,
                steps_per_epoch=steps_per_epoch,
                shuffle=False,  # The data set is shuffled already.
                callbacks=watchers,
                verbose=0,  # `progress.Progress` is shown instead.
            )


def create(
    network: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    *,
    ema_decay: float,
    label_smoothing: float,
    metrics: Sequence[keras.metrics.Metric],
    jit_compile: bool | str,
    loss: keras.losses.Loss | None = None,
    steps_per_execution: int = 1,
    make_trainer: Callable[..., trainer.Trainer] = trainer.Trainer,
    **options: Any,
) -> TrainState:
    """Returns a network compiled for training, and its average.

    Call it in the scope of the network's strategy.

    Args:
      network: from images to probabilities; the result shares its weights.
      optimizer: without gradient accumulation, see `trainer.Trainer`.
      ema_decay: of the average of weights and batch-norm statistics; 0: none.
      label_smoothing: of the cross-entropy.
      loss: in place of the cross-entropy; a mean over sample weights.
      metrics: weighted by the sample weights, if there are any.
      jit_compile: see `distribution.use_xla`.
      steps_per_execution: as for `keras.Model.compile`.
      make_trainer: a subclass of `trainer.Trainer`, or a function like it.
      **options: further arguments of `trainer.Trainer`.
    """
    average = None
    if ema_decay:
        average = ema.ExponentialMovingAverage(network.weights, ema_decay)
    trained = make_trainer(
        network.inputs,
        network.outputs,
        name=network.name,
        ema=average,
        **options,
    )
    if loss is None:
        loss = keras.losses.CategoricalCrossentropy(
            label_smoothing=label_smoothing,
            # The padding of an evaluation's last batch has weight 0.
            reduction="mean_with_sample_weight",
        )
    trained.compile(
        optimizer,
        loss,
        weighted_metrics=metrics,
        jit_compile=jit_compile,
        steps_per_execution=steps_per_execution,
    )
    trained.optimizer.build(trained.trainable_variables)
    return TrainState(trained, average)
