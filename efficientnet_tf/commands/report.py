"""Writes the report of a run, or of many beside the paper's.

efficientnet report --workdir=runs/photos
efficientnet report --results=runs/grid --output=runs/report
"""

from absl import flags

from efficientnet_tf.commands import program, summary

WORKDIR = flags.DEFINE_string(
    "workdir", None, "A finished fine-tuning run: one HTML page, of its images."
)
RESULTS = flags.DEFINE_list(
    "results",
    None,
    "Of several runs: results.jsonl files, or workdirs with one, separated by "
    "commas.",
)
OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "A folder for the report; that of --workdir is by default the run's. Of "
    "several runs: HTML, Markdown, CSV, PNG.",
)


def main(_: list[str]) -> None:
    if (WORKDIR.value is None) == (RESULTS.value is None):
        raise ValueError(
            "Give --workdir, one run, or --results, several, and not both."
        )
    from transfer.report import run_files

    paths = RESULTS.value or []
    if WORKDIR.value:
        _report_run(WORKDIR.value)
    elif len(paths) == 1 and run_files.is_run(paths[0]):
        _report_run(paths[0])
    else:
        _report_results(paths)


def _report_run(workdir):
    from transfer.report import run_files, run_report

    run = run_files.read(workdir)
    path = str(run_report.write(run, OUTPUT.value))
    summary.print_summary(f"Wrote the report of {workdir}.", {"page": path})
    program.print_result(
        {
            "workdir": workdir,
            "task": run.row["task"],
            "metric": run.row["metric"],
            "score": run.row["score"],
            "page": path,
            "left_out": len(run.notes),
        }
    )


def _report_results(paths):
    from efficientnet_tf.utils import extras, files
    from transfer.report import results, write

    if OUTPUT.value:
        extras.require("Charts", "matplotlib")
        files.check_folder(OUTPUT.value)
    rows = results.read_results(paths)
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
