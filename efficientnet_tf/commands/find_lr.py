r"""Finds the learning rate that a fine-tuning should begin with.

efficientnet find-lr --task=folder:photos --recipe=full --output=/tmp/lr

It trains for some steps at rising rates, and suggests the one at which the loss
has nearly ended to fall; nothing of that training is kept.
"""

import pathlib

from absl import flags, logging

from efficientnet_tf.commands import program, shared, summary
from efficientnet_tf.weights import catalog

TASK = flags.DEFINE_string("task", None, shared.TASK_HELP)
MODEL = flags.DEFINE_string("model", "efficientnet_lite0", shared.MODEL_HELP)
WEIGHTS = flags.DEFINE_string("weights", "imagenet", shared.WEIGHTS_HELP)
SOURCE_FAMILY, NORMALIZATION = shared.define_weights_flags()
RECIPE = flags.DEFINE_string(
    "recipe",
    "full",
    "A row of transfer/config/recipes.py that trains the network.",
)
SET = flags.DEFINE_multi_string("set", [], shared.SET_HELP)
RESIZE, IMAGE_SIZE = shared.define_shape_flags()
DATA_DIR = flags.DEFINE_string("data_dir", None, shared.DATA_DIR_HELP)
GROUP_BY = flags.DEFINE_string("group_by", None, shared.GROUP_BY_HELP)
SKIP_BAD = flags.DEFINE_bool("skip_bad", False, shared.SKIP_BAD_HELP)
LOWEST = flags.DEFINE_float("lowest", 1e-6, "The first learning rate.")
HIGHEST = flags.DEFINE_float("highest", 1.0, "The last one.")
STEPS = flags.DEFINE_integer("steps", 100, "Steps in all.", 10, 100_000)
OUTPUT = flags.DEFINE_string(
    "output", None, "A folder for the plot and the losses as CSV."
)
flags.mark_flag_as_required("task")


def main(_: list[str]) -> None:
    from transfer.config import recipes, tasks

    task = tasks.get_task(TASK.value)
    folder = shared.make_folder_options(
        GROUP_BY.value, SKIP_BAD.value, divides=task.divides
    )
    weights = catalog.parse(WEIGHTS.value)
    origin = {
        "weights": weights,
        "source_family": SOURCE_FAMILY.value,
        "normalization": NORMALIZATION.value,
    }
    config = recipes.get_recipe(
        RECIPE.value,
        shared.add_settings(SET.value, RESIZE, IMAGE_SIZE),
        TASK.value,
        pretrained=weights is not None,
    )
    shared.check_weights(MODEL.value, **origin)
    shared.check_finetuning([task])
    if not 0 < LOWEST.value < HIGHEST.value:
        raise ValueError(
            f"--lowest={LOWEST.value:g} must be above 0 and below "
            f"--highest={HIGHEST.value:g}."
        )
    if OUTPUT.value:
        from efficientnet_tf.utils import files

        files.check_folder(OUTPUT.value)
    # TensorFlow is slow to import, so the flags are checked before.
    from efficientnet_tf.training import rate_finder
    from transfer.choice import rate_search

    finder = rate_finder.LearningRateFinder(
        LOWEST.value, HIGHEST.value, STEPS.value
    )
    rate_search.check(config)
    examples = tasks.load_examples(task, DATA_DIR.value, folder)
    logging.info("Training for up to %d steps at rising rates.", STEPS.value)
    rate_search.find(task, MODEL.value, origin, config, examples, finder)
    written = _write(finder)
    _print_summary(finder, config, written)


def _write(finder):
    if not OUTPUT.value:
        return None
    from efficientnet_tf.utils import figures, files, tables
    from transfer.choice import rate_search

    folder = pathlib.Path(OUTPUT.value)
    rows = [
        {"learning_rate": rate, "loss": loss}
        for rate, loss in zip(finder.rates, finder.losses, strict=True)
    ]
    text = tables.to_csv(("learning_rate", "loss"), rows)
    files.write_text(folder / "learning_rates.csv", text)
    picture = figures.encode_png(rate_search.draw(finder))
    files.write_bytes(folder / "learning_rates.png", picture)
    return str(folder / "learning_rates.png")


def _print_summary(finder, config, written):
    found = finder.suggestion
    summary.print_summary(
        f"Trained for {len(finder.losses)} steps, from "
        f"{finder.rates[0]:.1g} to {finder.rates[-1]:.1g}.",
        {
            "learning rate": (
                "the loss falls at none of them"
                if found is None
                else f"{found:.2g}"
            ),
            "the recipe's": f"{config.learning_rate:.2g}",
            "plot": written,
        },
    )
    program.print_result(
        {
            "suggestion": found,
            "recipe_learning_rate": config.learning_rate,
            "steps": len(finder.losses),
            "lowest": float(finder.rates[0]),
            "highest": float(finder.rates[-1]),
        }
    )


def _config():
    """Returns the class whose fields --set takes."""
    from transfer.config import recipes

    return recipes.FinetuneConfig


if __name__ == "__main__":
    program.run(main, config=_config)
