"""How long a network takes to predict a batch on this machine."""

import time

import numpy as np

from efficientnet_tf.measure import jobs
from efficientnet_tf.models import builder
from efficientnet_tf.training import distribution, memory

# Of each measured batch; ours.
PERCENTILES = (50, 95, 99)


def measure_latency(job: jobs.Job) -> dict:
    """Times prediction in this process, after a warm-up, batch by batch.

    Includes what a caller waits for: images in, probabilities out.

    Returns:
      "latency_pNN_ms" for each of `PERCENTILES`, "images_per_second" at the
      median, and "device".
    """
    distribution.set_precision(job.precision)
    network = builder.build(job.network)
    network.compile()
    images = job.make_images()
    seconds = []
    for _ in range(job.warmup_batches + job.batches):
        start = time.perf_counter()
        network.predict_on_batch(images)
        seconds.append(time.perf_counter() - start)
    seconds = np.array(seconds[job.warmup_batches :])
    row = {
        f"latency_p{p}_ms": 1e3 * float(np.percentile(seconds, p))
        for p in PERCENTILES
    }
    rate = job.batch_size / float(np.median(seconds))
    return {**row, "images_per_second": rate, "device": memory.device_name()}
