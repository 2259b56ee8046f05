"""The table of networks' costs: counted, published and measured here."""

import dataclasses
from collections.abc import Callable, Sequence

from efficientnet_tf.measure import jobs, latency, memory
from efficientnet_tf.models import costs, outputs, published, variants
from efficientnet_tf.training import memory as training_memory
from efficientnet_tf.utils import tables

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
    *(f"latency_p{p}_ms" for p in latency.PERCENTILES),
    "images_per_second",
    "note",
)
# Columns of text, which are aligned to the left.
_WORDS = ("model", "precision", "backend", "device", "note")

# The measurements, each of which runs in a process of its own.
PARTS: dict[str, Callable[[jobs.Job], dict]] = {
    "measure_latency": latency.measure_latency,
    "measure_training_memory": memory.measure_training_memory,
}


def count_costs(job: jobs.Job) -> dict:
    """Returns a row with a job's counted costs and the published ones.

    Published multiply-adds and accuracy hold for the published resolution only,
    so they are None at others.
    """
    counted = costs.count_costs(job.variant)
    row = dict.fromkeys(COLUMNS)
    row.update(dataclasses.asdict(job), resolution=job.size, note="")
    theirs = published.VARIANTS.get(job.model)
    if theirs is not None:
        row["published_params_m"] = theirs.params
        if job.size == variants.VARIANTS[job.model].resolution:
            row["published_multiply_adds_g"] = theirs.multiply_adds
            row["published_top1"] = theirs.top1
    width = training_memory.BYTES[job.precision]
    row.update(
        params_m=counted.params / 1e6,
        multiply_adds_g=counted.multiply_adds / 1e9,
        activations_m=counted.activations / 1e6,
        activation_memory_mb=outputs.count_outputs(job.variant)
        * width
        * job.batch_size
        / 1e6,
    )
    return {column: row[column] for column in COLUMNS}


def measure_costs(job: jobs.Job) -> dict:
    """Returns the row of `count_costs` with measured time and memory added.

    If a measurement fails, e.g. out of memory, the row's note says why.
    """
    row = count_costs(job)
    notes = []
    for part in PARTS.values():
        try:
            row.update(jobs.run_apart(part, job))
        except RuntimeError as error:
            notes.append(str(error))
    return {**row, "note": " ".join(notes)}


def to_text(rows: Sequence[dict]) -> str:
    """Returns rows as aligned text, without columns that are empty in all."""
    columns = [
        column
        for column in COLUMNS
        if any(row[column] not in (None, "") for row in rows)
    ]
    left = [i for i, column in enumerate(columns) if column in _WORDS]
    cells = [[_text(row[column]) for column in columns] for row in rows]
    return tables.to_text(columns, cells, left)


def _text(value):
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
