"""Writes tables and figures of results beside the paper's.

efficientnet report --results=runs/grid --output=runs/report
"""

from absl import flags

from efficientnet_tf.commands import program, summary

RESULTS = flags.DEFINE_list(
    "results",
    None,
    "results.jsonl files, or workdirs with one, separated by commas.",
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
    joined = results.summarize(rows)
    print(results.render(joined))
    written = write.write(joined, OUTPUT.value) if OUTPUT.value else []
    if written:
        summary.print_summary(
            f"Wrote {len(written)} files to {OUTPUT.value}.",
            {"page": f"{OUTPUT.value}/report.html", "all": ", ".join(written)},
        )
    compared = [row for row in joined if row.get("published")]
    program.print_result(
        {
            "rows": len(joined),
            "results": len(rows),
            "compared": len(compared),
            "complete": sum(bool(row.get("complete")) for row in compared),
            "output": OUTPUT.value,
            "files": len(written),
        }
    )


if __name__ == "__main__":
    program.run(main)
