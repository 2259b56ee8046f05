"""What Keras 3 lacks under `tf.distribute`: every repair is in this file.

Written for Keras 3.12 to 3.15 and TensorFlow 2.20 and 2.21; nothing of it does
anything without a strategy.
"""

from collections.abc import Callable

import keras

from efficientnet_tf.models import layers


class Model(keras.Model):
    """A `keras.Model` whose `fit` works under every strategy.

    `compile(jit_compile=True)` compiles what `compile_in_replica` is given, in
    each replica, and leaves the all-reduce outside.
    """

    @property
    def jit_compile(self) -> bool:
        # XLA cannot compile a strategy's all-reduce with the rest.
        return super().jit_compile and not self._has_strategy()

    @jit_compile.setter
    def jit_compile(self, value):
        keras.Model.jit_compile.fset(self, value)

    @property
    def compiles(self) -> bool:
        """Whether XLA compiles the step, or each replica's part of it."""
        return bool(super().jit_compile)

    @property
    def num_replicas(self) -> int:
        """Over which gradients are summed."""
        if keras.backend.backend() != "tensorflow":
            return 1
        return self.distribute_strategy.num_replicas_in_sync

    def compile_in_replica(self, function: Callable) -> Callable:
        """Returns `function`, compiled by XLA where the step as a whole isn't.

        Call it while tracing the step of a replica, to which it then belongs.
        """
        wanted = self.compiles and not self.run_eagerly
        if not wanted or not self._has_strategy() or self._on_tpu():
            return function
        import tensorflow as tf

        return tf.function(function, jit_compile=True, autograph=False)

    def reduce_gradients(self, gradients: list) -> list:
        """Returns gradients summed over replicas.

        Averages the moving statistics of batch normalization over replicas too,
        so that all of them always hold equal values.
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
        # All in one, as each all-reduce costs the network's latency.
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

        Their norm, and the loss scale's search for infinities, are of the sum.
        """
        optimizer = self.optimizer
        # Else the first trace takes the initial loss scale for a constant.
        if not optimizer.built:
            with self.distribute_strategy.scope():
                optimizer.build(self.trainable_variables)
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        inner._all_reduce_sum_gradients = list

    def _has_strategy(self):
        return getattr(self, "_distribute_strategy", None) is not None

    def _on_tpu(self):
        # Its strategy compiles everything anyhow.
        import tensorflow as tf

        return isinstance(self.distribute_strategy, tf.distribute.TPUStrategy)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Keras takes the mean of the replicas' batches, which fails for
        # several workers; the batch of one replica has the shapes.
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
        # Keras's own fails under MirroredStrategy for steps_per_execution > 1,
        # and for several workers, where it averages the logs along their first
        # axis although they are scalars.
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
    """Returns a step over all replicas, and the names of the logs it returns.

    The logs are the rows of one tensor, and the names known after the first
    step: a dictionary of them would be an all-reduce each.
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
