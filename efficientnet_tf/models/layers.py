"""What Keras lacks: fused and grouped batch normalization, a fast silu."""

import functools
import sys
from typing import Any

import keras

from efficientnet_tf.utils import configs

# Keras walks a graph recursively, one frame per layer, and L2 is deeper than
# Python's limit. It is set here because whoever loads a network imports this.
sys.setrecursionlimit(max(sys.getrecursionlimit(), 5_000))

# The first layer of a network with symmetric padding, which tells it from one
# with "same" padding, in a file too; and what both have next to it.
STEM_PADDING = "stem_pad"
_STEM_NORM = "stem_bn"

# Over which replicas batch statistics are taken; see `group_size`.
STATISTICS = ("local", "synchronized", "grouped")


def set_statistics(network: keras.Model, statistics: str) -> None:
    """Sets over which replicas batch normalization takes its statistics.

    Changes the layers in place; functions already traced keep the old setting.
    It matters in training only. Set "local" again before saving: backends
    other than TensorFlow refuse synchronized layers.

    Args:
      network: a model of the family.
      statistics: "local": each replica's own images; "synchronized": the whole
        batch; "grouped": groups of `group_size` replicas.
    """
    if statistics not in STATISTICS:
        raise ValueError(
            configs.unknown("batch norm statistics", statistics, STATISTICS)
        )
    for layer in network.layers:
        if isinstance(layer, BatchNormalization):
            layer.synchronized = statistics == "synchronized"
            layer.grouped = statistics == "grouped"


def group_size(statistics: str, replicas: int) -> int:
    """Returns how many replicas share batch statistics.

    "grouped" is the official code's rule for TPUs: local up to 8 replicas, then
    groups of max(8, replicas // 8) neighbours.

    Raises:
      ValueError: the replicas do not divide into such groups.
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
def silu(x: keras.KerasTensor) -> keras.KerasTensor:
    """`keras.activations.silu` with a one-pass gradient on a CPU.

    TensorFlow computes the gradient in six operations, each of which passes
    through memory: a fifth of a train step of B0 on a CPU. Here XLA compiles
    that one expression and nothing else, so that the forward pass stays visible
    to TensorFlow's own fusions and to exporters. On other devices and backends,
    and for unknown image sizes, for each of which XLA would compile anew, this
    is Keras's function.
    """
    if not _compiles_gradient(x):
        return keras.activations.silu(x)
    return _silu_and_compiled_gradient()(x)


@keras.saving.register_keras_serializable(package="efficientnet_tf")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` that runs TensorFlow's fused kernel.

    Keras 3 computes batch normalization in a dozen operations; TensorFlow's
    fused kernel does it in one pass over [N, H, W, C], with float32 statistics
    whatever the compute dtype. On other backends, with a mask, with
    renormalization, with statistics of several replicas, or on other ranks,
    this is Keras's own layer.

    Args:
      grouped: whether groups of `group_size` replicas share their statistics;
        see `set_statistics`.
    """

    def __init__(self, *args: Any, grouped: bool = False, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.grouped = grouped

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "grouped": self.grouped}

    def load_own_variables(self, store: Any) -> None:
        if self.name == _STEM_NORM and hasattr(store, "h5_file"):
            _check_padding(self, store.h5_file)
        super().load_own_variables(store)

    def call(
        self,
        inputs: keras.KerasTensor,
        training: bool | None = None,
        mask: keras.KerasTensor | None = None,
    ) -> keras.KerasTensor:
        if not self._can_fuse(inputs, mask):
            return super().call(inputs, training=training, mask=mask)
        if not training:
            return self._fused(inputs, is_training=False)[0]
        if not self.trainable:
            # With fixed statistics the fused kernel's gradient is slow.
            return self._scale_and_shift(inputs)
        return self._train_fused(inputs)

    def normalize_by_batch(self, inputs: Any) -> Any:
        """Normalizes [N, H, W, C] by its own statistics.

        The moving averages stay as they are.
        """
        if self._can_fuse(inputs, None):
            return self._fused(inputs, is_training=True)[0]
        ops = keras.ops
        inputs32 = ops.cast(inputs, self.variable_dtype)
        mean, variance = self._moments(inputs32, None)
        outputs = ops.batch_normalization(
            inputs32,
            mean,
            variance,
            self.axis,
            offset=self.beta if self.center else None,
            scale=self.gamma if self.scale else None,
            epsilon=self.epsilon,
        )
        return ops.cast(outputs, inputs.dtype)

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
            # The kernel has none for float64.
            and self.compute_dtype != "float64"
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

        # One all-reduce for everything; Keras makes three per layer.
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
        # Strategies reduce over all replicas only, so each group has its own
        # row; there are at most 8 rows.
        groups = replicas // size
        rows = tf.one_hot(replica // size, groups)[:, None] * sums
        context = tf.distribute.get_replica_context()
        rows = context.all_reduce(tf.distribute.ReduceOp.SUM, rows)
        sums = rows[replica // size]
        mean, squares = tf.split(sums[:-1] / sums[-1], 2)
        return mean, tf.maximum(squares - tf.square(mean), 0.0)

    def _fused(self, inputs, is_training):
        import tensorflow as tf  # Only reached on this backend.

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
        # The kernel returns the unbiased variance; Keras and the official code
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
    """`keras.layers.Dropout` with different masks on every replica.

    Keras drops the same units on every replica.
    """

    def call(
        self, inputs: keras.KerasTensor, training: bool = False
    ) -> keras.KerasTensor:
        if not training or self.rate == 0 or _replica()[1] == 1:
            return super().call(inputs, training=training)
        return keras.random.dropout(
            inputs,
            self.rate,
            noise_shape=self.noise_shape,
            seed=_ReplicaSeeds(self.seed_generator),
        )


def _check_padding(norm, file):
    """Raises ValueError for weights of a network that pads in another way.

    Keras looks at shapes alone, which padding does not change.
    """
    stems = []  # Which of `STEM_PADDING` and `_STEM_NORM` each network has.

    def collect(path, group):
        if path.endswith("/vars") and group.attrs.get("name") == norm.name:
            layers = [v["vars"] for v in group.parent.parent.values()]
            stems.append({vars.attrs.get("name") for vars in layers})

    file.visititems(collect)
    convolution = norm.input._keras_history.operation
    before = convolution.input._keras_history.operation.name
    symmetric = before == STEM_PADDING
    if stems and all((STEM_PADDING in s) != symmetric for s in stems):
        own, other = "symmetric", "same"
        if not symmetric:
            own, other = other, own
        raise ValueError(
            f"The file's network has padding={other!r}, this one {own!r}: "
            "build it with `weights=` the file."
        )


class _ReplicaSeeds(keras.random.SeedGenerator):
    """The seeds of another generator, combined with the replica's index."""

    def __init__(self, generator):
        # Not `super().__init__`, which would create a variable.
        self.generator = generator

    def next(self, ordered=True):
        first, second = keras.ops.unstack(self.generator.next(ordered))
        # The second number counts the steps.
        replica = keras.ops.cast(_replica()[0], first.dtype)
        return keras.ops.stack([first + 1_000_003 * replica, second])


def _replica():
    """Returns (index of this replica, number of replicas)."""
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
    # The gradient is computed in float32.
    known = tf.is_tensor(x) and x.dtype != tf.float64
    return on_cpu and known and None not in tuple(x.shape)[1:]


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
