"""How many of the images that a run is scored on are among those it saw."""

import json
import pathlib
import typing

from efficientnet_tf.utils import files, run_folder

if typing.TYPE_CHECKING:
    from efficientnet_tf.data import examples as examples_lib

# A grid keeps one list of images for its runs, which are so many folders below.
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
    config = json.loads(path.read_text())
    if dataset.startswith(files.FOLDER_PREFIX):
        return _count_files(path.parent, config, examples)
    return _count_records(config, dataset, examples, data_dir)


def _count_files(folder, config, examples):
    from efficientnet_tf.data import split_list

    for place in (folder, *folder.absolute().parents[:_LEVELS]):
        rows = split_list.read(place)
        if rows is not None:
            break
    else:
        return None
    splits = config.get("train_on", "train").split("+")
    paths = [
        pathlib.Path(examples.source.name(i)) for i in range(examples.size)
    ]
    return split_list.count_listed(rows, splits, paths)


def _count_records(config, dataset, examples, data_dir):
    from efficientnet_tf.data import sources
    from transfer import tasks

    if "task" in config:
        task = tasks.TASKS.get(config["task"])
        if task is None or task.dataset != dataset:
            return None
        names = config.get("train_on", "train").split("+")
        splits = [getattr(task, name) for name in names]
    elif config.get("dataset") == dataset:
        splits = config["splits"][:1]
    else:
        return None
    return sum(
        sources.load(dataset, split, data_dir).count_shared(examples)
        for split in splits
    )
