"""Layers that compute in float32 what LiteRT's int8 kernels compute.

Fake quantization: values are rounded to the 256 that int8 has in a range, and
the gradient passes as if they were not, https://arxiv.org/abs/1712.05877.
"""

from typing import Any

import keras

# Of the largest channel's largest weight: the least range of a channel. Smaller
# ones are 0 in int8 anyway, and runtimes refuse steps that are too small.
_LEAST_SHARE, _LEAST_RANGE = 1e-5, 1e-6
# A bias is an int32 that counts products of steps; half of these are left to
# the sum that it is added to.
_MOST_BIAS = 2**30
_LEVELS = 255
# Of kernels: -127 to 127.
_NARROW_LEVELS = 127
# What LiteRT fixes for values between 0 and 1.
UNIT_RANGE = (0.0, 255 / 256)


def find_step(low: float, high: float) -> float:
    """Returns the distance of neighbours among the 256 values of a range."""
    return (high - low) / _LEVELS


@keras.saving.register_keras_serializable(package="efficientnet_tf")
class FakeQuant(keras.layers.Layer):
    """Rounds to the 256 values of a range, one of which is 0.

    Args:
      low: the smallest value, at most 0.
      high: the largest one.

    Raises:
      ValueError: 0 is not in the range, or it is empty.
    """

    def __init__(self, low: float, high: float, **kwargs: Any):
        super().__init__(**kwargs)
        if not low <= 0 <= high or not low < high:
            raise ValueError(
                f"{self.name}: low={low} and high={high} must be a range with "
                "0 in it."
            )
        self.low, self.high = float(low), float(high)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "low": self.low, "high": self.high}

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        return keras.quantizers.fake_quant_with_min_max_vars(
            inputs, self.low, self.high
        )

    def compute_output_shape(
        self, input_shape: tuple[int, ...]
    ) -> tuple[int, ...]:
        return input_shape


@keras.saving.register_keras_serializable(package="efficientnet_tf")
class FakeQuantProbabilities(FakeQuant):
    """Rounds probabilities, but not in training.

    Those that become 0 would have an infinite cross-entropy and no gradient.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(*UNIT_RANGE, **kwargs)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["low"], config["high"]
        return config

    def call(
        self, inputs: keras.KerasTensor, training: bool = False
    ) -> keras.KerasTensor:
        return inputs if training else super().call(inputs)


class _OfStep(keras.layers.Layer):
    """A layer with weights whose input has been rounded in steps.

    Args:
      input_step: the step.
    """

    def __init__(self, *args: Any, input_step: float, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.input_step = float(input_step)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "input_step": self.input_step}


@keras.saving.register_keras_serializable(package="efficientnet_tf")
class QuantizedConv2D(_OfStep, keras.layers.Conv2D):
    """`keras.layers.Conv2D` with a bias, and rounded weights."""

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        kernel, bias = _round(self.kernel, self.bias, self.input_step)
        return self.convolution_op(inputs, kernel) + bias


@keras.saving.register_keras_serializable(package="efficientnet_tf")
class QuantizedDepthwiseConv2D(_OfStep, keras.layers.DepthwiseConv2D):
    """`keras.layers.DepthwiseConv2D` with a bias, and rounded weights."""

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        kernel, bias = _round_depthwise(self.kernel, self.bias, self.input_step)
        outputs = keras.ops.depthwise_conv(
            inputs,
            kernel,
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
        )
        return outputs + bias


@keras.saving.register_keras_serializable(package="efficientnet_tf")
class QuantizedDense(_OfStep, keras.layers.Dense):
    """`keras.layers.Dense` with a bias, and rounded weights.

    Computed as a 1x1 convolution: LiteRT's converter takes a range for each
    channel of a convolution's kernel, not of a dense layer's.
    """

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        ops = keras.ops
        # Shaped before it is rounded: the converter loses the axis otherwise.
        kernel = ops.reshape(self.kernel, (1, 1, *self.kernel.shape))
        kernel, bias = _round(kernel, self.bias, self.input_step)
        images = ops.reshape(inputs, (-1, 1, 1, inputs.shape[-1]))
        outputs = ops.conv(images, kernel, padding="valid") + bias
        return ops.reshape(outputs, (-1, self.units))


@keras.saving.register_keras_serializable(package="efficientnet_tf")
class QuantizedRescaling(_OfStep, keras.layers.Rescaling):
    """`keras.layers.Rescaling` with a scale and an offset for each channel.

    Computed as a depthwise 1x1 convolution, whose kernel has a range for each
    channel and whose bias has 32 bits: a product and a sum would round twice,
    and the constants of all channels in one range.
    """

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        ops, channels = keras.ops, inputs.shape[-1:]
        scale, offset = (
            ops.broadcast_to(ops.convert_to_tensor(value, "float32"), channels)
            for value in (self.scale, self.offset)
        )
        kernel, bias = _round_depthwise(
            ops.reshape(scale, (1, 1, *channels, 1)), offset, self.input_step
        )
        return ops.depthwise_conv(inputs, kernel, padding="valid") + bias


def _round_depthwise(kernel, bias, input_step):
    # The channel must be the last axis; a multiplier belongs to it.
    flat = keras.ops.reshape(kernel, (*kernel.shape[:2], -1))
    flat, bias = _round(flat, bias, input_step)
    return keras.ops.reshape(flat, kernel.shape), bias


def _round(kernel, bias, input_step):
    """Rounds a kernel and the bias after it.

    The kernel to -127 to 127 steps of each channel, the last axis, in the range
    of the weights as they are; the bias to the int32 of a sum of products.
    """
    ops = keras.ops
    kernel, bias = ops.convert_to_tensor(kernel), ops.convert_to_tensor(bias)
    largest = ops.max(ops.abs(kernel), tuple(range(len(kernel.shape) - 1)))
    least = _NARROW_LEVELS / (_MOST_BIAS * input_step) * ops.abs(bias)
    least = ops.maximum(least, _LEAST_SHARE * ops.max(largest))
    largest = ops.maximum(ops.maximum(largest, least), _LEAST_RANGE)
    largest = ops.stop_gradient(largest)
    kernel = keras.quantizers.fake_quant_with_min_max_vars(
        kernel, -largest, largest, narrow_range=True, axis=-1
    )
    step = input_step * largest / _NARROW_LEVELS
    # Less than a thousandth of a step of the output, but of so many values some
    # are as near to where rounding changes.
    rounded = ops.round(bias / step) * step
    return kernel, bias + ops.stop_gradient(rounded - bias)
