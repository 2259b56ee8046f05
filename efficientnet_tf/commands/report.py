"""Renders the paper's transfer tables from fine-tuning results.

efficientnet report --results=runs/f/results.jsonl --output=report
"""

from absl import flags

from efficientnet_tf.commands import program

RESULTS = flags.DEFINE_list(
    "results",
    None,
    "One or more results.jsonl, or workdirs, separated by commas.",
)
OUTPUT = flags.DEFINE_string(
    "output", None, "A folder for the whole report: HTML, Markdown, CSV, PNG."
)
flags.mark_flag_as_required("results")


def main(_: list[str]) -> None:
    from efficientnet_tf.utils import extras, files
    from transfer.report import results, write

    if OUTPUT.value:
        extras.require("Charts", "matplotlib")
        files.check_folder(OUTPUT.value)
    rows = results.read_results(RESULTS.value)
    summary = results.summarize(rows)
    print(results.render(summary))
    written = write.write(summary, OUTPUT.value) if OUTPUT.value else []
    compared = [row for row in summary if row.get("published")]
    program.print_result(
        {
            "rows": len(summary),
            "results": len(rows),
            "compared": len(compared),
            "complete": sum(bool(row.get("complete")) for row in compared),
            "output": OUTPUT.value,
            "files": written,
        }
    )


if __name__ == "__main__":
    program.run(main)
