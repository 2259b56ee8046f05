"""Measurements of this machine, each kept in a file as soon as it is made."""

import dataclasses
import importlib.metadata
import os
import pathlib
import platform
import time

from absl import logging

from efficientnet_tf.measure import latency
from efficientnet_tf.utils import files
from efficientnet_tf.weights import downloads

CACHE_FILE = "measurements.jsonl"

# What a measurement depends on beside its job and the processor.
_VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_NUM_INTRAOP_THREADS",
    "XLA_FLAGS",
)
_PACKAGES = ("efficientnet-tf", "jax", "keras", "tensorflow")

# The share of the processors that others may take beside a measurement; ours.
MAX_BUSY = 0.25


@dataclasses.dataclass(frozen=True)
class Bench:
    """How to measure, and the file that keeps what was measured.

    `percentile` is of the latency, a row of `measuring.PERCENTILES`.
    """

    batch_size: int = 1
    precision: str = "float32"
    backend: str = "tensorflow"
    batches: int = 50
    percentile: int = 50
    cache: str | None = None  # None: in `downloads.cache_dir`.

    def __post_init__(self):
        self.job("efficientnet_b0", None)  # Checks the rest.
        if self.percentile not in latency.PERCENTILES:
            raise ValueError(
                f"Unknown percentile {self.percentile!r}; choose one of "
                f"{', '.join(map(str, latency.PERCENTILES))}."
            )

    @property
    def path(self):
        return pathlib.Path(
            self.cache or os.path.join(downloads.cache_dir(), CACHE_FILE)
        ).expanduser()

    def job(self, model, resolution):
        return latency.Job(
            model,
            resolution=resolution,
            batch_size=self.batch_size,
            precision=self.precision,
            backend=self.backend,
            batches=self.batches,
        )


def measure(part, job, bench):
    """Returns what a part of `measuring` finds, from `bench.path` if there.

    It is kept as soon as it is measured. What was measured while others kept
    the machine busy counts until it is quiet, and then is measured again.
    """
    conditions = dataclasses.asdict(job)
    # What the network is, not how it is called: a file may change.
    del conditions["model"], conditions["resolution"]
    key = {
        "part": part,
        "network": dataclasses.asdict(job.network),
        "job": conditions,
        "machine": _machine(),
    }
    rows = files.read_json_lines(bench.path) if bench.path.exists() else []
    kept = [r for r in rows if {name: r.get(name) for name in key} == key]
    if kept and kept[-1]["busy"] <= MAX_BUSY:
        return kept[-1]["measured"]
    busy = busy_share()
    if busy > MAX_BUSY:
        logging.log_first_n(
            logging.WARNING,
            "Other programs take %.0f %% of this machine, so times are too "
            "long; they will be measured again once it is quiet.",
            1,
            100 * busy,
        )
        if kept:
            return kept[-1]["measured"]
    measured = latency.run_apart(getattr(latency, part), job)
    date = time.strftime("%Y-%m-%d %H:%M")
    files.append_json_line(
        bench.path, {**key, "date": date, "busy": busy, "measured": measured}
    )
    return measured


def busy_share(seconds=0.5):
    """Returns the share of the processors' time that programs take now.

    0 where the system does not say.
    """
    before = _processor_times()
    time.sleep(seconds)
    spent = [b - a for a, b in zip(before, _processor_times(), strict=True)]
    if not sum(spent):
        return 0.0
    idle = sum(spent[3:5])  # Idle, and idle while waiting for a disk.
    return round(1 - idle / sum(spent), 3)


def _processor_times():
    try:
        first = pathlib.Path("/proc/stat").read_text().partition("\n")[0]
    except OSError:
        return []
    # The last two are of guests, and counted before.
    return [int(field) for field in first.split()[1:9]]


def _machine():
    """Returns what a measurement depends on beside its job."""
    return {
        "host": platform.node(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "allowed_cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else None,
        **{name: os.environ.get(name) for name in _VARIABLES},
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(": ")[2] for line in lines if "model name" in line]
    return names[0] if names else platform.processor()
