"""Compares two runs on the images that both were scored on.

efficientnet compare runs/linear runs/full --output=runs/compared
"""

import dataclasses
import os
import pathlib

from absl import flags

from efficientnet_tf.commands import program, shared, summary
from efficientnet_tf.utils import files, tables, words

OUTPUT = flags.DEFINE_string(
    "output", None, "A folder for the comparison as an HTML page."
)
DATA_DIR = flags.DEFINE_string("data_dir", None, shared.DATA_DIR_HELP)

PAGE = "compare.html"
MOST_CLASSES, MOST_IMAGES = 15, 10  # Of a list on the screen.


def main(argv: list[str]) -> None:
    from transfer.report import compare, compare_page, run_files

    folders = argv[1:]
    if len(folders) != 2:
        raise ValueError(
            "Give two finished runs, as in `efficientnet compare RUN RUN`, not "
            f"{len(folders)}."
        )
    if os.path.realpath(folders[0]) == os.path.realpath(folders[1]):
        raise ValueError(f"{folders[0]} and {folders[1]} are one run.")
    if OUTPUT.value:
        files.check_folder(OUTPUT.value)
    runs = [run_files.read(program.expand_home(each)) for each in folders]
    found = compare.compare(*map(_predict, runs))
    numbers = compare.measure(found)
    path = None
    if OUTPUT.value:
        path = str(pathlib.Path(OUTPUT.value) / PAGE)
        files.write_text(path, compare_page.compose(found))
    _print(found, numbers, path)
    program.print_result(
        {"first": folders[0], "second": folders[1], **numbers, "page": path}
    )


def _predict(run):
    """Returns a run with predictions, which earlier versions did not keep."""
    # Of labels or numbers there are none: `compare` refuses them.
    if run.found is not None or run.row.get("target"):
        return run
    from absl import logging

    logging.info("%s keeps no predictions; predicting its images.", run.folder)
    from efficientnet_tf.commands import held_out
    from efficientnet_tf.inference import classifier as classifier_lib
    from transfer.scores import image_names, predictions
    from transfer.training import scoring

    images = held_out.of_run(str(run.folder), DATA_DIR.value).scored
    classifier = classifier_lib.from_run(run.folder)
    collector = predictions.Collector(images.size)
    scoring.score(classifier, images, collector.keep)
    names = image_names.describe(images)
    row = {**run.row, "class_names": list(classifier.class_names)}
    return dataclasses.replace(run, row=row, found=collector.collect(names))


def _print(found, numbers, path):
    from transfer.report import compare_page

    first, second = found.runs
    lost, gained = numbers["lost"], numbers["gained"]
    summary.print_summary(
        f"Compared {second.folder} with {first.folder} on "
        f"{words.count(found.images, 'image')}, matched by {found.how}.",
        {
            "first, accuracy": summary.percent_text(numbers["first_top1"]),
            "second, accuracy": summary.percent_text(numbers["second_top1"]),
            "difference": compare_page.difference_text(
                *(numbers[name] for name in ("difference", "low", "high"))
            ),
            "McNemar's test": (
                f"p {compare_page.probability_text(numbers['p_value'])}: the "
                f"second alone is right on {gained:,}, the first alone on "
                f"{words.count(lost, 'image')}"
            ),
            "mean per class": compare_page.difference_text(
                numbers["mean_per_class_difference"],
                numbers["mean_per_class_low"],
                numbers["mean_per_class_high"],
            ),
            "left out": "; ".join(found.left_out) or None,
            "page": path,
        },
    )
    rows = [
        row
        for row in compare_page.class_rows(found, len(found.classes))
        if row[4:] != ("0", "0")
    ]
    _print_table(
        "Classes that changed", compare_page.CLASSES_HEADER, rows, MOST_CLASSES
    )
    for title, changed in (("Lost", found.lost), ("Gained", found.gained)):
        _print_table(
            title,
            compare_page.IMAGES_HEADER,
            compare_page.image_rows(found, changed),
            MOST_IMAGES,
        )


def _print_table(title, header, rows, most):
    if not rows:
        return
    left = range(len(header)) if "image" in header else (0,)
    print(f"{title}:")
    print(tables.to_text(header, rows[:most], left))
    if len(rows) > most:
        print(f"and {len(rows) - most:,} more")
    print(flush=True)


if __name__ == "__main__":
    program.run(main)
