"""How many of the images that a run is scored on are among those it saw."""

import pathlib
import typing

from absl import logging

from efficientnet_tf.utils import run_folder

if typing.TYPE_CHECKING:
    from efficientnet_tf.data import examples as examples_lib

# A grid's runs are at most so many folders below its own.
_LEVELS = 4


def count(
    workdir: str, dataset: str, examples: "examples_lib.Examples", data_dir: str
) -> int | None:
    """Returns how many examples a run was trained on; None if unknown.

    Files are compared by their content, with the run's list of images; those of
    a prepared data set by their place in it.

    Args:
      workdir: the run's folder.
      dataset: the name of the data set that the examples are of.
      examples: what the run is scored on.
      data_dir: where TensorFlow Datasets keeps its sets.
    """
    path = pathlib.Path(workdir).expanduser() / run_folder.CONFIG_FILE
    if not path.exists():
        return None
    config = run_folder.read_config(path)
    if getattr(examples.source, "sha256", None) is not None:
        return _count_files(path.parent, config, examples)
    return _count_records(config, dataset, examples, data_dir)


def warn(
    workdir: str, dataset: str, examples: "examples_lib.Examples", data_dir: str
) -> int | None:
    """Does `count`, and says so if there are any."""
    seen = count(workdir, dataset, examples, data_dir)
    if seen:
        logging.warning(
            "The network was trained on %d of these %d images.",
            seen,
            examples.size,
        )
    return seen


def _count_files(folder, config, examples):
    from efficientnet_tf.data.sets import split_list

    rows = split_list.read(find_list(folder, config))
    if rows is None:
        return None
    return split_list.count_listed(
        rows, _trained_splits(config), examples.source.sha256
    )


def find_list(folder: pathlib.Path, config: dict) -> pathlib.Path:
    """Returns the folder with a run's list of images: its own or its grid's."""
    from transfer.sweep import image_lists

    if not (folder / run_folder.IMAGES_FILE).exists() and "task" in config:
        for place in folder.absolute().parents[:_LEVELS]:
            if (place / run_folder.PLAN_FILE).exists():
                return image_lists.find_list(place, config["task"])
    return folder


def _trained_splits(config):
    """Returns the names of the splits that a run trained on."""
    if config.get("folds"):  # All of them, by one run or another.
        return [run_folder.name_fold(i) for i in range(config["folds"])]
    if "splits" in config:  # From scratch.
        return config["splits"][:1]
    return config.get("train_on", "train").split("+")


def _count_records(config, dataset, examples, data_dir):
    from efficientnet_tf.data.sets import sources
    from transfer.config import tasks

    if config.get("shots"):
        return None  # Which ones of its splits is not in their names.
    if "task" in config:
        task = tasks.TASKS.get(config["task"])
        if task is None or task.dataset != dataset:
            return None
        splits = [getattr(task, name) for name in _trained_splits(config)]
    elif config.get("dataset") == dataset:
        splits = _trained_splits(config)
    else:
        return None
    return sum(
        sources.load(dataset, split, data_dir).count_shared(examples)
        for split in splits
    )
