"""Memory: a check before training, and the peak afterwards."""

import pathlib

from efficientnet_tf.models import costs

# Only Linux has it.
MEMORY_FILE = "/proc/meminfo"
LIMIT_FILE = "/sys/fs/cgroup/memory.max"  # A container's.

# Bytes of one number of an activation.
BYTES = {"float32": 4, "mixed_bfloat16": 2, "mixed_float16": 2}


def check_memory(cost: costs.Costs, batch_size: int, precision: str) -> None:
    """Raises MemoryError if training needs more memory than this machine has.

    It checks main memory only: an accelerator reports by itself when it is
    full. It counts a lower bound: weights, gradients, momentum and the outputs
    of convolutions and dense layers. The actual peak is higher, three to seven
    times for EfficientNet-B0.

    Args:
      cost: of the network, see `costs.count_costs`.
      batch_size: images that pass through the network at once on one device.
      precision: one of `configs.PRECISIONS`.
    """
    if _on_accelerator() or not pathlib.Path(MEMORY_FILE).exists():
        return
    kept = cost.activations * BYTES[precision] * batch_size
    needed = (kept + 3 * 4 * cost.params) / 1e6
    there = _memory_mb()
    if needed > there:
        raise MemoryError(
            f"Training on {batch_size} images at once needs at least "
            f"{needed:,.0f} MB, but this machine has {there:,.0f} MB; use a "
            "smaller batch, image size or network"
        )


def device_name() -> str:
    """Returns the device of the backend: "cpu", "TPU" or a GPU's name."""
    import keras  # Slow: the rest of this file is read without it.

    if keras.backend.backend() == "jax":
        import jax

        return jax.devices()[0].device_kind
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "TPU" if tf.config.list_logical_devices("TPU") else "cpu"
    return tf.config.experimental.get_device_details(gpus[0])["device_name"]


def peak_mb() -> float:
    """Returns the peak memory so far in MB, the accelerator's if present."""
    if not _on_accelerator():
        # Not getrusage, which starts from the parent process's peak.
        return _proc_mb("/proc/self/status", "VmHWM")
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return jax.devices()[0].memory_stats()["peak_bytes_in_use"] / 1e6
    import tensorflow as tf

    return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 1e6


def _memory_mb():
    """Returns the total memory in MB, or the container's limit if lower."""
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
            f"Memory is read from {path}, which exists only on Linux."
        ) from error
    values = dict(line.split(":", 1) for line in lines if ":" in line)
    # The kernel's "kB" is 1,024 bytes.
    return int(values[field].split()[0]) * 1024 / 1e6
