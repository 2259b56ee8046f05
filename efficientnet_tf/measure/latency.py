"""What a network takes on this machine: time and memory, beside its costs."""

import csv
import dataclasses
import functools
import json
import os
import pathlib
import subprocess
import sys
import time

import keras
import numpy as np

from efficientnet_tf.models import (
    builder,
    costs,
    profile,
    published,
    registry,
    variants,
)
from efficientnet_tf.training import distribution, memory
from efficientnet_tf.utils import configs, files

BACKENDS = ("tensorflow", "jax")

# Of each measured batch; ours.
PERCENTILES = (50, 95, 99)

COLUMNS = (
    "model",
    "resolution",
    "batch_size",
    "precision",
    "backend",
    "device",
    "params_m",
    "published_params_m",
    "multiply_adds_g",
    "published_multiply_adds_g",
    "published_top1",
    "activations_m",
    "activation_memory_mb",
    "training_memory_mb",
    "runtime_memory_mb",
    *(f"latency_p{p}_ms" for p in PERCENTILES),
    "images_per_second",
    "note",
)


@dataclasses.dataclass(frozen=True)
class Job:
    """A network and the conditions to measure it under.

    `model` is a name or a variant file. `resolution` is in pixels, None for
    the network's own. `batches` are timed after `warmup_batches`. `backend` is
    that of the processes that measure.
    """

    model: str
    resolution: int | None = None
    batch_size: int = 1
    precision: str = "float32"
    backend: str = "tensorflow"
    warmup_batches: int = 5
    batches: int = 50

    def __post_init__(self):
        configs.check_types(self)
        _check_choice("precision", self.precision, configs.PRECISIONS)
        _check_choice("backend", self.backend, BACKENDS)
        _ = self.network  # Checks the name, the file and the resolution.
        for field in ("batch_size", "batches"):
            if getattr(self, field) < 1:
                raise ValueError(
                    f"{field} must be at least 1, got {getattr(self, field)}."
                )

    @functools.cached_property
    def network(self):
        """The `Variant` that is measured."""
        network = registry.get_variant(self.model)
        if self.resolution is None:
            return network
        return dataclasses.replace(network, resolution=self.resolution)

    @property
    def size(self):
        return self.network.resolution


def names():
    """Returns every network that can be measured by name."""
    return registry.list_models()


def count(job):
    """Returns a row with a job's costs, and the published ones beside them.

    The published multiply-adds hold for the published resolution only, so
    they are None at others.
    """
    found = profile.profile(builder.build(job.network))
    row = dict.fromkeys(COLUMNS)
    row.update(dataclasses.asdict(job), resolution=job.size, note="")
    theirs = published.VARIANTS.get(job.model)
    if theirs is not None:
        row["published_params_m"] = theirs.params
        if job.size == variants.VARIANTS[job.model].resolution:
            row["published_multiply_adds_g"] = theirs.multiply_adds
            row["published_top1"] = theirs.top1
    row.update(
        params_m=found.params / 1e6,
        multiply_adds_g=found.multiply_adds / 1e9,
        activations_m=found.activations / 1e6,
        activation_memory_mb=(
            found.outputs * memory.BYTES[job.precision] * job.batch_size / 1e6
        ),
    )
    return {column: row[column] for column in COLUMNS}


def measure(job):
    """Returns the row of `count` with time and memory measured on top.

    Each part runs in a process of its own. What fails there, for want of
    memory say, is told in the row's note.
    """
    row = run_apart(count, job)
    notes = []
    for part in (measure_latency, measure_training_memory):
        try:
            row.update(run_apart(part, job))
        except RuntimeError as error:
            notes.append(str(error))
    return {**row, "note": " ".join(notes)}


def measure_latency(job):
    """Times prediction in this process, after a warm-up, batch by batch.

    Includes what a caller waits for: images in, probabilities out.
    """
    distribution.set_precision(job.precision)
    network = builder.build(job.network)
    network.compile()
    images = _images(job)
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


def measure_training_memory(job):
    """Trains two batches and returns the peak of memory in megabytes.

    On an accelerator its own memory, else this process's: there
    "runtime_memory_mb" says what it had before the network was built.

    Raises:
      MemoryError: see `memory.check_memory`.
    """
    distribution.set_precision(job.precision)
    runtime = memory.peak_mb()
    cost = costs.count_costs(job.network)
    memory.check_memory(cost, job.batch_size, job.precision)
    network = builder.build(job.network)
    network.compile(
        optimizer=keras.optimizers.SGD(1e-3, momentum=0.9),
        loss="sparse_categorical_crossentropy",
    )
    labels = np.arange(job.batch_size) % 1000
    for _ in range(2):  # The optimizer makes its slots in the first one.
        network.train_on_batch(_images(job), labels)
    return {
        "training_memory_mb": memory.peak_mb(),
        "runtime_memory_mb": runtime,
    }


def run_apart(function, job):
    """Calls `function(job)` in a new process on the job's backend.

    Raises:
      RuntimeError: the process failed; says how.
    """
    program = (
        "import json, sys\n"
        "from efficientnet_tf.measure import latency\n"
        "job = latency.Job(**json.loads(sys.argv[2]))\n"
        "print(json.dumps(getattr(latency, sys.argv[1])(job)))\n"
    )
    root = str(pathlib.Path(__file__).parents[2])
    path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH")) if p)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            program,
            function.__name__,
            json.dumps(dataclasses.asdict(job)),
        ],
        env={**os.environ, "KERAS_BACKEND": job.backend, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        reason = lines[-1]
        if done.returncode < 0:
            reason = f"killed by signal {-done.returncode}, memory perhaps"
        raise RuntimeError(f"{function.__name__} failed: {reason}.")
    return json.loads(done.stdout.strip().splitlines()[-1])


def write_csv(path, rows):
    """Writes dicts with the same keys, whole or not at all."""
    with files.atomic(path) as temporary:
        with open(temporary, "w", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def as_table(rows):
    """Returns rows as aligned text, without the columns that all leave out."""
    columns = [
        column
        for column in COLUMNS
        if any(row[column] not in (None, "") for row in rows)
    ]
    lines = [columns, *([_text(row[c]) for c in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def _text(value):
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _images(job):
    shape = (job.batch_size, job.size, job.size, 3)
    return np.random.default_rng(0).uniform(0, 255, shape).astype("float32")


def _check_choice(what, value, choices):
    if value not in choices:
        raise ValueError(
            f"Unknown {what} {value!r}; choose one of {', '.join(choices)}."
        )
