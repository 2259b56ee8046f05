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
UNKNOWN = flags.DEFINE_bool(
    "unknown",
    False,
    'Of a fine-tuning run: answer "none of these" where an image is unlike '
    "all classes.",
)
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
    CLASSIFIER.check(several=not UNKNOWN.value)
    paths = image_arguments.find(argv[1:])
    classifier = _load()
    if UNKNOWN.value:
        CLASSIFIER.check_unknown(classifier)
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


def _load():
    """Returns the classifier, or the mean of a cross-validation's."""
    if not CLASSIFIER.folds:
        return CLASSIFIER.load()
    from efficientnet_tf.inference import ensembles

    return ensembles.from_runs(CLASSIFIER.folds)


def _predict(classifier, paths):
    """Writes and prints predictions; returns (rows of a table, unreadable)."""
    import tqdm

    in_table = len(paths) <= IN_TABLE
    in_lines = not (in_table or OUTPUT.value)
    top, outputs = TOP.value, classifier.outputs
    rows, unreadable = [], 0
    with contextlib.ExitStack() as stack:
        if in_table:  # Also after Ctrl-C.
            stack.callback(lambda: _print_table(rows, classifier.unknown))
        write = None
        if OUTPUT.value:
            writer = prediction_files.open_writer(
                OUTPUT.value, top, outputs, _list_fields(classifier)
            )
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
        for path, found, unknown in _predict_each(classifier, paths):
            row = prediction_files.make_row(path, found, outputs, top, unknown)
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
    found = {"prediction": _answer(row), "probability": row["probability"]}
    if "unknown_score" in row:
        found["unknown_score"] = row["unknown_score"]
    return found


def _to_line(row):
    file = tables.to_line(row["file"])
    if "numbers" in row:
        numbers = [f"{name}={v:.6g}" for name, v in row["numbers"].items()]
        return "\t".join([file, *numbers])
    if "labels" in row:
        return f"{file}\t{targets.SEPARATOR.join(row['labels'])}"
    return f"{file}\t{row['probability']:.1%}\t{_answer(row)}"


def _list_fields(classifier):
    """Returns the fields that rows have of unknown images."""
    from efficientnet_tf.inference import unknown

    return unknown.FIELDS if classifier.unknown is not None else ()


def _predict_each(classifier, paths):
    """Yields (path, probabilities or error, what is said of it if unknown)."""
    if classifier.unknown is None:
        for path, found in classifier.predict_each(paths):
            yield path, found, files.NOTHING
        return
    for path, found in classifier.embed_each(paths):
        if isinstance(found, OSError):
            yield path, found, files.NOTHING
            continue
        best = classifier.class_names[found.probabilities.argmax()]
        unknown = classifier.unknown.describe(found.features, best)
        yield path, found.probabilities, unknown


def _answer(row):
    """Returns what is shown: the class or, by --unknown, the answer."""
    return row["answer"] if UNKNOWN.value else row["class"]


def _print_table(rows, detector):
    if rows and ("numbers" in rows[0] or "labels" in rows[0]):
        _print_target_table(rows)
        return
    header, lines = ["image", "", "class"], []
    if UNKNOWN.value:
        header.append(f"unlike (limit {detector.threshold:.3f})")
    for row in rows:
        top = row["top"]
        if UNKNOWN.value and row["answer"] != row["class"]:
            # Its classes only compare with each other.
            top = [{"class": row["answer"]}]
        for rank, best in enumerate(top):
            share = best.get("probability")
            cells = [
                "" if rank else tables.to_line(row["file"]),
                "" if share is None else f"{share:.1%}",
                best["class"],
            ]
            if UNKNOWN.value:
                cells.append("" if rank else f"{row['unknown_score']:.3f}")
            lines.append(cells)
    if lines:
        print(tables.to_text(header, lines, left=(0, 2)), flush=True)


def _print_target_table(rows):
    header, lines, left = ("image", "", ""), [], (0, 1)
    for row in rows:
        file = tables.to_line(row["file"])
        if "numbers" in row:
            cells = [(n, f"{v:.6g}") for n, v in row["numbers"].items()]
        else:
            header, left = ("image", "", "label", "has it"), (0, 2)
            cells = [
                (
                    f"{best['probability']:.1%}",
                    best["label"],
                    "yes" if best["label"] in row["labels"] else "no",
                )
                for best in row["top"]
            ]
        lines += [
            ("" if rank else file, *each) for rank, each in enumerate(cells)
        ]
    print(tables.to_text(header, lines, left=left), flush=True)


if __name__ == "__main__":
    program.run(main)
