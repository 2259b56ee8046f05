r"""Writes features of images: array, table, TensorBoard projector.

efficientnet embed --workdir=runs/photos IMAGE.jpg FOLDER --output=embedded
efficientnet embed --model=efficientnet_lite0 --weights=imagenet \
    --dataset=oxford_flowers102 --split=test --output=embedded

Images are named as for predict, or are those of a data set. features.npy is
float32 [images, features], features.csv has a row for each.
tensorboard --logdir=FOLDER shows them.
"""

import os
from collections.abc import Iterator
from typing import Any

from absl import flags

from efficientnet_tf.commands import (
    classifier_flags,
    image_arguments,
    program,
    shared,
    summary,
)
from efficientnet_tf.utils import (
    data_names,
    files,
    folder_options,
    run_folder,
    targets,
    words,
)

CLASSIFIER = classifier_flags.ClassifierFlags()
DATASET = flags.DEFINE_string(
    "dataset",
    None,
    f"In place of images: {shared.DATASET_HELP}",
)
SPLIT = flags.DEFINE_string(
    "split",
    None,
    "Of --dataset; of images without splits of their own, all if unset.",
)
DATA_DIR = flags.DEFINE_string("data_dir", None, shared.DATA_DIR_HELP)
OUTPUT = flags.DEFINE_string("output", None, "The folder for the files.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Images per step.", 1)
flags.mark_flags_as_required(["output"])


def main(argv: list[str]) -> None:
    _check(argv[1:])
    CLASSIFIER.check()
    files.check_folder(OUTPUT.value)
    paths = [] if DATASET.value else image_arguments.find(argv[1:])
    classifier = CLASSIFIER.load()
    targets.check_class(classifier.target, "embed", CLASSIFIER.name)
    from efficientnet_tf.inference import pooled

    pooled.find(classifier.model)  # Before any image is read.
    examples = _load_examples() if DATASET.value else None
    total = len(paths) if examples is None else examples.size
    rows = (
        _embed_files(classifier, paths)
        if examples is None
        else _embed_examples(classifier, examples)
    )
    shape, shown, unreadable = _write(rows, total, classifier)
    command = ["tensorboard", f"--logdir={OUTPUT.value}"]
    summary.print_summary(
        f"Embedded {words.count(shape[0], 'image')}, {shape[1]:,} features "
        "each.",
        {
            "features": os.path.join(OUTPUT.value, "features.npy"),
            "table": os.path.join(OUTPUT.value, "features.csv"),
            "projector": f"{words.count(shown, 'image')} with thumbnails"
            + ("" if shown == shape[0] else ", from all over the set"),
        },
        [command],
    )
    program.print_result(
        {
            "images": shape[0],
            "features": shape[1],
            "unreadable": unreadable,
            "shown": shown,
            "output": OUTPUT.value,
        }
    )
    image_arguments.fail_if_unreadable(unreadable, total)


def _check(arguments):
    if not DATASET.value:
        image_arguments.check(arguments)
        if SPLIT.value:
            raise ValueError(f"--split={SPLIT.value} goes with --dataset.")
        return
    if arguments:
        raise ValueError(
            f"Name images or --dataset={DATASET.value}, not both: there is "
            f"{arguments[0]}, too."
        )
    shared.check_dataset(DATASET.value)
    if not SPLIT.value and data_names.find_kind(DATASET.value) is None:
        raise ValueError(f"--dataset={DATASET.value} needs --split.")


def _load_examples():
    from efficientnet_tf.data.sets import sources

    options = folder_options.Options(
        run_folder.read_group_by(CLASSIFIER.run, DATASET.value)
    )
    return sources.load(
        DATASET.value, SPLIT.value or "all", DATA_DIR.value, options
    )


def _embed_files(classifier, paths) -> Iterator[tuple[dict, Any, Any]]:
    """Yields (columns, output or error, function that reads the pixels)."""
    from efficientnet_tf.data.images import decoding

    for path, found in classifier.embed_each(paths, BATCH_SIZE.value):

        def read(path=path):
            return decoding.read_image(path, classifier.deep_pixels).numpy()

        yield {"path": os.fspath(path)}, found, read


def _embed_examples(classifier, examples) -> Iterator[tuple[dict, Any, Any]]:
    """Does `_embed_files` of a labelled set, whose images are all readable."""
    from efficientnet_tf.data import datasets, resumable
    from efficientnet_tf.data.images import decoding
    from efficientnet_tf.inference import embeddings, pooled

    compute = pooled.Pooled(classifier.model)
    shown = embeddings.choose_shown(examples.size)
    pictures = iter(examples.pick(shown))

    def read():  # Called for those that are shown, in their order.
        image, _ = next(pictures)
        return decoding.decode(image, classifier.deep_pixels).numpy()

    dataset = datasets.make_eval_dataset(
        examples, classifier.preprocess, batch_size=BATCH_SIZE.value
    )
    place = 0
    with resumable.explained():
        for images, labels in dataset:
            found = compute(images.numpy())
            for label, *output in zip(labels.numpy(), *found, strict=True):
                columns = {
                    "path": examples.source.name(place),
                    "class": examples.class_names[label],
                }
                yield columns, pooled.Output(*output), read
                place += 1


def _write(rows, total, classifier):
    """Writes all files; returns ((images, features), shown, unreadable)."""
    import tqdm

    from efficientnet_tf.inference import embeddings

    unreadable = 0
    bar = tqdm.tqdm(desc="Embedding", total=total, unit="image", disable=None)
    with bar, embeddings.writing(OUTPUT.value, total) as writer:
        for columns, found, read in rows:
            bar.update()
            if isinstance(found, OSError):
                unreadable += 1
                program.print_error(files.explain_error(found))
                writer.skip()
                continue
            best = int(found.probabilities.argmax())
            columns["predicted"] = classifier.class_names[best]
            columns["probability"] = float(found.probabilities[best])
            pixels = read() if writer.wants_picture else None
            writer.add(found.features, columns, pixels)
        if not writer.count:
            raise RuntimeError(
                f"None of {words.count(total, 'file')} could be read; nothing "
                "is written."
            )
    return (writer.count, writer.size), writer.shown, unreadable


if __name__ == "__main__":
    program.run(main)
