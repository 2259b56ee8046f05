"""Latency: percentiles and images per second come from the same batches."""

import pytest

from efficientnet_tf.measure import jobs, latency


def test_the_rate_is_that_of_the_median_batch():
    job = jobs.Job("mobilenet_v1", 32, 2, warmup_batches=1, batches=3)
    row = latency.measure_latency(job)
    tail = [row[f"latency_p{p}_ms"] for p in latency.PERCENTILES]
    assert 0 < tail[0] <= tail[1] <= tail[2]
    assert row["images_per_second"] == pytest.approx(2e3 / tail[0])
