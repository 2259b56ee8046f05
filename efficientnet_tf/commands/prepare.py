r"""Prepares a data set of the paper and counts its images.

efficientnet prepare --task=cars196 --source=~/downloads/cars \
    --data_dir=~/tensorflow_datasets
"""

from typing import Any

from absl import flags

from efficientnet_tf.commands import program, shared, summary

TASK = flags.DEFINE_string("task", None, "E.g. cars196, birdsnap, cifar10.")
SOURCE = flags.DEFINE_string(
    "source",
    None,
    "Folder of the publisher's archive, packed or not; if unset, the set must "
    "be there already, or TFDS downloads it.",
)
DATA_DIR = flags.DEFINE_string("data_dir", None, shared.DATA_DIR_HELP)
GROUP_BY = flags.DEFINE_string("group_by", None, shared.GROUP_BY_HELP)
SKIP_BAD = flags.DEFINE_bool("skip_bad", False, shared.SKIP_BAD_HELP)
ALLOW_PARTIAL = flags.DEFINE_bool(
    "allow_partial", False, "Write an incomplete set too, and mark it so."
)
CHECK_DUPLICATES = flags.DEFINE_bool(
    "check_duplicates", False, "Look for test images among training images."
)
flags.mark_flags_as_required(["task", "data_dir"])

SHOWN = 5


def main(_: list[str]) -> None:
    from efficientnet_tf.utils import extras
    from transfer.config import tasks

    task = tasks.get_task(TASK.value)
    folder = shared.make_folder_options(
        GROUP_BY.value,
        SKIP_BAD.value,
        divides=task.divides,
    )
    shared.check_task(task)
    if SOURCE.value:
        from transfer.datasets import prepare

        extras.require("Publishers' archives", "tensorflow_datasets", "scipy")
        prepare.prepare(
            TASK.value,
            SOURCE.value,
            DATA_DIR.value,
            allow_partial=ALLOW_PARTIAL.value,
        )
    examples = tasks.load_examples(task, DATA_DIR.value, folder)
    train = examples["train"].concatenate(examples["validation"])
    sizes = (train.size, examples["test"].size)
    result: dict[str, Any] = {
        "task": TASK.value,
        "train_images": sizes[0],
        "test_images": sizes[1],
        "classes": len(train.class_names),
        "complete": task.is_complete(*sizes),
    }
    if result["complete"] is False:
        result["paper_train_images"] = task.train_images
        result["paper_test_images"] = task.test_images
    if CHECK_DUPLICATES.value:
        result.update(_check_duplicates(train, examples["test"]))
    complete = {True: "yes", False: "no", None: None}[result["complete"]]
    summary.print_summary(
        f"{TASK.value} is ready.",
        {
            "images": f"{sizes[0]:,} to train on, {sizes[1]:,} to test on",
            "classes": f"{result['classes']:,}",
            "all of the paper's": complete,
        },
        [
            [
                *("efficientnet", "finetune", f"--task={TASK.value}"),
                f"--data_dir={DATA_DIR.value}",
                "--recipe=linear",
                "--workdir=runs/linear",
            ]
        ],
    )
    program.print_result(result)


def _check_duplicates(train, test):
    from efficientnet_tf.data.sets import near_duplicates

    pairs = near_duplicates.find(train, test)
    for pair in pairs[:SHOWN]:
        kind = "is" if pair.exact else "is nearly"
        print(f"{pair.test} {kind} {pair.train}")
    return near_duplicates.count_kinds(pairs)


if __name__ == "__main__":
    program.run(main)
