"""Costs of a candidate that are measured on this machine."""

import os
import pathlib
import tempfile
import time
from collections.abc import Callable

import keras
import numpy as np

from efficientnet_tf.measure import jobs, step_time
from efficientnet_tf.models import builder, registry, variants
from efficientnet_tf.search.architect import evaluators, objectives, plans
from efficientnet_tf.utils import extras

WARMUP_CALLS, CALLS = 5, 30
CALIBRATION_IMAGES = 8  # Noise: int8's speed does not depend on its ranges.
STEP_BATCH = 32


def check(cost: str) -> None:
    """Raises ModuleNotFoundError if a cost's package is not installed."""
    if cost.startswith("latency"):
        extras.require("Latencies of LiteRT", "ai_edge_litert")


def find(cost: str) -> Callable[[variants.Variant], float]:
    """Returns the function that finds one of `objectives.COSTS`."""
    if cost in objectives.COUNTED:
        return lambda variant: float(plans.count(variant)[cost])
    return _MEASURED[cost]


def of_job(cost: str) -> Callable[[evaluators.Job], float]:
    """Returns `find` for the candidates of a search."""
    measure = find(cost)

    def measure_job(job: evaluators.Job) -> float:
        if job.variant is None:
            raise ValueError(f"a benchmark has no {cost}.")
        return measure(job.variant)

    return measure_job


def time_litert(variant: variants.Variant, precision: str) -> float:
    """Returns the median milliseconds of one image by its LiteRT file.

    The file is that of `efficientnet export`, with random weights.

    Args:
      variant: the network.
      precision: "float32" or "int8".
    """
    from efficientnet_tf.deploy import litert, source
    from efficientnet_tf.inference import classifier as classifier_lib

    keras.backend.clear_session()
    network = builder.build(variant, classes=10)
    size = variant.resolution
    classifier = classifier_lib.Classifier(
        network,
        tuple(map(str, range(10))),
        size,
        variant.interpolation,
    )
    images = np.random.default_rng(0).uniform(
        0, 255, (CALIBRATION_IMAGES, size, size, 3)
    )
    images = images.astype("float32")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.tflite"
        calibration = images if precision == "int8" else ()
        prepared = source.prepare(classifier, calibration)
        litert.write(classifier, prepared, path, precision)
        runtime = litert.Network(os.fspath(path))
        return _time(lambda: runtime.run(images[:1]))


def time_step(variant: variants.Variant) -> float:
    """Returns the median milliseconds of a training step in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "network.json"
        registry.write_file(path, variant)
        job = jobs.Job(os.fspath(path), batch_size=STEP_BATCH, batches=10)
        return jobs.run_apart(step_time.measure_step_time, job)["step_ms"]


def _time(call):
    times = []
    for _ in range(WARMUP_CALLS + CALLS):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return 1e3 * float(np.median(times[WARMUP_CALLS:]))


_MEASURED: dict[str, Callable[[variants.Variant], float]] = {
    "latency_ms": lambda variant: time_litert(variant, "float32"),
    "latency_int8_ms": lambda variant: time_litert(variant, "int8"),
    "step_ms": time_step,
}
