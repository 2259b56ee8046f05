r"""Fine-tunes a network on a data set and scores it.

efficientnet finetune --task=digits --model=efficientnet_lite0 \
    --weights=imagenet --workdir=/tmp/digits

After an interrupt, the same command resumes from the last finished epoch.
"""

import os
import typing

from absl import flags

from efficientnet_tf.commands import program, shared, summary
from efficientnet_tf.utils import (
    durations,
    run_folder,
    targets,
    words,
)
from efficientnet_tf.weights import catalog

TASK = flags.DEFINE_string("task", None, shared.TASK_HELP)
MODEL = flags.DEFINE_string("model", "efficientnet_lite0", shared.MODEL_HELP)
WEIGHTS = flags.DEFINE_string("weights", "imagenet", shared.WEIGHTS_HELP)
SOURCE_FAMILY, NORMALIZATION = shared.define_weights_flags()
RECIPE = flags.DEFINE_string(
    "recipe",
    "auto",
    "auto: a linear classifier, and training if it is better; or another row "
    "of transfer/config/recipes.py, e.g. linear or full; qat: the run "
    "--weights=RUN, for int8.",
)
PRESET = flags.DEFINE_string(
    "preset",
    None,
    "In place of --model and --recipe: fast, good, or best (takes longest).",
)
SET = flags.DEFINE_multi_string("set", [], shared.SET_HELP)
CLASS_WEIGHT = flags.DEFINE_string(
    "class_weight", None, shared.CLASS_WEIGHT_HELP
)
RESIZE, IMAGE_SIZE = shared.define_shape_flags()
DATA_DIR = flags.DEFINE_string("data_dir", None, shared.DATA_DIR_HELP)
GROUP_BY = flags.DEFINE_string("group_by", None, shared.GROUP_BY_HELP)
SKIP_BAD = flags.DEFINE_bool("skip_bad", False, shared.SKIP_BAD_HELP)
LABELS = flags.DEFINE_list("labels", None, shared.LABELS_HELP)
TARGETS = flags.DEFINE_list("targets", None, shared.TARGETS_HELP)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder for checkpoints, logs, model and results."
)
TIME_LIMIT = flags.DEFINE_string(
    "time_limit",
    None,
    "E.g. 30m or 1h30m: epochs, resolution and frozen stages are chosen so "
    "that the run ends within it, evaluation included.",
)
SHOTS = flags.DEFINE_integer(
    "shots",
    None,
    "Train on so many images of each class, drawn by the seed; the others are "
    "ignored. Short for --set=shots=...",
    1,
)
FOLDS = flags.DEFINE_integer(
    "folds",
    None,
    "Cross-validation: so many runs, each scored on its part of the images; "
    "`predict` averages them.",
)
LOGGER = shared.LoggerFlags()
INPUT_WAIT = shared.define_input_wait()
flags.mark_flags_as_required(["task", "workdir"])

# What people call the metrics of `transfer.config.tasks`.
METRICS = {"top1": "top-1 accuracy", "mean_per_class": "mean per class"}


def main(_: list[str]) -> None:
    shared.set_input_wait(INPUT_WAIT.value)
    from transfer.config import recipes, tasks
    from transfer.training import starts

    task = tasks.get_task(TASK.value)
    folder = shared.make_folder_options(
        GROUP_BY.value,
        SKIP_BAD.value,
        divides=task.divides,
        labels=LABELS.value,
        targets=TARGETS.value,
    )
    weights = catalog.parse(WEIGHTS.value)
    reading = {
        "source_family": SOURCE_FAMILY.value,
        "normalization": NORMALIZATION.value,
    }
    model, recipe = _choose_network()
    overrides = shared.add_settings(
        SET.value, CLASS_WEIGHT, SHOTS, RESIZE, IMAGE_SIZE
    )
    overrides += _time_limit()
    config = recipes.get_recipe(
        recipe, overrides, TASK.value, pretrained=weights is not None
    )
    if config.quantization != "none":
        model = _find_model(starts.find_start(weights), reading)
    shared.check_weights(model, weights, **reading)
    shared.check_finetuning([task])
    LOGGER.check()
    row = _run(
        task,
        {"model_name": model, "recipe": recipe, "weights": weights, **reading},
        config,
        folder,
    )
    report = _find_report()
    _print_summary(row, report)
    program.print_result(program.keep_scalars({**row, "report": report}))


def _run(task, network, config, folder):
    """Trains one run or one for each fold; returns the row of results."""
    # TensorFlow is slow to import, so the flags are checked before.
    from transfer import cross_validation, finetune

    def train(workdir, folder, config, began=None):
        with LOGGER.tracking(str(workdir)) as tracker:
            row = finetune.finetune_and_evaluate(
                TASK.value,
                **network,
                config=config,
                workdir=workdir,
                data_dir=DATA_DIR.value,
                folder=folder,
                watchers=tracker.callbacks(),
                began=began,
            )
            LOGGER.finish(tracker, row, str(workdir))
        return row

    if FOLDS.value is None:
        return train(WORKDIR.value, folder, config, program.BEGAN)
    origin = dict(network)
    model, recipe = origin.pop("model_name"), origin.pop("recipe")
    return cross_validation.run(
        train,
        task,
        config,
        WORKDIR.value,
        folds=FOLDS.value,
        described={
            "recipe": recipe,
            **finetune.describe_network(model, origin),
        },
        data_dir=DATA_DIR.value,
        folder=folder,
    )


