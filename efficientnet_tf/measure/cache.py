"""A cache file of measurements on this machine, each saved at once."""

import dataclasses
import importlib.metadata
import os
import pathlib
import platform
import time

from absl import logging

from efficientnet_tf.measure import cost_table, jobs, latency
from efficientnet_tf.utils import cache_folder, configs, files, processor

CACHE_FILE = "measurements.jsonl"

# Environment variables and packages that a measurement depends on.
_VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_NUM_INTRAOP_THREADS",
    "XLA_FLAGS",
)
_PACKAGES = ("efficientnet-tf", "jax", "keras", "tensorflow")


@dataclasses.dataclass(frozen=True)
class Bench:
    """How to measure, and the file that caches the results.

    `percentile` is that of the latency, one of `latency.PERCENTILES`.
    """

    batch_size: int = 1
    precision: str = "float32"
    backend: str = "tensorflow"
    batches: int = 50
    percentile: int = 50
    cache: str | None = None  # None: in `cache_folder.cache_dir`.

    def __post_init__(self):
        self.job("efficientnet_b0", None)  # Checks the other fields.
        if self.percentile not in latency.PERCENTILES:
            raise ValueError(
                configs.unknown(
                    "percentile", self.percentile, latency.PERCENTILES
                )
            )

    @property
    def path(self) -> pathlib.Path:
        """The cache file."""
        return pathlib.Path(
            self.cache or os.path.join(cache_folder.cache_dir(), CACHE_FILE)
        ).expanduser()

    def job(self, model: str, resolution: int | None) -> jobs.Job:
        """Returns the job that measures a network under these conditions."""
        return jobs.Job(
            model,
            resolution=resolution,
            batch_size=self.batch_size,
            precision=self.precision,
            backend=self.backend,
            batches=self.batches,
        )


def measure(part: str, job: jobs.Job, bench: Bench) -> dict:
    """Returns the result of a part of `cost_table.PARTS`.

    It is read from `bench.path` if it was measured before; otherwise it is
    measured and saved there at once.

    Raises:
      RuntimeError: it could not be measured, see `jobs.run_apart`.
    """
    conditions = dataclasses.asdict(job)
    # The specification instead of the name: a variant file may change.
    del conditions["model"], conditions["resolution"]
    key = files.to_json_types(
        {
            "part": part,
            "network": dataclasses.asdict(job.variant),
            "job": conditions,
            "machine": _machine(),
        }
    )
    rows = _read(bench.path)
    kept = [r for r in rows if {name: r.get(name) for name in key} == key]
    if kept:
        logging.log_first_n(
            logging.INFO,
            "Using earlier measurements; delete %s to measure again.",
            1,
            bench.path,
        )
        return kept[-1]["measured"]
    measured = jobs.run_apart(cost_table.PARTS[part], job)
    date = time.strftime("%Y-%m-%d %H:%M")
    row = {**key, "date": date, "measured": measured}
    try:
        files.append_json_line(bench.path, row)
    except OSError as error:
        logging.warning("Cannot keep the measurement: %s", error)
    return measured


def _read(path):
    """Returns earlier measurements; none if the file cannot be read."""
    try:
        return files.read_json_lines(path, {"measured": dict})
    except FileNotFoundError:
        return []
    except OSError as error:
        logging.warning("Cannot read earlier measurements: %s", error)
        return []


def _machine():
    """Returns what a measurement depends on besides its job."""
    return {
        "host": platform.node(),
        "processor": processor.name(),
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
