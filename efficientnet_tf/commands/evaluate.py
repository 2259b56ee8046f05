r"""Scores a network on a data set; every image counts once.

efficientnet evaluate --model=efficientnet_lite0 --weights=imagenet \
    --dataset=imagenet2012 --split=validation --data_dir=~/tensorflow_datasets
efficientnet evaluate --workdirs=RUN,RUN,RUN --tta=flip \
    --dataset=folder:photos --split=test
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
from efficientnet_tf.utils import (
    configs,
    data_names,
    files,
    run_folder,
    words,
)

AVERAGES = ("predictions", "weights")
TTAS = ("none", "flip")

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
WORKDIRS = flags.DEFINE_list(
    "workdirs", [], "In place of --workdir: several runs, which are averaged."
)
AVERAGE = flags.DEFINE_string(
    "average",
    "predictions",
    "What of --workdirs is averaged: predictions, or weights of runs of one "
    "network that began from the same weights.",
)
TTA = flags.DEFINE_string(
    "tta",
    "none",
    "Test-time augmentation: none, or flip, the mean with the mirror image.",
)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Images per step.", 1)


def main(_: list[str]) -> None:
    _check_averaging()
    if (CLASSIFIER.trained or WORKDIRS.value) and not DATASET.value:
        flag = "workdir" if CLASSIFIER.workdir else "classifier"
        flag = "workdirs" if WORKDIRS.value else flag
        raise ValueError(f"--{flag} needs --dataset and --split.")
    name = DATASET.value or "imagenet2012"
    runs: list[str | None] = [*WORKDIRS.value] or [CLASSIFIER.run]
    folder = shared.make_folder_options(
        GROUP_BY.value or run_folder.read_group_by(runs[0], name),
        SKIP_BAD.value,
        divides=data_names.find_kind(name) is not None,
    )
    shared.check_dataset(name)
    classifiers = _load()
    scores, classes, seen = _evaluate(classifiers, name, folder, runs)
    facts = summary.class_facts(scores.confusion, classifiers[0].class_names)
    _print_summary(name, scores, classes, facts, seen)
    program.print_result(
        {
            "model": _name(),
            "tta": TTA.value,
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


def _check_averaging():
    """Checks --workdirs, --average and --tta, and loads nothing."""
    for flag, choices in ((AVERAGE, AVERAGES), (TTA, TTAS)):
        if flag.value not in choices:
            raise ValueError(configs.unknown(flag.name, flag.value, choices))
    if not WORKDIRS.value:
        if AVERAGE.present:
            raise ValueError(f"--average={AVERAGE.value} goes with --workdirs.")
        return
    if CLASSIFIER.name:
        raise ValueError("Pass either --workdirs or one classifier.")
    if RESOLUTION.value:
        raise ValueError("--resolution goes with --model; runs have their own.")
    if len(WORKDIRS.value) < 2:
        raise ValueError("--workdirs needs two runs or more.")
    for workdir in WORKDIRS.value:
        files.check_exists(workdir)


def _name():
    return " + ".join(WORKDIRS.value) or CLASSIFIER.name


def _load():
    """Returns the classifiers whose predictions are averaged."""
    if not WORKDIRS.value:
        classifiers = [CLASSIFIER.load(RESOLUTION.value)]
    else:
        from efficientnet_tf.inference import classifier, ensembles

        classifiers = [classifier.from_run(w) for w in WORKDIRS.value]
        ensembles.check_same_classes(classifiers, WORKDIRS.value)
        if AVERAGE.value == "weights":
            classifiers = [ensembles.average_weights(classifiers)]
    if TTA.value == "flip":
        from efficientnet_tf.inference import ensembles

        classifiers = [ensembles.with_flip(each) for each in classifiers]
    return classifiers


def _evaluate(classifiers, name, folder, runs):
    """Returns (`Scores`, `ClassMap`, how many images were trained on)."""
    from efficientnet_tf.data import sources
    from efficientnet_tf.inference import class_names

    examples = sources.load(name, SPLIT.value, DATA_DIR.value, folder)
    classes = class_names.match(
        classifiers[0].class_names, examples.class_names
    )
    return (
        _score(classifiers, examples, classes),
        classes,
        _count_trained_on(runs, name, examples),
    )


def _count_trained_on(runs, name, examples):
    """Returns how many images the runs have seen, the most of them."""
    counts = [
        trained_on.warn(run, name, examples, DATA_DIR.value)
        for run in runs
        if run
    ]
    known = [count for count in counts if count is not None]
    if not counts and CLASSIFIER.exported:
        logging.info(
            "Whether it was trained on these images is not known: %s lies in "
            "no run's folder.",
            CLASSIFIER.exported,
        )
    return max(known, default=None)


def _score(classifiers, examples, classes):
    import tqdm

    from efficientnet_tf.data import datasets
    from efficientnet_tf.inference import ensembles, evaluate

    members = [
        (
            each.model,
            datasets.make_eval_dataset(
                examples, each.preprocess, batch_size=BATCH_SIZE.value
            ),
        )
        for each in classifiers
    ]
    total = examples.size * len(members)
    with tqdm.tqdm(
        desc="Evaluating", total=total, unit="image", disable=None
    ) as bar:
        options = {"outputs": classes.outputs, "progress": bar.update}
        if len(members) == 1:
            return evaluate.evaluate(*members[0], **options)
        return ensembles.evaluate_mean(
            members, examples.read_labels(), **options
        )


def _print_summary(name, scores, classes, facts, seen):
    among = None
    if classes.absent:
        among = (
            f"{summary.percent_text(scores.top1_among)}, if only the data's "
            f"{words.count(len(classes.outputs), 'class')} compete"
        )
    summary.print_summary(
        f"Evaluated {_name()} on "
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
