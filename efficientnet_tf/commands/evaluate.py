r"""Scores a network on a data set; every image counts once.

efficientnet evaluate --model=efficientnet_lite0 --weights=imagenet \
    --dataset=imagenet2012 --split=validation --data_dir=~/tensorflow_datasets
"""

from absl import flags, logging

from efficientnet_tf.commands import (
    classifier_flags,
    program,
    shared,
    summary,
    trained_on,
)
from efficientnet_tf.models import variants
from efficientnet_tf.utils import data_names, run_folder, words

CLASSIFIER = classifier_flags.ClassifierFlags()
DATASET = flags.DEFINE_string(
    "dataset",
    None,
    f"{shared.DATASET_HELP}; imagenet2012 if unset.",
)
SPLIT = flags.DEFINE_string(
    "split",
    "validation",
    "E.g. test, train[:10%]; all of folder:PATH and the like: every labelled "
    "image.",
)
DATA_DIR = flags.DEFINE_string("data_dir", None, shared.DATA_DIR_HELP)
GROUP_BY = flags.DEFINE_string("group_by", None, shared.GROUP_BY_HELP)
SKIP_BAD = flags.DEFINE_bool("skip_bad", False, shared.SKIP_BAD_HELP)
RESOLUTION = flags.DEFINE_integer(
    "resolution",
    None,
    "Pixels a side, with --model; the variant's own if unset.",
    variants.MIN_SIZE,
)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Images per step.", 1)


def main(_: list[str]) -> None:
    if CLASSIFIER.trained and not DATASET.value:
        flag = "workdir" if CLASSIFIER.workdir else "classifier"
        raise ValueError(f"--{flag} needs --dataset and --split.")
    name = DATASET.value or "imagenet2012"
    folder = shared.make_folder_options(
        GROUP_BY.value or run_folder.read_group_by(CLASSIFIER.run, name),
        SKIP_BAD.value,
        divides=data_names.find_kind(name) is not None,
    )
    shared.check_dataset(name)
    classifier = CLASSIFIER.load(RESOLUTION.value)
    scores, classes, seen = _evaluate(classifier, name, folder)
    facts = summary.class_facts(scores.confusion, classifier.class_names)
    _print_summary(name, scores, classes, facts, seen)
    program.print_result(
        {
            "model": CLASSIFIER.name,
            "dataset": name,
            "split": SPLIT.value,
            "top1": scores.top1,
            "top5": scores.top5,
            "mean_per_class": scores.mean_per_class,
            "top1_among": scores.top1_among,
            "classes": len(classes.outputs),
            "images": scores.images,
            "trained_on": seen,
        }
    )


def _evaluate(classifier, name, folder):
    """Returns (`Scores`, `ClassMap`, how many images were trained on)."""
    import tqdm

    from efficientnet_tf.data import datasets, sources
    from efficientnet_tf.inference import class_names, evaluate

    examples = sources.load(name, SPLIT.value, DATA_DIR.value, folder)
    classes = class_names.match(classifier.class_names, examples.class_names)
    seen = None
    if CLASSIFIER.run:
        seen = trained_on.warn(CLASSIFIER.run, name, examples, DATA_DIR.value)
    elif CLASSIFIER.exported:
        logging.info(
            "Whether it was trained on these images is not known: %s lies in "
            "no run's folder.",
            CLASSIFIER.exported,
        )
    dataset = datasets.make_eval_dataset(
        examples, classifier.preprocess, batch_size=BATCH_SIZE.value
    )
    with tqdm.tqdm(
        desc="Evaluating", total=examples.size, unit="image", disable=None
    ) as bar:
        scores = evaluate.evaluate(
            classifier.model,
            dataset,
            outputs=classes.outputs,
            progress=bar.update,
        )
    return scores, classes, seen


def _print_summary(name, scores, classes, facts, seen):
    among = None
    if classes.absent:
        among = (
            f"{summary.percent_text(scores.top1_among)}, if only the data's "
            f"{words.count(len(classes.outputs), 'class')} compete"
        )
    summary.print_summary(
        f"Evaluated {CLASSIFIER.name} on "
        f"{words.count(scores.images, 'image')} of {name}, {SPLIT.value}.",
        {
            "top-1 accuracy": summary.top1_text(
                scores.top1,
                scores.images,
                "labelled" if SPLIT.value == "all" else SPLIT.value,
            ),
            "top-5 accuracy": summary.percent_text(scores.top5),
            **facts,
            "top-1 among these": among,
            "classes": classes.note or None,
            "caution": (
                f"{seen:,} of the images were trained on; they cannot "
                "measure accuracy"
                if seen
                else None
            ),
        },
    )


if __name__ == "__main__":
    program.run(main)
