"""Measures networks: size, multiply-adds, latency and memory.

efficientnet measure --model=efficientnet_b0 --batch_size=8
efficientnet measure --models=all --table --output=/tmp/costs
"""

import pathlib

from absl import flags, logging

from efficientnet_tf.commands import program, shared

MODEL = flags.DEFINE_string("model", None, shared.MODEL_HELP)
MODELS = flags.DEFINE_list(
    "models", [], "In place of --model: several, or all."
)
RESOLUTION = flags.DEFINE_integer(
    "resolution", None, "Pixels a side; each network's own if unset."
)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 1, "Images per batch.")
PRECISION = flags.DEFINE_string(
    "precision", "float32", "float32, mixed_bfloat16 or mixed_float16."
)
BACKEND = flags.DEFINE_string("backend", "tensorflow", "tensorflow or jax.")
WARMUP_BATCHES = flags.DEFINE_integer(
    "warmup_batches", 5, "Batches before the timed ones.", 0
)
BATCHES = flags.DEFINE_integer("batches", 50, "Batches that are timed.")
TABLE = flags.DEFINE_boolean(
    "table", False, "Count costs beside the published ones; measure nothing."
)
OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "A folder for CSV files and plots; with --model also of its layers and "
    "stages.",
)


def main(_: list[str]) -> None:
    if bool(MODEL.value) == bool(MODELS.value):
        raise ValueError("Pass either --model or --models.")
    from efficientnet_tf.measure import cost_table, jobs
    from efficientnet_tf.models import registry
    from efficientnet_tf.utils import extras, files

    shared.check_backend(BACKEND.value)
    if OUTPUT.value:
        extras.require("Plots", "matplotlib")
        files.check_folder(OUTPUT.value)
    names = [MODEL.value] if MODEL.value else MODELS.value
    wanted = [
        jobs.Job(
            name,
            resolution=RESOLUTION.value,
            batch_size=BATCH_SIZE.value,
            precision=PRECISION.value,
            backend=BACKEND.value,
            warmup_batches=WARMUP_BATCHES.value,
            batches=BATCHES.value,
        )
        for name in (registry.list_models() if names == ["all"] else names)
    ]
    measure = (
        cost_table.count_costs if TABLE.value else cost_table.measure_costs
    )
    rows: list[dict] = []
    try:
        for job in wanted:
            logging.info("%s (%d of %d)", job.model, len(rows) + 1, len(wanted))
            rows.append(measure(job))
    finally:  # After Ctrl-C too: a row can take minutes.
        if rows:
            print(cost_table.to_text(rows), flush=True)
    if OUTPUT.value:
        _write(pathlib.Path(OUTPUT.value), rows)
        if MODEL.value:
            _write_parts(pathlib.Path(OUTPUT.value), wanted[0])
    result = rows[0] if MODEL.value else {"networks": len(rows)}
    program.print_result({**result, "output": OUTPUT.value})


def _write(folder, rows):
    from efficientnet_tf.measure import cost_charts, cost_table
    from efficientnet_tf.utils import figures, files, tables

    text = tables.to_csv(cost_table.COLUMNS, rows)
    files.write_text(folder / "costs.csv", text)
    images = {
        "accuracy": cost_charts.accuracy_image(cost_charts.accuracy_points())
    }
    if not TABLE.value:
        images["measured"] = cost_charts.measured_image(rows)
    for name, image in images.items():
        figures.write_png(folder / f"{name}.png", image)


def _write_parts(folder, job):
    """Writes what each layer and each stage costs."""
    import dataclasses

    from efficientnet_tf.models import builder, profile as profile_lib
    from efficientnet_tf.utils import files, tables

    profile = profile_lib.profile(builder.build(job.variant))
    for name in ("layers", "stages"):
        rows = [dataclasses.asdict(part) for part in getattr(profile, name)]
        files.write_text(folder / f"{name}.csv", tables.to_csv(rows[0], rows))


if __name__ == "__main__":
    program.run(main, interrupted="Interrupted; above is what was measured.")
