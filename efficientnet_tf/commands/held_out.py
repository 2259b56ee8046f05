"""Which images an export is scored on, and which calibrate it."""

import dataclasses
import pathlib
import typing

from efficientnet_tf.commands import trained_on
from efficientnet_tf.utils import folder_options, run_folder, targets

if typing.TYPE_CHECKING:
    from efficientnet_tf.data import examples as examples_lib


@dataclasses.dataclass(frozen=True)
class Images:
    """Two sets of labelled images, and what they are called in a table."""

    scored: "examples_lib.Examples"
    trained_on: "examples_lib.Examples"
    dataset: str
    split: str


def of_dataset(
    name: str,
    split: str,
    train_split: str,
    data_dir: str | None,
    outputs: targets.Outputs,
    workdir: str | None = None,
) -> Images:
    """Returns a data set's images; see `sources.load_splits`.

    Args:
      outputs: the network's.
      workdir: a run on the same folder, whose division is taken over.
    """
    from efficientnet_tf.data.sets import sources

    options = folder_options.Options(run_folder.read_group_by(workdir, name))
    loaded = sources.load_splits(
        name,
        (split, train_split),
        data_dir,
        sources.suit(name, options, outputs),
        (outputs.kind,),
    )
    return Images(loaded[split], loaded[train_split], name, split)


def of_run(workdir: str, data_dir: str | None) -> Images:
    """Returns the images that a run was scored on, and trained on.

    Raises:
      OSError, RuntimeError, ValueError: see `load_run`.
    """
    config, loaded = load_run(workdir, data_dir)
    if "task" in config:
        split = config.get("evaluate_on", "test")
        return Images(loaded[split], loaded["train"], config["task"], split)
    return Images(
        loaded["validation"],
        loaded["train"],
        config["dataset"],
        config["splits"][1],
    )


def load_run(
    workdir: str, data_dir: str | None
) -> tuple[dict, dict[str, "examples_lib.Examples"]]:
    """Returns a run's config, and {split: its images}.

    "train" and "validation" are among the splits.

    Raises:
      FileNotFoundError: the run does not say which.
      OSError, RuntimeError: the data are missing or damaged.
    """
    folder = pathlib.Path(workdir).expanduser()
    config = run_folder.read_config(folder / run_folder.CONFIG_FILE)
    place = trained_on.find_list(folder, config)
    listed = (place / run_folder.IMAGES_FILE).exists()
    options = folder_options.Options(
        config.get("group_by"),
        bool(config.get("skip_bad")),
        workdir=place if listed else None,
        resumes=listed,
        labels=tuple(config.get("labels") or ()),
        targets=tuple(config.get("targets") or ()),
    )
    if "task" in config:
        from transfer.config import tasks
        from transfer.training import few_images

        task = tasks.get_task(config["task"])
        loaded = tasks.load_examples(task, data_dir, options, targets.KINDS)
        return config, few_images.redraw(loaded, config)
    from efficientnet_tf.data.sets import sources

    train, validation = config["splits"][:2]
    loaded = sources.load_splits(
        config["dataset"], (validation, train), data_dir, options
    )
    named = {"train": loaded[train], "validation": loaded[validation]}
    return config, named
