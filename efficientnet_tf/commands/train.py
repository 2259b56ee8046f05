r"""Trains a network from random weights, as the paper did.

efficientnet train --recipe=smoke --model=efficientnet_b0 \
    --data_dir=DIR --workdir=/tmp/b0

Killed at any moment, the same command resumes and ends bit for bit as an
undisturbed run on the same devices.
"""

from absl import flags

from efficientnet_tf.commands import program, shared, summary
from efficientnet_tf.utils import durations

MODEL = flags.DEFINE_string("model", "efficientnet_b0", shared.MODEL_HELP)
DATASET = flags.DEFINE_string(
    "dataset", "imagenet2012", f"{shared.DATASET_HELP}."
)
TRAIN_SPLIT = flags.DEFINE_string(
    "train_split", "train", shared.TRAIN_SPLIT_HELP
)
EVAL_SPLIT = flags.DEFINE_string(
    "eval_split", "validation", "What to score on."
)
RECIPE = flags.DEFINE_string("recipe", "paper", "A row of training/recipes.py.")
SET = flags.DEFINE_multi_string("set", [], shared.SET_HELP)
TEACHER = flags.DEFINE_string(
    "teacher", None, "To distill from: MODEL:WEIGHTS, a run or a SavedModel."
)
DATA_DIR = flags.DEFINE_string("data_dir", None, shared.DATA_DIR_HELP)
GROUP_BY = flags.DEFINE_string("group_by", None, shared.GROUP_BY_HELP)
SKIP_BAD = flags.DEFINE_bool("skip_bad", False, shared.SKIP_BAD_HELP)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder for checkpoints, logs, model and results."
)
STRATEGY = flags.DEFINE_string(
    "strategy", "auto", "auto, none, mirrored, multi_worker or tpu."
)
PRECISION = flags.DEFINE_string("precision", None, shared.PRECISION_HELP)
XLA = flags.DEFINE_string("xla", "auto", "auto, on or off.")
DATA_SERVICE = flags.DEFINE_string(
    "data_service",
    None,
    "grpc://HOST:PORT of a dispatcher, see `efficientnet data-service`.",
)
PROFILE_STEPS = flags.DEFINE_list(
    "profile_steps", None, "FIRST,LAST steps to profile for TensorBoard."
)
LOGGER = shared.LoggerFlags()
INPUT_WAIT = shared.define_input_wait()
flags.mark_flags_as_required(["workdir"])


def main(_: list[str]) -> None:
    shared.set_input_wait(INPUT_WAIT.value)
    from efficientnet_tf.models import registry
    from efficientnet_tf.training import recipes
    from efficientnet_tf.utils import data_names, extras

    registry.get_variant(MODEL.value)
    overrides = list(SET.value)
    for field, value in (("teacher", TEACHER), ("precision", PRECISION)):
        if value.value is not None:
            overrides.append(f"{field}={value.value}")
    config = recipes.get_recipe(RECIPE.value, overrides)
    folder = shared.make_folder_options(
        GROUP_BY.value,
        SKIP_BAD.value,
        divides=data_names.find_kind(DATASET.value) is not None,
    )
    profile_steps = _parse_steps(PROFILE_STEPS.value)
    extras.require("TensorBoard logs", "tensorboard")
    shared.check_dataset(DATASET.value)
    LOGGER.check()
    # TensorFlow is slow to import, so the flags are checked before.
    from efficientnet_tf.training import train

    with (
        shared.exiting_when_preempted(),
        LOGGER.tracking(WORKDIR.value) as tracker,
    ):
        row = train.train_and_evaluate(
            MODEL.value,
            DATASET.value,
            config=config,
            workdir=WORKDIR.value,
            data_dir=DATA_DIR.value,
            splits=(TRAIN_SPLIT.value, EVAL_SPLIT.value),
            recipe=RECIPE.value,
            strategy=STRATEGY.value,
            xla=XLA.value,
            data_service=DATA_SERVICE.value,
            profile_steps=profile_steps,
            folder=folder,
            watchers=tracker.callbacks(),
        )
        LOGGER.finish(tracker, row, WORKDIR.value)
    _print_summary(row)
    program.print_result(program.keep_scalars(row))


def _print_summary(row):
    # The saved network has the averaged weights where the recipe keeps them.
    top1 = row.get("ema_top1", row["top1"])
    source = [f"--dataset={DATASET.value}", f"--split={EVAL_SPLIT.value}"]
    if DATA_DIR.value is not None:
        source.append(f"--data_dir={DATA_DIR.value}")
    summary.print_run(
        f"Trained {row['model']} on {row['train_images']:,} images of "
        f"{row['dataset']}.",
        {
            "recipe": row["recipe"],
            "epochs": str(row["epochs"]),
            "top-1 accuracy": summary.top1_text(
                top1, row["test_images"], EVAL_SPLIT.value
            ),
            "note": _smoke_note(row),
            "time": durations.show(row["seconds"]),
        },
        WORKDIR.value,
        ["efficientnet", "evaluate", f"--workdir={WORKDIR.value}", *source],
    )


def _smoke_note(row):
    """Returns what a smoke run's accuracy says; None for other recipes."""
    if row["recipe"] != "smoke":
        return None
    return "a smoke run is too short to learn: accuracy near chance is expected"


def _parse_steps(texts):
    if texts is None:
        return 0
    try:
        first, last = map(int, texts)
    except ValueError:
        raise ValueError(
            f"--profile_steps={','.join(texts)} must be two step numbers."
        ) from None
    return first, last


def _config():
    """Returns the class whose fields --set takes."""
    from efficientnet_tf.training import train_config

    return train_config.TrainConfig


if __name__ == "__main__":
    program.run(main, program.RESUMES, config=_config)
