"""What Keras lacks: fused and grouped batch normalization, a quick silu."""

import functools
import sys

import keras

# Keras walks a graph by recursion, a frame for each layer on the way, and L2 is
# longer than Python's limit. Here, because whoever loads a network needs these
# layers.
sys.setrecursionlimit(max(sys.getrecursionlimit(), 5_000))

# Over how many replicas a batch's statistics are taken; see `group_size`.
STATISTICS = ("local", "synchronized", "grouped")


def set_statistics(network, statistics):
    """Sets over which replicas batch normalization takes its statistics.

    Changes the layers in place, for what is traced from now on. It matters
    while training only; set "local" again before the network is stored, as
    other backends than TensorFlow refuse synchronized layers.

    Args:
      network: a model of the family.
      statistics: "local": those of the replica's own images; "synchronized":
        of the whole batch; "grouped": of as many replicas as `group_size`.
    """
    if statistics not in STATISTICS:
        raise ValueError(
            f"Unknown batch norm statistics {statistics!r}; choose one of "
            f"{', '.join(STATISTICS)}."
        )
    for layer in network.layers:
        if isinstance(layer, BatchNormalization):
            layer.synchronized = statistics == "synchronized"
            layer.grouped = statistics == "grouped"


def group_size(statistics, replicas):
    """Returns how many replicas share the statistics of batch normalization.

    "grouped" is the reference's rule for TPUs: local up to 8 replicas, then
    groups of max(8, replicas // 8) neighbours.
    """
    if statistics == "synchronized":
        return replicas
    if statistics == "local" or replicas <= 8:
        return 1
    size = max(8, replicas // 8)
    if replicas % size:
        raise ValueError(
            f"{replicas} replicas do not divide into groups of {size} for "
            "batch normalization; use another number of replicas, or "
            "'local' or 'synchronized' statistics."
        )
    return size


@keras.saving.register_keras_serializable(package="efficientnet_tf")
def silu(x):
    """`keras.activations.silu` with its gradient in one pass on a CPU.

    TensorFlow spells the gradient out in six operations, each of which goes
    through memory; a fifth of a train step of B0 on a CPU. Here XLA compiles
    that one expression, and nothing else: the forward pass stays visible to
    TensorFlow's own fusions and to exporters. Elsewhere than on a CPU under
    TensorFlow, and for unknown image sizes (each of which XLA would compile
    anew), this is Keras's function.
    """
    if not _compiles_gradient(x):
        return keras.activations.silu(x)
    return _silu_and_compiled_gradient()(x)


@keras.saving.register_keras_serializable(package="efficientnet_tf")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` that runs TensorFlow's fused kernel.

    Keras 3 spells batch normalization out in a dozen operations; on TensorFlow
    the fused kernel does the same in one pass over [N, H, W, C], in float32
    statistics whatever the compute dtype. On other backends, with a mask, with
    renormalized statistics or those of several replicas, or on other ranks
    this is Keras's own layer.

    Args:
      grouped: whether groups of replicas share their statistics, as
        `group_size` says; see `set_statistics`.
    """

    def __init__(self, *args, grouped=False, **kwargs):
        super().__init__(*args, **kwargs)
        self.grouped = grouped

    def get_config(self):
        return {**super().get_config(), "grouped": self.grouped}

    def call(self, inputs, training=None, mask=None):
        if not self._can_fuse(inputs, mask):
            return super().call(inputs, training=training, mask=mask)
        if not training:
            return self._fused(inputs, is_training=False)[0]
        if not self.trainable:
            # The fused kernel's gradient is slow for fixed statistics.
            return self._scale_and_shift(inputs)
        return self._train_fused(inputs)

    def _can_fuse(self, inputs, mask):
        return (
            keras.backend.backend() == "tensorflow"
            and mask is None
            and self._group_size() == 1
            and not getattr(self, "renorm", False)  # Since Keras 3.14.
            and self.scale
            and self.center
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
        )

    def _group_size(self):
        if not (self.synchronized or self.grouped):
            return 1
        kind = "synchronized" if self.synchronized else "grouped"
        return group_size(kind, _replica()[1])

    def _moments(self, inputs, mask):
        if mask is not None or self._group_size() == 1:
            return super()._moments(inputs, mask)
        return self._moments_of_group(inputs)

    def _moments_of_group(self, inputs):
        import tensorflow as tf  # Only this backend has replicas.

        # One all-reduce for everything; Keras makes three of a layer.
        count = tf.cast(tf.size(inputs) / inputs.shape[self.axis], tf.float32)
        sums = tf.concat(
            [
                tf.reduce_sum(inputs, self._reduction_axes),
                tf.reduce_sum(tf.square(inputs), self._reduction_axes),
                count[None],
            ],
            axis=0,
        )
        replica, replicas = _replica()
        size = self._group_size()
        # Strategies reduce over all replicas only, so each group has a row of
        # its own; there are never more than 8 rows.
        groups = replicas // size
        rows = tf.one_hot(replica // size, groups)[:, None] * sums
        context = tf.distribute.get_replica_context()
        rows = context.all_reduce(tf.distribute.ReduceOp.SUM, rows)
        sums = rows[replica // size]
        mean, squares = tf.split(sums[:-1] / sums[-1], 2)
        return mean, tf.maximum(squares - tf.square(mean), 0.0)

    def _fused(self, inputs, is_training):
        import tensorflow as tf  # Only ever reached on this backend.

        statistics = (
            {}
            if is_training
            else {
                "mean": self.moving_mean.value,
                "variance": self.moving_variance.value,
            }
        )
        return tf.compat.v1.nn.fused_batch_norm(
            inputs,
            self.gamma.value,
            self.beta.value,
            epsilon=self.epsilon,
            is_training=is_training,
            **statistics,
        )

    def _scale_and_shift(self, inputs):
        ops = keras.ops
        scale = self.gamma * ops.rsqrt(self.moving_variance + self.epsilon)
        shift = self.beta - self.moving_mean * scale
        return inputs * ops.cast(scale, inputs.dtype) + ops.cast(
            shift, inputs.dtype
        )

    def _train_fused(self, inputs):
        outputs, mean, variance = self._fused(inputs, is_training=True)
        # The kernel reports the unbiased variance; Keras and the reference
        # average the biased one.
        count = keras.ops.cast(
            keras.ops.size(inputs) / keras.ops.shape(inputs)[-1], "float32"
        )
        variance = variance * ((count - 1.0) / keras.ops.maximum(count, 1.0))
        for moving, batch in (
            (self.moving_mean, mean),
            (self.moving_variance, variance),
        ):
            moving.assign(
                moving * self.momentum + batch * (1.0 - self.momentum)
            )
        return outputs


@keras.saving.register_keras_serializable(package="efficientnet_tf")
class Dropout(keras.layers.Dropout):
    """`keras.layers.Dropout` with masks of its own on every replica.

    Keras gives equal masks to the images at equal places of all replicas.
    """

    def call(self, inputs, training=False):
        if not training or self.rate == 0 or _replica()[1] == 1:
            return super().call(inputs, training=training)
        return keras.random.dropout(
            inputs,
            self.rate,
            noise_shape=self.noise_shape,
            seed=_ReplicaSeeds(self.seed_generator),
        )


@keras.saving.register_keras_serializable(package="efficientnet_tf")
class ClassToken(keras.layers.Layer):
    """Puts a learned token first, then adds learned positions.

    Maps [N, T, C] to [N, T + 1, C].
    """

    def build(self, input_shape):
        tokens, filters = input_shape[1:]
        self.token = self.add_weight(
            shape=(filters,), initializer="zeros", name="token"
        )
        self.positions = self.add_weight(
            shape=(tokens + 1, filters),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
            name="positions",
        )

    def call(self, inputs):
        shape = (keras.ops.shape(inputs)[0], 1, inputs.shape[-1])
        token = keras.ops.broadcast_to(self.token, shape)
        token = keras.ops.cast(token, inputs.dtype)
        x = keras.ops.concatenate([token, inputs], axis=1)
        return x + keras.ops.cast(self.positions, x.dtype)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[1] + 1, input_shape[2])


class _ReplicaSeeds(keras.random.SeedGenerator):
    """The seeds of another generator, with the replica's number in them."""

    def __init__(self, generator):
        # Not that of the base class, which would make a variable.
        self.generator = generator

    def next(self, ordered=True):
        first, second = keras.ops.unstack(self.generator.next(ordered))
        # The second one counts the steps.
        replica = keras.ops.cast(_replica()[0], first.dtype)
        return keras.ops.stack([first + 1_000_003 * replica, second])


def _replica():
    """Returns the number of this replica, and how many there are."""
    if keras.backend.backend() != "tensorflow":
        return 0, 1
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return 0, 1
    return context.replica_id_in_sync_group, context.num_replicas_in_sync


def _compiles_gradient(x):
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    kinds = {device.device_type for device in tf.config.list_logical_devices()}
    on_cpu = kinds == {"CPU"}
    return on_cpu and tf.is_tensor(x) and None not in tuple(x.shape)[1:]


@functools.cache
def _silu_and_compiled_gradient():
    import tensorflow as tf

    @tf.function(jit_compile=True, autograph=False)
    def compiled_gradient(x, upstream):
        x32 = tf.cast(x, tf.float32)
        gate = tf.sigmoid(x32)
        slope = gate * (1.0 + x32 * (1.0 - gate))
        return tf.cast(tf.cast(upstream, tf.float32) * slope, x.dtype)

    @tf.custom_gradient
    def with_gradient(x):
        return x * tf.sigmoid(x), lambda dy: compiled_gradient(x, dy)

    return with_gradient
