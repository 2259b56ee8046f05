"""Peak memory of training on this machine."""

import numpy as np

from efficientnet_tf.measure import jobs
from efficientnet_tf.models import costs
from efficientnet_tf.training import memory


def measure_training_memory(job: jobs.Job) -> dict:
    """Trains on two batches and returns the peak memory in megabytes.

    It is the accelerator's memory if there is one, else this process's, of
    which "runtime_memory_mb" is the peak before the network was built.

    Raises:
      MemoryError: see `memory.check_memory`.
    """
    # Slow; who only reads measurements does without.
    import keras

    from efficientnet_tf.models import builder
    from efficientnet_tf.training import distribution

    distribution.set_precision(job.precision)
    runtime = memory.peak_mb()
    cost = costs.count_costs(job.variant)
    memory.check_memory(cost, job.batch_size, job.precision)
    network = builder.build(job.variant)
    network.compile(
        optimizer=keras.optimizers.SGD(1e-3, momentum=0.9),
        loss="sparse_categorical_crossentropy",
    )
    labels = np.arange(job.batch_size) % 1000
    for _ in range(2):  # The optimizer creates its slots in the first one.
        network.train_on_batch(job.make_images(), labels)
    return {
        "training_memory_mb": memory.peak_mb(),
        "runtime_memory_mb": runtime,
    }
