"""What training takes of this machine's memory, before it begins and after."""

import pathlib

import keras

# Only Linux has it.
MEMORY_FILE = "/proc/meminfo"
LIMIT_FILE = "/sys/fs/cgroup/memory.max"  # A container's.

# Bytes of a number between layers.
BYTES = {"float32": 4, "mixed_bfloat16": 2, "mixed_float16": 2}


def check_memory(cost, batch_size, precision):
    """Raises MemoryError if training needs more than this machine has.

    Of CPUs alone: an accelerator says itself when it is full. It counts what
    training cannot do without, the weights with their gradients and momentum
    and the outputs of convolutions and dense layers, which is far less than
    what it takes in the end (three to seven times for EfficientNet-B0).

    Args:
      cost: of `costs.count_costs`, which needs no network to be built.
      batch_size: of what passes through it at once on one device.
      precision: a row of `configs.PRECISIONS`.
    """
    if _on_accelerator() or not pathlib.Path(MEMORY_FILE).exists():
        return
    kept = cost.activations * BYTES[precision] * batch_size
    needed = (kept + 3 * 4 * cost.params) / 1e6
    there = _memory_mb()
    if needed > there:
        raise MemoryError(
            f"Training with {batch_size} images at once takes {needed:,.0f} MB "
            f"at the very least, and this machine has {there:,.0f}; take a "
            "smaller batch, image size or network"
        )


def device_name():
    """Returns what the backend computes on: "cpu", "TPU" or a GPU's name."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.devices()[0].device_kind
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "TPU" if tf.config.list_logical_devices("TPU") else "cpu"
    return tf.config.experimental.get_device_details(gpus[0])["device_name"]


def peak_mb():
    """Returns the peak memory so far, of the accelerator if there is one."""
    if not _on_accelerator():
        # Not getrusage: that one starts from the parent's peak.
        return _proc_mb("/proc/self/status", "VmHWM")
    if keras.backend.backend() == "jax":
        import jax

        return jax.devices()[0].memory_stats()["peak_bytes_in_use"] / 1e6
    import tensorflow as tf

    return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e6


def _memory_mb():
    """Returns what there is, which may be free in a minute, or the limit."""
    there = _proc_mb(MEMORY_FILE, "MemTotal")
    limit = pathlib.Path(LIMIT_FILE)
    text = limit.read_text().strip() if limit.exists() else "max"
    return there if text == "max" else min(there, int(text) / 1e6)


def _on_accelerator():
    return device_name() != "cpu"


def _proc_mb(path, field):
    try:
        lines = pathlib.Path(path).read_text().splitlines()
    except OSError as error:
        raise RuntimeError(
            f"Memory is read from {path}, which only Linux has."
        ) from error
    values = dict(line.split(":", 1) for line in lines if ":" in line)
    # Its "kB" are of 1,024 bytes.
    return int(values[field].split()[0]) * 1024 / 1e6
