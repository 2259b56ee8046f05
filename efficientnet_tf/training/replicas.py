"""Workarounds for `fit` of Keras 3 under `tf.distribute`, all in this file.

Written for Keras 3.12 to 3.15 and TensorFlow 2.20 and 2.21. Without a strategy
they have no effect.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from efficientnet_tf.models import layers


class Model(keras.Model):
    """A `keras.Model` whose `fit` works under every strategy.

    With `compile(jit_compile=True)`, XLA compiles the functions that are passed
    to `compile_in_replica`, in each replica; the all-reduce stays outside.
    """

    @property
    def jit_compile(self) -> bool:
        """Whether XLA compiles the step as a whole, all-reduce included."""
        # Under a strategy it cannot: XLA does not compile the all-reduce.
        return super().jit_compile and not self._has_strategy()

    @jit_compile.setter
    def jit_compile(self, value: bool | str) -> None:
        keras.Model.jit_compile.fset(self, value)

    @property
    def compiles(self) -> bool:
        """Whether XLA compiles the step, or each replica's part of it."""
        return bool(super().jit_compile)

    @property
    def num_replicas(self) -> int:
        """The number of replicas that gradients are summed over."""
        if keras.backend.backend() != "tensorflow":
            return 1
        return self.distribute_strategy.num_replicas_in_sync

    def compile_in_replica(self, function: Callable) -> Callable:
        """Returns `function`, compiled by XLA if the whole step is not.

        Call it while tracing a replica's step, so that it belongs to that.
        """
        wanted = self.compiles and not self.run_eagerly
        if not wanted or not self._has_strategy() or self._on_tpu():
            return function
        import tensorflow as tf

        return tf.function(function, jit_compile=True, autograph=False)

    def reduce_gradients(self, gradients: Sequence[Any]) -> Sequence[Any]:
        """Returns gradients summed over replicas.

        Also averages the moving statistics of batch normalization over
        replicas, so that all of them always hold equal values.
        """
        if self.num_replicas == 1:
            return gradients
        import tensorflow as tf

        statistics = [
            variable
            for layer in self.layers
            if isinstance(layer, layers.BatchNormalization) and layer.trainable
            for variable in layer.non_trainable_variables
        ]
        # In one all-reduce, since each one costs a network round trip.
        reduced = tf.distribute.get_replica_context().all_reduce(
            tf.distribute.ReduceOp.SUM,
            [*gradients, *(v.value / self.num_replicas for v in statistics)],
        )
        count = len(gradients)
        for variable, value in zip(statistics, reduced[count:], strict=True):
            variable.assign(value)
        return reduced[:count]

    def take_over_reduction(self) -> None:
        """Makes the optimizer expect gradients that are already summed.

        So norms, and the loss scale's check for infinities, are of the sum
        over replicas.
        """
        optimizer = self.optimizer
        # Otherwise the first trace treats the initial loss scale as a constant.
        if not optimizer.built:
            with self.distribute_strategy.scope():
                optimizer.build(self.trainable_variables)
        inner: Any = getattr(optimizer, "inner_optimizer", optimizer)
        inner._all_reduce_sum_gradients = list

    def _has_strategy(self):
        return getattr(self, "_distribute_strategy", None) is not None

    def _on_tpu(self):
        # `TPUStrategy` compiles everything anyway.
        import tensorflow as tf

        return isinstance(self.distribute_strategy, tf.distribute.TPUStrategy)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Keras averages the replicas' batches to get their shapes, which fails
        # for several workers; the batch of one replica has the same shapes.
        if iterator is not None and self._has_strategy():
            import tensorflow as tf

            local = self.distribute_strategy.experimental_local_results
            for _, _, batches in iterator:
                data_batch = tf.nest.map_structure(
                    lambda value: local(value)[0], next(batches)
                )
                break
            iterator = None
        super()._maybe_symbolic_build(iterator, data_batch)

    def _make_function(self, step_function, **options):
        # Keras's version fails under MirroredStrategy with
        # steps_per_execution > 1, and with several workers, where it averages
        # scalar logs along a first axis that they do not have.
        if not self._has_strategy() or self._on_tpu():
            return super()._make_function(step_function, **options)
        import tensorflow as tf

        step, names = _distribute_step(self.distribute_strategy, step_function)
        if not self.run_eagerly:
            step = tf.function(step, autograph=False, reduce_retracing=True)

        def function(iterator):
            row = None
            for _ in range(self.steps_per_execution):
                try:
                    data = next(iterator)
                except (StopIteration, tf.errors.OutOfRangeError):
                    if row is None:
                        raise
                    break
                row = step(data)
            return dict(zip(names, tf.unstack(row), strict=True))

        return function


def _distribute_step(strategy, step_function):
    """Returns a step over all replicas, and the names of its logs.

    The logs are the elements of one tensor, because a dictionary would take an
    all-reduce for each; their names are filled in when the step is traced.
    """
    import tensorflow as tf

    names = []

    def step(data):
        logs = step_function(data)
        names[:] = logs
        return tf.stack([tf.cast(v, "float32") for v in logs.values()])

    def distributed_step(data):
        row = strategy.run(step, args=(data,))
        return strategy.reduce(tf.distribute.ReduceOp.MEAN, row, axis=None)

    return distributed_step, names
