"""Devices: what runs where, in which precision, compiled or not."""

import keras

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


def set_precision(precision):
    """Sets Keras's dtype policy for the models that are built from now on."""
    if precision not in PRECISIONS:
        raise ValueError(
            f"Unknown precision {precision!r}; choose one of "
            f"{', '.join(PRECISIONS)}."
        )
    keras.config.set_dtype_policy(precision)


def use_xla():
    """Whether steps should be compiled with XLA on this machine's devices.

    XLA is slow for depthwise convolutions on a CPU (B0's train step ran at
    0.9 images/s with it and 16.7 without), and fast on GPU and TPU.
    """
    if keras.backend.backend() != "tensorflow":
        return "auto"
    import tensorflow as tf

    return bool(
        tf.config.list_physical_devices("GPU")
        or tf.config.list_physical_devices("TPU")
    )
