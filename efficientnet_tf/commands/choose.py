r"""Recommends a network and resolution for budgets, measured here.

efficientnet choose --max_latency_ms=60
efficientnet choose --max_params=10e6 --max_memory=2500 \
    --batch_size=8 --min_top1=79

Accuracy is the published ImageNet top-1, or with --results that of your own
transfer runs. What is measured is kept, so the next call asks less; killed at
any moment, the same command goes on. Exit code 1 if nothing meets the budgets.
"""

import os

from absl import flags, logging

from efficientnet_tf.commands import program, shared

MAX_LATENCY_MS = flags.DEFINE_float(
    "max_latency_ms", None, "Of predicting one batch, images in, scores out."
)
MAX_PARAMS = flags.DEFINE_float(
    "max_params", None, "Trainable parameters, classifier included: 6e6, say."
)
MAX_MEMORY = flags.DEFINE_float(
    "max_memory", None, "MB, the peak while training with --batch_size."
)
MIN_TOP1 = flags.DEFINE_float("min_top1", None, "In percent.")
RESULTS = flags.DEFINE_list(
    "results", [], "Your own results.jsonl, one or several."
)
TASK = flags.DEFINE_string("task", None, "Which of those results count.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 1, "Images a batch.")
PRECISION = flags.DEFINE_string(
    "precision", "float32", "Or mixed_bfloat16, mixed_float16."
)
BACKEND = flags.DEFINE_string("backend", "tensorflow", "Or jax.")
BATCHES = flags.DEFINE_integer("batches", 50, "Timed, after five that are not.")
PERCENTILE = flags.DEFINE_integer("percentile", 50, "Of latency; or 95, 99.")
CACHE = flags.DEFINE_string(
    "cache", None, "File of measurements; one in the user's cache by default."
)
OUTPUT = flags.DEFINE_string("output", "runs/choice.png", "The plot.")


def main(_: list[str]) -> None:
    from efficientnet_tf.measure import cache, choose, choose_report
    from efficientnet_tf.utils import extras

    limits = choose.Limits(
        max_latency_ms=MAX_LATENCY_MS.value,
        max_params=MAX_PARAMS.value,
        max_memory=MAX_MEMORY.value,
        min_top1=MIN_TOP1.value,
    )
    bench = cache.Bench(
        batch_size=BATCH_SIZE.value,
        precision=PRECISION.value,
        backend=BACKEND.value,
        batches=BATCHES.value,
        percentile=PERCENTILE.value,
        cache=CACHE.value,
    )
    shared.check_backend(BACKEND.value)
    extras.require("Plots", "matplotlib")
    candidates = _candidates()
    choose_report.check_output(OUTPUT.value)
    rows = choose.survey(candidates, limits, bench)
    print(choose_report.as_table(rows, limits))
    choose_report.write_image(OUTPUT.value, rows, limits)
    logging.info("The plot is %s.", OUTPUT.value)
    chosen = choose.choose(rows, limits)
    program.print_result(
        {
            "chosen": chosen,
            "accuracy": "own results" if RESULTS.value else "published",
            "front": [row["label"] for row in rows if row["on_front"]],
            "output": os.path.abspath(OUTPUT.value),
        }
    )


def _candidates():
    from efficientnet_tf.measure import choose

    if not RESULTS.value:
        if TASK.value:
            raise ValueError("--task goes with --results.")
        return choose.published_candidates()
    from transfer.report import results

    rows = results.summarize(results.read_results(RESULTS.value))
    return choose.own_candidates(rows, TASK.value)


if __name__ == "__main__":
    program.run(main)
