r"""Recommends a network and resolution for budgets, measured here.

efficientnet choose --max_latency_ms=60
efficientnet choose --max_params=10e6 --max_memory=2500 \
    --batch_size=8 --min_top1=79

Accuracy is the published ImageNet top-1, or with --results that of your own
transfer runs. Measurements are cached, so the next call measures only what is
new; killed at any moment, the same command resumes. The exit code is 1 if
nothing meets the budgets.
"""

import os

from absl import flags, logging

from efficientnet_tf.commands import program, shared, summary

MAX_LATENCY_MS = flags.DEFINE_float(
    "max_latency_ms", None, "Time to predict one batch."
)
MAX_PARAMS = flags.DEFINE_float(
    "max_params", None, "Trainable parameters with the classifier, e.g. 6e6."
)
MAX_MEMORY = flags.DEFINE_float(
    "max_memory", None, "Peak MB while training with --batch_size."
)
MIN_TOP1 = flags.DEFINE_float("min_top1", None, "Accuracy in percent.")
RESULTS = flags.DEFINE_list(
    "results", [], "Your own results.jsonl files, or workdirs with one."
)
TASK = flags.DEFINE_string("task", None, "The task whose results count.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 1, "Images per batch.")
PRECISION = flags.DEFINE_string("precision", "float32", shared.PRECISION_HELP)
BACKEND = flags.DEFINE_string("backend", "tensorflow", "tensorflow or jax.")
BATCHES = flags.DEFINE_integer(
    "batches", 50, "Batches that are timed, after five others."
)
PERCENTILE = flags.DEFINE_integer(
    "percentile", 50, "Percentile of the latency: 50, 95 or 99."
)
CACHE = flags.DEFINE_string(
    "cache", None, "File of measurements; in the user's cache if unset."
)
OUTPUT = flags.DEFINE_string(
    "output", "runs/choice.png", "The plot, a PNG file."
)


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
    source = "own results" if RESULTS.value else "published"
    fit = sum(row["verdict"] == "meets" for row in rows)
    _print_summary(chosen, fit, source)
    program.print_result(
        {
            **chosen,
            "accuracy": source,
            "networks_on_front": sum(row["on_front"] for row in rows),
            "output": os.path.abspath(OUTPUT.value),
        }
    )


def _print_summary(chosen, fit, source):
    model, pixels = chosen["model"], chosen["resolution"]
    summary.print_summary(
        f"Recommended: {model} at {pixels} pixels, "
        + (
            f"the most accurate of the {fit} that are within the limits."
            if fit > 1
            else "the only one that is within the limits."
        ),
        {
            "top-1 accuracy": f"{chosen['top1']:.1f} % ({source})",
            "parameters": f"{chosen['params'] / 1e6:.2f} M",
            "multiply-adds": f"{chosen['multiply_adds'] / 1e9:.2f} G",
            "plot": OUTPUT.value,
        },
        [
            ["efficientnet", "measure", f"--model={model}"]
            + [f"--resolution={pixels}"]
        ],
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
