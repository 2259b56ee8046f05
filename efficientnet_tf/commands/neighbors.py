r"""Shows the training images most like an image, a second opinion.

efficientnet neighbors --workdir=runs/photos IMAGE.jpg FOLDER \
    --output=neighbors

Images are named as for predict. With --output, the folder gets a page with
thumbnails, and neighbors.jsonl with a row per image.
"""

import collections
import contextlib
import os
import pathlib
import sys

from absl import flags

from efficientnet_tf.commands import (
    held_out,
    image_arguments,
    program,
    shared,
)
from efficientnet_tf.inference import prediction_files
from efficientnet_tf.utils import files, run_folder, tables, targets

WORKDIR = flags.DEFINE_string("workdir", None, "A training or fine-tuning run.")
COUNT = flags.DEFINE_integer(
    "count", 5, "How many training images to show beside each image.", 1, 100
)
OUTPUT = flags.DEFINE_string(
    "output", None, "A folder for a page with thumbnails, and for the list."
)
DATA_DIR = flags.DEFINE_string("data_dir", None, shared.DATA_DIR_HELP)
flags.mark_flags_as_required(["workdir"])

PAGE, LIST = "neighbors.html", "neighbors.jsonl"
# So many images are listed on the screen.
IN_TABLE = 20


def main(argv: list[str]) -> None:
    image_arguments.check(argv[1:])
    _check_run()
    if OUTPUT.value:
        files.check_folder(OUTPUT.value)
    paths = image_arguments.find(argv[1:])
    index, classifier, title = _load()
    counts, found = _find_all(index, classifier, paths)
    unreadable, images = counts["unreadable"], counts["images"]
    if len(paths) == unreadable == 1:
        sys.exit(program.FAILURE)  # The one file's error is printed.
    page = None
    if OUTPUT.value:
        page = os.path.join(OUTPUT.value, PAGE)
        _write_page(page, index, classifier, found, (title, images))
    _print_table([row for row, _ in found], images)
    program.print_result(
        {
            "images": images,
            "unreadable": unreadable,
            "agreeing": counts["agreeing"],
            "page": page,
        }
    )
    image_arguments.fail_if_unreadable(unreadable, len(paths))


def _check_run():
    folder = pathlib.Path(WORKDIR.value)
    if folder.is_file():
        raise ValueError(
            f"--workdir={folder} is a file: neighbours are looked for among "
            "the images that a run was trained on, so name its folder."
        )
    files.check_exists(folder)
    if not (folder / run_folder.CONFIG_FILE).exists():
        raise FileNotFoundError(
            f"{folder} holds no run: {run_folder.CONFIG_FILE} is missing."
        )


def _load():
    """Returns (`neighbors.Index`, classifier, what the data are called)."""
    from efficientnet_tf.inference import classifier as classifier_lib
    from transfer import finished, neighbors

    classifier = classifier_lib.from_run(WORKDIR.value)
    targets.check_class(classifier.target, "The search", WORKDIR.value)
    config, loaded = held_out.load_run(WORKDIR.value, DATA_DIR.value)
    trained = finished.embed_trained(WORKDIR.value, config, loaded, classifier)
    title = os.path.basename(config.get("task") or config.get("dataset", ""))
    return neighbors.Index(trained, classifier.class_names), classifier, title


def _find_all(index, classifier, paths):
    """Lists what is found; returns (counts, [(row, neighbours)] of a page)."""
    import tqdm

    from transfer.report import neighbors_page

    counts, found = collections.Counter(), []
    with contextlib.ExitStack() as stack:
        write = None
        if OUTPUT.value:
            path = pathlib.Path(OUTPUT.value) / LIST
            write = stack.enter_context(prediction_files.open_writer(path, 1))
            program.advise(f"{OUTPUT.value} has what was found so far.")
        bar = stack.enter_context(
            tqdm.tqdm(
                desc="Looking", total=len(paths), unit="image", disable=None
            )
        )
        for path, output in classifier.embed_each(paths):
            row, near = _find(index, classifier.outputs, path, output)
            if write:
                write(row)
            if near is None:
                counts["unreadable"] += 1
                program.print_error(row["error"])
            else:
                counts.update(images=1, agreeing=int(row["agrees"]))
                if len(found) < neighbors_page.MOST_IMAGES:
                    found.append((row, near))
            bar.update()
    return counts, found


def _find(index, outputs, path, output):
    """Returns (row, neighbours); None: the image cannot be read."""
    from transfer import neighbors

    if isinstance(output, OSError):
        return prediction_files.make_row(path, output, outputs, 1), None
    row = prediction_files.make_row(path, output.probabilities, outputs, 1)
    del row["top"]
    near = index.find(output.features, COUNT.value)
    best, votes = neighbors.vote(near)
    return {
        **row,
        "neighbors_class": best,
        "votes": votes,
        "agrees": best == row["class"],
        "neighbors": [each.describe() for each in near],
    }, near


def _write_page(path, index, classifier, found, about):
    from efficientnet_tf.data.images import decoding
    from transfer.report import neighbors_page

    places = {each.place for _, near in found for each in near}
    pixels = index.read_pixels(places, classifier.deep_pixels) if places else {}
    shown = (
        neighbors_page.Shown(
            row,
            decoding.read_image(row["file"], classifier.deep_pixels).numpy(),
            [pixels[each.place] for each in near],
        )
        for row, near in found
    )
    title, images = about
    files.write_text(path, neighbors_page.compose(title, shown, images))


def _print_table(rows, images):
    lines = []
    for row in rows[:IN_TABLE]:
        file = tables.to_line(row["file"])
        share = f"{row['probability']:.1%}"
        lines.append((file, share, row["class"], ""))
        lines += [
            ("  " + tables.to_line(near["image"]), "", near["class"])
            + (f"{near['similarity']:.3f}",)
            for near in row["neighbors"]
        ]
    if lines:
        header = ("image, and those most like it", "", "class", "cosine")
        print(tables.to_text(header, lines, left=(0, 2)), flush=True)
    if images > IN_TABLE:
        rest = "" if OUTPUT.value else "; --output=FOLDER lists all"
        print(f"and {images - IN_TABLE:,} more{rest}", flush=True)


if __name__ == "__main__":
    program.run(main)
