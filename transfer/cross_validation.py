"""A cross-validation: a run for each fold, and what all of them have shown.

The folders of the runs are in its own; each is a run like any other, tested on
its fold. So an interrupt loses what it loses of one run, and the same call goes
on with the fold that is not finished.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable
from typing import Any

from absl import logging

from efficientnet_tf.data.sets import fold_lists, sources
from efficientnet_tf.training import distribution
from efficientnet_tf.utils import files, folder_options, run_folder
from transfer import finetune, out_of_fold
from transfer.config import recipes, tasks
from transfer.report import run_report
from transfer.scores import environment

# Trains a fold's run: takes its folder, the options that its images are read
# by and its config, and returns its row of results.
Train = Callable[
    [pathlib.Path, folder_options.Options, recipes.FinetuneConfig], dict
]


def check(
    folds: int,
    task: tasks.Task,
    data_dir: str | None,
    config: recipes.FinetuneConfig,
) -> None:
    """Raises ValueError for what cannot be done by folds, before any work.

    Args:
      folds: how many.
      task: whose images are divided.
      data_dir: where TFDS keeps its sets.
      config: of each fold's run.
    """
    if not 2 <= folds <= run_folder.MOST_FOLDS:
        raise ValueError(
            f"--folds={folds} must be from 2 to {run_folder.MOST_FOLDS}."
        )
    if not tasks.reads_files(task, data_dir) or sources.is_imagenet(
        task.dataset
    ):
        named = f"; tfds:{task.dataset} has the same ones"
        raise ValueError(
            f"--folds={folds} divides images that are files, but {task.dataset}"
            " is read as its publisher divided it"
            f"{named if task.source == 'tfds' else ''}."
        )
    if config.quantization != "none":
        raise ValueError(
            f"--folds={folds} does not go with quantization="
            f"{config.quantization!r}, which starts from one finished run: "
            "name a fold's folder as weights."
        )
    if config.evaluate_on != "test":
        raise ValueError(
            f"--folds={folds} scores each image once, as a test image; "
            f"evaluate_on={config.evaluate_on!r} does not go with it."
        )


def run(
    train: Train,
    task: tasks.Task,
    config: recipes.FinetuneConfig,
    workdir: str | os.PathLike,
    *,
    folds: int,
    described: dict[str, Any],
    data_dir: str | None = None,
    folder: folder_options.Options = folder_options.DEFAULT,
) -> dict:
    """Trains and scores all folds, and returns the row of results of all.

    The same call on the same workdir goes on with what is not finished; for a
    finished one it returns the row.

    Args:
      train: see `Train`.
      task: whose images are divided.
      config: of each fold's run; a time limit is that of all together.
      workdir: the folder of all.
      folds: how many.
      described: what the configuration says of recipe and network.
      data_dir: where TFDS keeps its sets.
      folder: how images are read.

    Raises:
      ValueError: see `check`; a workdir of another run.
      RuntimeError: a class of fewer images than folds, or the data cannot be
        read; another process is at it.
    """
    check(folds, task, data_dir, config)
    workdir = pathlib.Path(workdir)
    whole = {
        "task": task.dataset,
        **dataclasses.asdict(config),
        **described,
        **folder.describe(),
        "folds": folds,
    }
    with run_folder.working_on(
        workdir, whole, finetune.upgrade, finetune.RESULT
    ) as finished:
        if finished is not None:
            tasks.warn_of_changes(task, data_dir, workdir, folder)
            run_report.write_missing(workdir)
            return finished
        if not run_folder.has_begun(workdir):
            layout = tasks.read_layout(task, data_dir, folder)
            fold_lists.write(layout, folds, folder, workdir, config.seed)
            files.write_json(workdir / run_folder.CONFIG_FILE, whole)
        limit = config.time_limit / folds
        config = dataclasses.replace(config, time_limit=limit)
        row = _train_all(train, config, workdir, folds, folder)
        files.append_json_line(workdir / run_folder.RESULTS_FILE, row)
        run_report.write_missing(workdir)
        return row


def _train_all(train, config, workdir, folds, folder):
    rows = []
    for number in range(folds):
        own = workdir / run_folder.name_fold(number)
        logging.info("Fold %d of %d, in %s.", number + 1, folds, own)
        options = dataclasses.replace(folder, workdir=own, resumes=True)
        rows.append(train(own, options, config))
    row = out_of_fold.gather(workdir, rows)
    files.write_json(
        workdir / environment.ENVIRONMENT_FILE,
        environment.describe(distribution.describe_device()),
    )
    return row
