"""Measures networks: size, multiply-adds, latency and memory.

efficientnet measure --model=efficientnet_b0 --batch_size=8
efficientnet measure --models=all --table --output=/tmp/costs
"""

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
PRECISION = flags.DEFINE_string("precision", "float32", shared.PRECISION_HELP)
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
    from efficientnet_tf.measure import cost_report, cost_table, jobs
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
        cost_report.write_networks(OUTPUT.value, rows, measured=not TABLE.value)
        if MODEL.value:
            cost_report.write_parts(OUTPUT.value, wanted[0])
    result = rows[0] if MODEL.value else {"networks": len(rows)}
    program.print_result({**result, "output": OUTPUT.value})


if __name__ == "__main__":
    program.run(main, "above is what was measured.")
