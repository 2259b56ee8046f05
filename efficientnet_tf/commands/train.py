r"""Trains a network from random weights, as the paper did.

efficientnet train --recipe=smoke --model=efficientnet_b0 \
    --data_dir=DIR --workdir=/tmp/b0
"""

from absl import flags

from efficientnet_tf.commands import program, shared

MODEL = flags.DEFINE_string(
    "model", "efficientnet_b0", "A network's name, or a variant file."
)
DATASET = flags.DEFINE_string(
    "dataset", "imagenet2012", "A TFDS name, folder:PATH or records:PATH."
)
TRAIN_SPLIT = flags.DEFINE_string("train_split", "train", "To train on.")
EVAL_SPLIT = flags.DEFINE_string("eval_split", "validation", "To score on.")
RECIPE = flags.DEFINE_string("recipe", "paper", "A row of recipes.RECIPES.")
SET = flags.DEFINE_multi_string("set", [], "field=value of the recipe.")
TEACHER = flags.DEFINE_string(
    "teacher", None, "To learn from: MODEL:WEIGHTS, a run or a SavedModel."
)
DATA_DIR = flags.DEFINE_string("data_dir", None, "Where TFDS keeps its sets.")
WORKDIR = flags.DEFINE_string("workdir", None, "Checkpoints, logs, results.")
STRATEGY = flags.DEFINE_string(
    "strategy", "auto", "auto, none, mirrored, multi_worker or tpu."
)
PRECISION = flags.DEFINE_string(
    "precision", None, "float32, mixed_bfloat16 or mixed_float16."
)
XLA = flags.DEFINE_string("xla", "auto", "auto, on or off.")
DATA_SERVICE = flags.DEFINE_string(
    "data_service",
    None,
    "grpc://HOST:PORT of a dispatcher, see `efficientnet data-service`.",
)
PROFILE_STEPS = flags.DEFINE_list(
    "profile_steps", None, "FIRST,LAST steps to profile for TensorBoard."
)
flags.mark_flags_as_required(["workdir"])


def main(_: list[str]) -> None:
    from efficientnet_tf.training import recipes
    from efficientnet_tf.utils import extras

    overrides = list(SET.value)
    for field, value in (("teacher", TEACHER), ("precision", PRECISION)):
        if value.value is not None:
            overrides.append(f"{field}={value.value}")
    config = recipes.get_recipe(RECIPE.value, overrides)
    profile_steps = _parse_steps(PROFILE_STEPS.value)
    extras.require("TensorBoard logs", "tensorboard")
    shared.check_dataset(DATASET.value)
    # TensorFlow is slow to import, so only once the flags make sense.
    from efficientnet_tf.training import train

    with shared.exiting_when_preempted():
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
        )
    program.print_result(row)


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


if __name__ == "__main__":
    program.run(main)
