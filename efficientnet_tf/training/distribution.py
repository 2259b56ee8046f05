"""Devices: the strategy, the precision, and whether XLA compiles."""

import os
import signal
import threading
import typing
from collections.abc import Callable

import keras
from absl import logging

from efficientnet_tf.models import layers
from efficientnet_tf.training import cluster
from efficientnet_tf.utils import configs

if typing.TYPE_CHECKING:
    import tensorflow as tf

STRATEGIES = ("auto", "none", "mirrored", "multi_worker", "tpu")
XLA_SETTINGS = ("auto", "on", "off")


def set_precision(precision: str) -> None:
    """Sets Keras's dtype policy for all models that are built afterwards."""
    if precision not in configs.PRECISIONS:
        raise ValueError(
            configs.unknown("precision", precision, configs.PRECISIONS)
        )
    keras.config.set_dtype_policy(precision)


def describe_device() -> str:
    """Returns the devices that one process works on, for a line of the log."""
    if keras.backend.backend() != "tensorflow":
        return f"the devices of {keras.backend.backend()}"
    import tensorflow as tf

    found = tf.config.list_physical_devices("GPU")
    if not found:
        return f"the CPU ({os.cpu_count()} cores)"
    details = tf.config.experimental.get_device_details(found[0])
    return f"the GPU ({details.get('device_name', 'unknown')})"


def make_strategy(name: str = "auto") -> "tf.distribute.Strategy":
    """Returns the `tf.distribute.Strategy` for this machine, and logs it.

    Call it before any other use of TensorFlow, since several workers must be
    connected first. Build and compile the model in its `scope()`.

    "tpu" follows TensorFlow's documentation and has not run on a TPU: the tests
    check that the right one is resolved, connected and initialized in order.

    Args:
      name: "none": one device; "mirrored": all GPUs of this machine (or all
        logical CPUs if there is none); "multi_worker": the machines that
        TF_CONFIG names; "tpu": this machine's TPU, or the one that TPU_NAME
        names; "auto": the first that applies of tpu, multi_worker, mirrored
        (for two or more GPUs) and none.

    Raises:
      ValueError: an unknown name, or an invalid TF_CONFIG.
      RuntimeError: there is no TPU.
    """
    if name not in STRATEGIES:
        raise ValueError(configs.unknown("strategy", name, STRATEGIES))
    chosen = _choose() if name == "auto" else name
    strategy = _MAKERS[chosen]()
    logging.info(
        "Strategy %s%s: replicas %d.",
        chosen,
        " (auto)" if name == "auto" else "",
        strategy.num_replicas_in_sync,
    )
    return strategy


def replica_batch_size(batch_size: int, replicas: int) -> int:
    """Returns the size of each replica's part of the global batch.

    Raises:
      ValueError: the batch is not divisible by the number of replicas.
    """
    if batch_size % replicas:
        raise ValueError(
            f"The global batch of {batch_size} images is not divisible by "
            f"{replicas} replicas."
        )
    return batch_size // replicas


def distribute(
    strategy: "tf.distribute.Strategy",
    make_dataset: Callable[[int, int], "tf.data.Dataset"],
    batch_size: int,
) -> "tf.data.Dataset | tf.distribute.DistributedDataset":
    """Returns a data set of global batches for `fit` under a strategy.

    Each worker reads its own part of every batch, and each of its replicas
    takes adjacent rows of that, so that a batch holds the same images however
    many devices share it.

    Args:
      strategy: see `make_strategy`.
      make_dataset: called with the index of this input pipeline and their
        number; returns its part of the batches.
      batch_size: of all replicas together.
    """
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return make_dataset(0, 1)
    size = replica_batch_size(batch_size, replicas)
    return strategy.distribute_datasets_from_function(
        lambda context: make_dataset(
            context.input_pipeline_id, context.num_input_pipelines
        ).rebatch(size)
    )


def is_chief(strategy: "tf.distribute.Strategy") -> bool:
    """Whether this process writes files on behalf of all workers."""
    import tensorflow as tf

    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return True
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    if resolver.task_type == "worker" and resolver.task_id == 0:
        return not resolver.cluster_spec().as_dict().get("chief")
    return resolver.task_type == "chief"