def _choose_network() -> tuple[str, str]:
    """Returns the network and the recipe, by --preset or by their own flags."""
    if PRESET.value is None:
        return MODEL.value, RECIPE.value
    for flag in (MODEL, RECIPE):
        if flag.present:
            raise ValueError(
                f"--preset={PRESET.value} chooses the {flag.name}; leave out "
                f"--{flag.name}={flag.value}."
            )
    from transfer.config import presets

    chosen = presets.get_preset(PRESET.value)
    return chosen.model, chosen.recipe


def _time_limit() -> list[str]:
    """Returns --time_limit as an override of the recipe."""
    if TIME_LIMIT.value is None:
        return []
    try:
        seconds = durations.parse(TIME_LIMIT.value)
    except ValueError as error:
        raise ValueError(f"--time_limit: {error}") from None
    return [f"time_limit={seconds / 60}"]


def _find_model(start, reading) -> typing.Any:
    """Returns --model, or the network of the run that --weights names."""
    for flag, value in reading.items():
        if value is not None:
            raise ValueError(
                f"--{flag}={value} is for weights; a run has its own."
            )
    return MODEL.value if MODEL.present else start.model


def _find_report():
    """Returns the path of the run's report; None: it could not be made."""
    from transfer.report import run_report

    path = os.path.join(WORKDIR.value, run_report.REPORT_FILE)
    return path if os.path.exists(path) else None


def _print_summary(row, report):
    from transfer.scores import diagnostics

    counts = diagnostics.confusion([row])
    images = row["train_images"]
    if row.get("folds"):
        images = row["test_images"]
    summary.print_run(
        f"Fine-tuned {row['model']} on {images:,} images of {row['task']}"
        + (f", in {row['folds']} folds." if row.get("folds") else "."),
        {
            "weights": row["weights"] or "random",
            "recipe": row["recipe"],
            **_score_facts(row),
            **_fold_facts(row),
            "ignored": _ignored_text(row),
            "near-duplicates": _duplicates_text(row),
            **_class_facts(row, counts),
            **_start_facts(row),
            "within the limit": row.get("within_limit"),
            "tried": row.get("tried"),
            "kept": _kept_text(row),
            "report": report,
            "time": durations.show(row["seconds"]),
        },
        WORKDIR.value,
        [
            "efficientnet",
            "export",
            f"--workdir={_find_network()}",
            f"--output={_find_network()}/saved_model",
        ],
    )


def _find_network():
    """Returns the folder of the run's network, or of its first fold's."""
    return str([*run_folder.list_folds(WORKDIR.value), WORKDIR.value][0])


def _score_facts(row):
    """Returns the score, and of labels or numbers what else tells of it."""
    from transfer.report import results

    split = row["evaluated_on"]
    if row["metric"] in targets.METRIC_NAMES:
        facts = summary.target_facts(
            {**row, "images": row["test_images"]}, row["target"], split
        )
        return {**facts, "thresholds": row.get("thresholds_by")}
    text = summary.accuracy_text(
        row["score"],
        results.find_interval([row], row["score"]),
        row["test_images"],
        split,
    )
    return {METRICS.get(row["metric"], row["metric"]): text}


def _ignored_text(row):
    """Returns how many images --shots has left out; None: none."""
    count = row.get("ignored_images")
    return f"{words.count(count, 'image')}, by --shots" if count else None


def _fold_facts(row):
    """Returns how the folds of a cross-validation differ; {} of other runs."""
    if not row.get("folds"):
        return {}
    from transfer.report import run_folds

    return {f"{row['folds']} folds": run_folds.summarize(row)}


def _duplicates_text(row):
    """Returns how many test images other splits have; None if none has."""
    count = row.get("exact_duplicates", 0) + row.get("near_duplicates", 0)
    if not count:
        return None
    return (
        f"{count:,} of {row['test_images']:,} scored images are nearly in "
        f"another split, see {run_folder.NEAR_DUPLICATES_FILE}"
    )


def _class_facts(row, counts):
    """Returns what the metric hides: other means, classes, mistakes."""
    if counts is None:  # A run of an early version has no confusion.
        return {}
    facts = summary.class_facts(counts, row["class_names"])
    if row["metric"] != "top1":
        facts["top-1 accuracy"] = summary.percent_text(row["top1"])
        del facts["mean per class"]
    return facts


def _start_facts(row):
    """Returns how good the run was that this one starts from, if it does."""
    if row.get("start_score") is None:
        return {}
    return {
        f"before, by {row['start_recipe'] or 'its own recipe'}, in float32": (
            summary.percent_text(row["start_score"])
        )
    }


def _kept_text(row):
    """Returns what `auto` kept and why; None for other recipes."""
    if "kept" not in row:
        return None
    what = {"linear": "the linear classifier", "training": "the training"}
    return f"{what[row['kept']]}: {row['why']}"


def _config():
    """Returns the class whose fields --set takes."""
    from transfer.config import recipes

    return recipes.FinetuneConfig


if __name__ == "__main__":
    program.run(main, program.RESUMES, config=_config)
