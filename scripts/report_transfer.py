"""Renders the paper's transfer table from the results of fine-tuning runs.

python scripts/report_transfer.py --results=runs/f/results.jsonl
"""

import cli
from absl import flags

from efficientnet_tf import files
from transfer import report

RESULTS = flags.DEFINE_list(
    "results", None, "One or more results.jsonl, separated by commas."
)
OUTPUT = flags.DEFINE_string("output", None, "A Markdown file to write, too.")
flags.mark_flag_as_required("results")


def main(_):
    rows = report.read_results(RESULTS.value)
    summary = report.summarize(rows)
    table = report.render(summary)
    print(table)
    if OUTPUT.value:
        files.write_text(OUTPUT.value, table)
    compared = [row for row in summary if row.get("published")]
    cli.print_result(
        {
            "rows": len(summary),
            "results": len(rows),
            "compared": len(compared),
            "complete": sum(bool(row.get("complete")) for row in compared),
            "output": OUTPUT.value,
        }
    )


if __name__ == "__main__":
    cli.run(main)
