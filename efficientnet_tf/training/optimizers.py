"""Optimizers: TensorFlow 1's RMSProp, SGD and AdamW."""

import fractions
from collections.abc import Sequence
from typing import Any, TypeAlias

import keras

from efficientnet_tf.training import losses, schedules, train_config

MOMENTUM = 0.9

LearningRate: TypeAlias = (
    float | keras.optimizers.schedules.LearningRateSchedule
)


@keras.saving.register_keras_serializable(package="efficientnet_tf")
class RMSprop(keras.optimizers.Optimizer):
    """TensorFlow 1's RMSProp, which gave the paper's results.

    It differs from Keras's in three ways: the mean square starts at one, so
    that the first steps are not the largest; epsilon is added under the square
    root; and momentum accumulates steps already scaled by the learning rate.

    Args:
      learning_rate: a number or a schedule.
      rho: decay of the mean square.
      momentum: decay of the accumulated steps.
      epsilon: added to the mean square.
      name: the optimizer's name.
      **kwargs: as of every Keras optimizer.
    """

    def __init__(
        self,
        learning_rate: LearningRate,
        *,
        rho: float = 0.9,
        momentum: float = MOMENTUM,
        epsilon: float = 1e-3,
        name: str = "rmsprop",
        **kwargs: Any,
    ):
        super().__init__(learning_rate, name=name, **kwargs)
        self.rho = rho
        self.momentum = momentum
        self.epsilon = epsilon

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self._mean_squares, self._momentums = self.add_optimizer_variables(
            variables, ["mean_square", "momentum"], ["ones", "zeros"]
        )

    def update_step(
        self, gradient: Any, variable: keras.Variable, learning_rate: Any
    ) -> None:
        ops = keras.ops
        index = self._get_variable_index(variable)
        mean_square = self._mean_squares[index]
        momentum = self._momentums[index]
        gradient = ops.cast(gradient, variable.dtype)
        learning_rate = ops.cast(learning_rate, variable.dtype)
        if keras.backend.backend() == "tensorflow":
            self._fused(
                variable, mean_square, momentum, learning_rate, gradient
            )
            return
        self.assign(
            mean_square,
            self.rho * mean_square + (1 - self.rho) * ops.square(gradient),
        )
        step = gradient * ops.rsqrt(mean_square + self.epsilon)
        self.assign(momentum, self.momentum * momentum + learning_rate * step)
        self.assign_sub(variable, momentum)

    def _fused(self, variable, mean_square, momentum, learning_rate, gradient):
        """One kernel per variable takes a third of the separate ops' time."""
        import tensorflow as tf

        tf.raw_ops.ResourceApplyRMSProp(
            var=variable.handle,
            ms=mean_square.handle,
            mom=momentum.handle,
            lr=learning_rate,
            rho=self.rho,
            momentum=self.momentum,
            epsilon=self.epsilon,
            grad=gradient,
        )

    def get_config(self) -> dict:
        return super().get_config() | {
            "rho": self.rho,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
        }


def make_optimizer(
    config: train_config.TrainConfig,
    steps_per_epoch: float | fractions.Fraction,
) -> keras.optimizers.Optimizer:
    """Returns the optimizer of a recipe, with its schedule.

    It does not accumulate gradients. The `Trainer` sums those of micro-batches,
    because Keras's accumulation counts each of them as a step of the schedule
    and fails on several replicas. But for AdamW's, weight decay is in the loss,
    see `decay_in_loss`.

    Args:
      config: the recipe.
      steps_per_epoch: optimizer steps, not necessarily whole.

    Raises:
      ValueError: there are no steps.
    """
    schedule = schedules.make_schedule(config, steps_per_epoch)
    if config.optimizer == "sgd":
        return make_sgd(schedule)
    if config.optimizer == "adamw":
        return make_adamw(
            schedule,
            weight_decay=config.weight_decay,
            decayed=config.decayed,
            beta_1=config.adam_beta_1,
            epsilon=config.adam_epsilon,
        )
    return RMSprop(schedule)


def decay_in_loss(config: train_config.TrainConfig) -> float:
    """Returns the weight decay that `losses.l2_penalty` is to have."""
    return 0.0 if config.optimizer == "adamw" else config.weight_decay


def make_sgd(
    learning_rate: LearningRate, *, nesterov: bool = True
) -> keras.optimizers.SGD:
    """Returns SGD with momentum, Nesterov's by default."""
    return keras.optimizers.SGD(
        learning_rate, momentum=MOMENTUM, nesterov=nesterov
    )


def make_adamw(
    learning_rate: LearningRate,
    *,
    weight_decay: float,
    decayed: str = "kernels",
    **options: float,
) -> keras.optimizers.AdamW:
    """Returns AdamW.

    Args:
      learning_rate: a number or a schedule.
      weight_decay: decoupled; multiplied by the learning rate at each step.
      decayed: a key of `losses.UNDECAYED`.
      **options: such as `beta_1`, as for `keras.optimizers.AdamW`.
    """
    optimizer = keras.optimizers.AdamW(
        learning_rate, weight_decay=weight_decay, **options
    )
    optimizer.exclude_from_weight_decay(
        var_names=list(losses.UNDECAYED[decayed])
    )
    return optimizer
