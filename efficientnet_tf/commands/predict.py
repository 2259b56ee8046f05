r"""Classifies image files, or says their labels or numbers.

efficientnet predict --model=efficientnet_lite0 --weights=imagenet \
    IMAGE.jpg FOLDER "photos/*.jpg" --output=predictions.csv

A folder stands for all images below it, and - for a list of files on standard
input, one a line or, as find -print0 writes it, separated by zero bytes.
"""

import contextlib
import pathlib
import sys

from absl import flags

from efficientnet_tf.commands import (
    classifier_flags,
    image_arguments,
    program,
)
from efficientnet_tf.inference import prediction_files
from efficientnet_tf.utils import files, tables, targets

CLASSIFIER = classifier_flags.ClassifierFlags()
TOP = flags.DEFINE_integer("top", 5, "How many classes to name per image.", 1)
OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "A .csv, .json or .jsonl file for all predictions, one image per row.",
)

# Up to so many images, a table has all of the top classes; for more, a line
# per image the first.
IN_TABLE = 20


def main(argv: list[str]) -> None:
    image_arguments.check(argv[1:])
    if OUTPUT.value:
        prediction_files.check(OUTPUT.value)
        files.check_folder(pathlib.Path(OUTPUT.value).parent)
    CLASSIFIER.check()
    paths = image_arguments.find(argv[1:])
    classifier = CLASSIFIER.load()
    shown, unreadable = _predict(classifier, paths)
    if len(paths) == unreadable == 1:
        sys.exit(program.FAILURE)  # The one file's error is printed.
    result = {
        "images": len(paths) - unreadable,
        "unreadable": unreadable,
        "output": OUTPUT.value,
    }
    if len(paths) == 1 and not unreadable:
        result |= _describe(shown[0])
    program.print_result(result)
    image_arguments.fail_if_unreadable(unreadable, len(paths))


def _predict(classifier, paths):
    """Writes and prints predictions; returns (rows of a table, unreadable)."""
    import tqdm

    in_table = len(paths) <= IN_TABLE
    in_lines = not (in_table or OUTPUT.value)
    top, outputs = TOP.value, classifier.outputs
    rows, unreadable = [], 0
    with contextlib.ExitStack() as stack:
        if in_table:  # Also after Ctrl-C.
            stack.callback(lambda: _print_table(rows))
        write = None
        if OUTPUT.value:
            writer = prediction_files.open_writer(OUTPUT.value, top, outputs)
            write = stack.enter_context(writer)
            program.advise(f"{OUTPUT.value} has the predictions so far.")
        bar = tqdm.tqdm(
            desc="Predicting",
            total=len(paths),
            unit="image",
            # A bar among lines on the same terminal would be torn.
            disable=True if in_table or in_lines else None,
        )
        stack.enter_context(bar)
        for path, found in classifier.predict_each(paths):
            row = prediction_files.make_row(path, found, outputs, top)
            if write:
                write(row)
            if "error" in row:
                unreadable += 1
                program.print_error(row["error"])
            elif in_table:
                rows.append(row)
            elif in_lines:
                print(_to_line(row))
            bar.update()
    return rows, unreadable


def _describe(row):
    """Returns the answer for one image, flat, for the command's result."""
    if "numbers" in row:
        return {
            f"prediction_{name}": number
            for name, number in row["numbers"].items()
        }
    if "labels" in row:
        return {"prediction": targets.SEPARATOR.join(row["labels"])}
    return {"prediction": row["class"], "probability": row["probability"]}


def _to_line(row):
    file = tables.to_line(row["file"])
    if "numbers" in row:
        numbers = [f"{name}={v:.6g}" for name, v in row["numbers"].items()]
        return "\t".join([file, *numbers])
    if "labels" in row:
        return f"{file}\t{targets.SEPARATOR.join(row['labels'])}"
    return f"{file}\t{row['probability']:.1%}\t{row['class']}"


def _print_table(rows):
    if not rows:
        return
    header, lines, left = ("image", "", "class"), [], (0, 2)
    for row in rows:
        if "numbers" in row:
            header, left = ("image", "", ""), (0, 1)
            lines += [
                ("" if rank else tables.to_line(row["file"]), name, f"{v:.6g}")
                for rank, (name, v) in enumerate(row["numbers"].items())
            ]
            continue
        has = row.get("labels")
        if has is not None:
            header, left = ("image", "", "label", "has it"), (0, 2)
        for rank, best in enumerate(row["top"]):
            name = best["class"] if has is None else best["label"]
            mark = () if has is None else ("yes" if name in has else "no",)
            lines.append(
                (
                    "" if rank else tables.to_line(row["file"]),
                    f"{best['probability']:.1%}",
                    name,
                    *mark,
                )
            )
    print(tables.to_text(header, lines, left=left), flush=True)


if __name__ == "__main__":
    program.run(main)
