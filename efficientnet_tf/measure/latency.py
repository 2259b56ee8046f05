"""Latency of prediction on this machine."""

import time

import numpy as np

from efficientnet_tf.measure import jobs

# Of the batches' latencies; ours.
PERCENTILES = (50, 95, 99)


def measure_latency(job: jobs.Job) -> dict:
    """Times prediction in this process, batch by batch after a warm-up.

    It includes the transfer of images in and probabilities out.

    Returns:
      "latency_pNN_ms" for each of `PERCENTILES`, "images_per_second" at the
      median latency, and "device".
    """
    # Slow; who only reads measurements does without.
    from efficientnet_tf.models import builder
    from efficientnet_tf.training import distribution, memory

    distribution.set_precision(job.precision)
    network = builder.build(job.variant)
    network.compile()
    images = job.make_images()
    times = []
    for _ in range(job.warmup_batches + job.batches):
        start = time.perf_counter()
        network.predict_on_batch(images)
        times.append(time.perf_counter() - start)
    seconds = np.array(times[job.warmup_batches :])
    row = {
        f"latency_p{p}_ms": 1e3 * float(np.percentile(seconds, p))
        for p in PERCENTILES
    }
    rate = job.batch_size / float(np.median(seconds))
    return {**row, "images_per_second": rate, "device": memory.device_name()}
