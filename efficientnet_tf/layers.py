"""What Keras itself lacks: fused batch normalization, a silu quick to train."""

import functools

import keras


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
    synchronized or renormalized statistics or on other ranks this is Keras's
    own layer.
    """

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
            and not self.synchronized
            and not getattr(self, "renorm", False)  # Since Keras 3.14.
            and self.scale
            and self.center
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
        )

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