def check_same(
    strategy: "tf.distribute.Strategy", number: float, what: str
) -> None:
    """Raises RuntimeError unless all workers hold the same number."""
    import tensorflow as tf

    def spread():
        value = tf.constant(number, tf.float64)
        return tf.stack([value, value**2])

    total = strategy.reduce("SUM", strategy.run(spread), axis=None)
    mean, squares = (total / strategy.num_replicas_in_sync).numpy()
    if squares != mean**2:
        raise RuntimeError(
            f"The workers do not have the same {what}; this one has {number}. "
            "They must share one workdir."
        )


def check_xla(setting: str) -> None:
    """Raises ValueError unless `use_xla` knows the setting."""
    if setting not in XLA_SETTINGS:
        raise ValueError(configs.unknown("XLA setting", setting, XLA_SETTINGS))


def use_xla(
    setting: str = "auto", *, replicas: int = 1, batch_norm: str = "local"
) -> bool | str:
    """Returns whether to compile steps with XLA on this machine's devices.

    XLA is slow for depthwise convolutions on a CPU (B0's train step ran at
    0.9 images/s with it and 16.7 without), and fast on GPU and TPU. On several
    GPUs it cannot compile a step that contains an all-reduce, as synchronized
    batch normalization does.

    Args:
      setting: "auto", "on" or "off".
      replicas: the number of replicas that the model trains on.
      batch_norm: as in `layers.set_statistics`.

    Returns:
      The value for `compile(jit_compile=...)`.

    Raises:
      ValueError: an unknown setting, or "on" where XLA cannot compile.
    """
    check_xla(setting)
    if keras.backend.backend() != "tensorflow":
        return setting if setting == "auto" else setting == "on"
    import tensorflow as tf

    on_tpu = bool(tf.config.list_physical_devices("TPU"))
    possible = on_tpu or layers.group_size(batch_norm, replicas) == 1
    if setting == "on" and not possible:
        raise ValueError(
            f"XLA cannot compile {batch_norm} batch normalization over "
            f"{replicas} replicas; use 'auto', 'off' or local statistics."
        )
    if setting != "auto":
        return setting == "on"
    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    return possible and (on_gpu or on_tpu)


def _choose():
    import tensorflow as tf

    if _tpu_name():
        return "tpu"
    if len(cluster.list_workers()) > 1:
        return "multi_worker"
    if len(tf.config.list_physical_devices("GPU")) > 1:
        return "mirrored"
    return "none"


def _make_default():
    import tensorflow as tf

    return tf.distribute.get_strategy()


def _make_mirrored():
    import tensorflow as tf

    # By default, TensorFlow takes only the first of several logical CPUs.
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    devices = [device.name for device in tf.config.list_logical_devices(kind)]
    return tf.distribute.MirroredStrategy(devices)


def _make_multi_worker():
    import tensorflow as tf

    if not cluster.list_workers():
        raise ValueError(
            "The strategy multi_worker needs the environment variable "
            'TF_CONFIG, e.g. {"cluster": {"worker": ["host1:2222", '
            '"host2:2222"]}, "task": {"type": "worker", "index": 0}}; '
            "`efficientnet launch` sets it for workers on one machine."
        )
    cluster.meet()
    handler = signal.getsignal(signal.SIGTERM)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    if threading.current_thread() is threading.main_thread():
        # TensorFlow puts one of its own in its place.
        signal.signal(signal.SIGTERM, handler)
    return strategy


def _make_tpu():
    import tensorflow as tf

    name = _tpu_name()
    if not name:
        raise RuntimeError(
            "There is no TPU here: TensorFlow lists none, and the environment "
            "variable TPU_NAME is not set."
        )
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
    if name != "local":
        tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)
    return tf.distribute.TPUStrategy(resolver)


_MAKERS = {
    "none": _make_default,
    "mirrored": _make_mirrored,
    "multi_worker": _make_multi_worker,
    "tpu": _make_tpu,
}


def _tpu_name():
    """Returns the resolver's name for this machine's TPU, "" if none."""
    import tensorflow as tf

    if os.environ.get("TPU_NAME"):
        return os.environ["TPU_NAME"]
    return "local" if tf.config.list_physical_devices("TPU") else ""
