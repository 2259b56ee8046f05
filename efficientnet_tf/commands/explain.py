r"""Shows what a network looks at: activation maps over images.

efficientnet explain --model=efficientnet_lite0 --weights=imagenet \
    IMAGE.jpg FOLDER "photos/*.jpg" --output=explained

Images are named as for predict. Each gets a PNG in the folder: the whole image
with the part that the network saw outlined, then that part in colours by how
much each place speaks for a class. pictures.jsonl beside them lists the files.
"""

import contextlib
import os
import pathlib
import sys

from absl import flags

from efficientnet_tf.commands import classifier_flags, image_arguments, program
from efficientnet_tf.inference import prediction_files
from efficientnet_tf.utils import extras, files, tables, targets, words

CLASSIFIER = classifier_flags.ClassifierFlags()
CLASSES = flags.DEFINE_list(
    "classes",
    None,
    "The classes to show maps of, by name, in place of the most probable ones; "
    "a name with a comma in double quotes.",
)
TOP = flags.DEFINE_integer(
    "top", None, "How many of the most probable classes to show; 1 if unset.", 1
)
LAYER = flags.DEFINE_string(
    "layer",
    None,
    "A layer's name, for Grad-CAM; if unset, the exact map of the last "
    "features, which needs pooling and one dense layer behind them.",
)
OUTPUT = flags.DEFINE_string(
    "output", "explained", "The folder that the pictures go to."
)

# More panels cannot be told apart.
MOST_CLASSES = 12
LIST = "pictures.jsonl"
# Up to so many images are listed on the screen.
IN_TABLE = 20


def main(argv: list[str]) -> None:
    image_arguments.check(argv[1:])
    _check_classes()
    extras.require("Overlays", "matplotlib")
    output = pathlib.Path(OUTPUT.value)
    files.check_folder(output)
    CLASSIFIER.check()
    paths = _leave_out_own(image_arguments.find(argv[1:]), output)
    classifier = CLASSIFIER.load()
    if classifier.target == targets.NUMBERS:
        targets.check_class(
            classifier.target, "An activation map", CLASSIFIER.name
        )
    rows, unreadable = _explain(classifier, paths, output)
    if len(paths) == unreadable == 1:
        sys.exit(program.FAILURE)  # The one file's error is printed.
    program.print_result(
        {
            "images": len(paths) - unreadable,
            "unreadable": unreadable,
            "layer": LAYER.value,
            "output": OUTPUT.value,
        }
    )
    image_arguments.fail_if_unreadable(unreadable, len(paths))


def _check_classes():
    if CLASSES.value and TOP.value:
        raise ValueError("--top and --classes exclude each other.")
    count = len(CLASSES.value or ()) or TOP.value or 1
    if count > MOST_CLASSES:
        raise ValueError(
            f"{count} classes are too many for a picture; show at most "
            f"{MOST_CLASSES}."
        )


def _leave_out_own(paths, output):
    """Returns the images that are not in the folder of an earlier call."""
    own = output.resolve()
    kept = [path for path in paths if own not in path.resolve().parents]
    if len(kept) < len(paths):
        left_out = words.count(len(paths) - len(kept), "image")
        if not kept:
            raise ValueError(
                f"All images are in --output={output}; choose another folder."
            )
        program.print_error(f"{left_out} in {output} left out.")
    return kept


def _explain(classifier, paths, output):
    """Draws and lists images; returns (rows of the table, unreadable)."""
    import tqdm

    from efficientnet_tf.inference import explain, map_arguments

    compute = explain.make_maps(classifier, LAYER.value)
    classes = None
    if CLASSES.value:
        classes = map_arguments.find_classes(classifier, CLASSES.value)
    output.mkdir(parents=True, exist_ok=True)
    rows, unreadable, taken = [], 0, set()
    with contextlib.ExitStack() as stack:
        if len(paths) <= IN_TABLE:  # Also after Ctrl-C.
            stack.callback(lambda: _print_table(rows))
        writer = prediction_files.open_writer(output / LIST, 1)
        write = stack.enter_context(writer)
        program.advise(f"{output} has the pictures so far.")
        bar = tqdm.tqdm(
            desc="Explaining",
            total=len(paths),
            unit="image",
            disable=True if len(paths) <= IN_TABLE else None,
        )
        stack.enter_context(bar)
        for path, found in explain.explain_each(
            classifier, compute, paths, classes=classes, top=TOP.value or 1
        ):
            row = {"file": os.fspath(path)}
            if isinstance(found, OSError):
                unreadable += 1
                row["error"] = files.explain_error(found)
                program.print_error(row["error"])
            else:
                row |= _draw(found, classifier.class_names, path, output, taken)
                rows += [row] if len(paths) <= IN_TABLE else []
            write(row)
            bar.update()
    return rows, unreadable


def _draw(found, class_names, path, output, taken):
    """Writes a picture; returns the columns of its row."""
    from efficientnet_tf.inference import overlays
    from efficientnet_tf.utils import figures

    picture = output / _name_picture(path, taken)
    note = f"Grad-CAM, {LAYER.value}" if LAYER.value else ""
    drawn = overlays.draw(found, class_names, path.name, note)
    figures.write_png(picture, drawn)
    shown = [
        {"class": class_names[output], "probability": float(probability)}
        for output, probability in zip(
            found.classes, found.probabilities, strict=True
        )
    ]
    return {"picture": os.fspath(picture), "maps": shown}


def _name_picture(path, taken):
    """Returns a file's name with the ending .png, or with a number before it.

    Images of several folders, or cat.jpg and cat.png, may have one name.
    """
    stem, number = files.shorten_name(path.stem), 1
    name = f"{stem}.png"
    while name.lower() in taken:  # Some disks do not tell capitals apart.
        number += 1
        name = f"{stem}_{number}.png"
    taken.add(name.lower())
    return name


def _print_table(rows):
    lines = [
        (
            "" if rank else tables.to_line(row["file"]),
            f"{shown['probability']:.1%}",
            shown["class"],
            "" if rank else tables.to_line(row["picture"]),
        )
        for row in rows
        for rank, shown in enumerate(row["maps"])
    ]
    if lines:
        header = ("image", "", "class", "picture")
        print(tables.to_text(header, lines, left=(0, 2, 3)), flush=True)


if __name__ == "__main__":
    program.run(main)
