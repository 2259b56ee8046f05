r"""Scores a network on a data set; every image counts once.

efficientnet evaluate --model=efficientnet_lite0 --weights=imagenet \
    --dataset=imagenet2012 --split=validation --data_dir=~/tensorflow_datasets
efficientnet evaluate --workdirs=RUN,RUN,RUN --tta=flip \
    --dataset=folder:photos --split=test
"""

from absl import flags, logging

from efficientnet_tf.commands import (
    classifier_flags,
    foreign,
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
    targets,
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
UNKNOWN = flags.DEFINE_bool(
    "unknown",
    False,
    "Of a fine-tuning run: how many images are kept as known; for a run of an "
    "earlier version, also makes what predict --unknown needs.",
)
OTHER = flags.DEFINE_string(
    "other",
    None,
    "With --unknown: a second set, of none of the classes, to be told apart.",
)
OTHER_SPLIT = flags.DEFINE_string(
    "other_split", None, "Of --other; that of --split if unset."
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
    _check_unknown()
    classifiers = _load()
    if classifiers[0].target != targets.CLASS:
        _evaluate_targets(classifiers, name, folder, runs)
        return
    judge = None
    if UNKNOWN.value:
        judge = foreign.make_judge(classifiers[0], CLASSIFIER, DATA_DIR.value)
        classifiers = [judge.classifier]
    scores, classes, seen = _evaluate(classifiers, name, folder, runs, judge)
    facts = summary.class_facts(scores.confusion, classifiers[0].class_names)
    unknown = {}
    if judge is not None:
        unknown = judge.describe(_load_other(), BATCH_SIZE.value)
        facts |= foreign.list_facts(unknown, OTHER.value)
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
            **unknown,
        }
    )


def _evaluate_targets(classifiers, name, folder, runs):
    """Scores labels or numbers, and prints the scores."""
    from efficientnet_tf.data.sets import sources

    classifier = classifiers[0]
    if UNKNOWN.value:
        targets.check_class(classifier.target, "--unknown", _name())
    folder = sources.suit(name, folder, classifier.outputs)
    examples = sources.load(
        name, SPLIT.value, DATA_DIR.value, folder, (classifier.target,)
    )
    answers, scores = _answer_targets(classifiers, examples)
    seen = _count_trained_on(runs, name, examples)
    row = {
        "model": _name(),
        "dataset": name,
        "split": SPLIT.value,
        "images": answers.size,
        "class_names": list(classifier.class_names),
        "trained_on": seen,
        **scores,
    }
    summary.print_summary(
        f"Evaluated {_name()} on "
        f"{words.count(answers.size, 'image')} of {name}, {SPLIT.value}.",
        {
            **summary.target_facts(row, classifier.target),
            "caution": _caution(seen),
        },
    )
    program.print_result(program.keep_scalars(row))


def _answer_targets(classifiers, examples):
    """Returns what networks say of images on average, and its scores."""
    import numpy as np
    import tqdm

    from efficientnet_tf.data import datasets
    from efficientnet_tf.inference import ensembles, evaluate_targets
    from efficientnet_tf.utils import target_scores

    classifier = classifiers[0]
    places = target_scores.place(
        classifier.class_names, examples.class_names, classifier.target
    )
    total = examples.size * len(classifiers)
    with tqdm.tqdm(
        desc="Evaluating", total=total, unit="image", disable=None
    ) as bar:
        each = [
            evaluate_targets.predict(
                one.model,
                datasets.make_eval_dataset(
                    examples, one.preprocess, batch_size=BATCH_SIZE.value
                ),
                bar.update,
                places,
            )
            for one in classifiers
        ]
    answers = target_scores.Answers(
        each[0].truth, np.mean([one.found for one in each], axis=0)
    )
    scores = target_scores.score(
        answers,
        classifier.target,
        ensembles.average_thresholds(classifiers),
    )
    return answers, scores


def _caution(seen):
    if not seen:
        return None
    return (
        f"{seen:,} of the images were trained on; they cannot measure accuracy"
    )


def _check_unknown():
    """Checks --unknown and its flags, and loads nothing."""
    if not UNKNOWN.value:
        for flag in (OTHER, OTHER_SPLIT):
            if flag.value:
                raise ValueError(
                    f"--{flag.name}={flag.value} goes with --unknown."
                )
        return
    if _list_runs() or TTA.value != "none":
        raise ValueError(
            "--unknown is of one network, without --tta and several runs."
        )
    if OTHER.value:
        shared.check_dataset(OTHER.value)


def _load_other():
    if OTHER.value is None:
        return None
    from efficientnet_tf.data.sets import sources

    split = OTHER_SPLIT.value or SPLIT.value
    return sources.load(OTHER.value, split, DATA_DIR.value)


def _check_averaging():
    """Checks --workdirs, --average and --tta, and loads nothing."""
    for flag, choices in ((AVERAGE, AVERAGES), (TTA, TTAS)):
        if flag.value not in choices:
            raise ValueError(configs.unknown(flag.name, flag.value, choices))
    if not WORKDIRS.value:
        if AVERAGE.present and not CLASSIFIER.folds:
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


def _list_runs():
    """Returns the runs that are averaged; []: a single classifier."""
    return WORKDIRS.value or CLASSIFIER.folds


def _name():
    return " + ".join(WORKDIRS.value) or CLASSIFIER.name


def _load():
    """Returns the classifiers whose predictions are averaged."""
    runs = _list_runs()
    if not runs:
        classifiers = [CLASSIFIER.load(RESOLUTION.value)]
    else:
        from efficientnet_tf.inference import classifier, ensembles

        classifiers = [classifier.from_run(run) for run in runs]
        ensembles.check_same_classes(classifiers, runs)
        if AVERAGE.value == "weights":
            classifiers = [ensembles.average_weights(classifiers)]
    if TTA.value == "flip":
        from efficientnet_tf.inference import ensembles

        classifiers = [ensembles.with_flip(each) for each in classifiers]
    return classifiers


def _evaluate(classifiers, name, folder, runs, judge):
    """Returns (`Scores`, `ClassMap`, how many images were trained on)."""
    from efficientnet_tf.data.sets import sources
    from efficientnet_tf.inference import class_names

    examples = sources.load(name, SPLIT.value, DATA_DIR.value, folder)
    classes = class_names.match(
        classifiers[0].class_names, examples.class_names
    )
    return (
        _score(classifiers, examples, classes, judge),
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


def _score(classifiers, examples, classes, judge):
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
            keep = None if judge is None else judge.keep
            return evaluate.evaluate(*members[0], **options, keep=keep)
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
            "caution": _caution(seen),
        },
    )


if __name__ == "__main__":
    program.run(main)
