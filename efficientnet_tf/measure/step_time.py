"""Time of a training step on this machine."""

import time

import keras
import numpy as np

from efficientnet_tf.measure import jobs
from efficientnet_tf.models import builder, costs
from efficientnet_tf.training import distribution, memory


def measure_step_time(job: jobs.Job) -> dict:
    """Trains on noise in this process, step by step after a warm-up.

    Returns:
      "step_ms", the median, and "device".

    Raises:
      MemoryError: see `memory.check_memory`.
    """
    distribution.set_precision(job.precision)
    cost = costs.count_costs(job.variant)
    memory.check_memory(cost, job.batch_size, job.precision)
    network = builder.build(job.variant)
    network.compile(
        optimizer=keras.optimizers.SGD(1e-3, momentum=0.9),
        loss="sparse_categorical_crossentropy",
    )
    images, labels = job.make_images(), np.arange(job.batch_size) % 1000
    times = []
    for _ in range(job.warmup_batches + job.batches):
        start = time.perf_counter()
        network.train_on_batch(images, labels)
        times.append(time.perf_counter() - start)
    median = np.median(times[job.warmup_batches :])
    return {"step_ms": 1e3 * float(median), "device": memory.device_name()}
