r"""Fine-tunes a pretrained network on a data set and scores it.

efficientnet finetune --task=digits --model=efficientnet_lite0 \
    --weights=imagenet --recipe=quickstart --workdir=/tmp/digits
"""

from absl import flags

from efficientnet_tf.commands import program, shared

TASK = flags.DEFINE_string(
    "task", None, "E.g. cifar10, digits, or folder:PATH of class folders."
)
MODEL = flags.DEFINE_string("model", "efficientnet_lite0", "The network.")
WEIGHTS = flags.DEFINE_string("weights", "imagenet", "A name or a file.")
RECIPE = flags.DEFINE_string(
    "recipe", "full", "A row of transfer/recipes.py, e.g. linear or full."
)
SET = flags.DEFINE_multi_string("set", [], "field=value of the recipe.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "Where TFDS keeps its sets.")
WORKDIR = flags.DEFINE_string("workdir", None, "Checkpoints, logs, results.")
flags.mark_flags_as_required(["task", "workdir"])

# Fields of the result that are for programs; they stand in results.jsonl.
LONG = ("class_names", "confusion", "curves")


def main(_: list[str]) -> None:
    from efficientnet_tf.weights import catalog
    from transfer import recipes, tasks

    task = tasks.get_task(TASK.value)
    config = recipes.get_recipe(RECIPE.value, SET.value, TASK.value)
    if WEIGHTS.value is not None:
        catalog.check_name(MODEL.value, WEIGHTS.value)
    shared.check_finetuning([task])
    # TensorFlow is slow to import, so only once the flags make sense.
    from transfer import finetune

    row = finetune.finetune_and_evaluate(
        TASK.value,
        MODEL.value,
        weights=WEIGHTS.value,
        config=config,
        workdir=WORKDIR.value,
        data_dir=DATA_DIR.value,
        recipe=RECIPE.value,
    )
    program.print_result({k: v for k, v in row.items() if k not in LONG})


if __name__ == "__main__":
    program.run(main)
