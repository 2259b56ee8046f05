"""A grid's images: all runs of a task share one list, kept beside them."""

import dataclasses
import os
import pathlib

from efficientnet_tf.utils import folder_options, run_folder
from transfer.config import tasks
from transfer.sweep import plan as plan_lib

FOLDER = "images"


def load(
    plan: plan_lib.Plan, workdir: str | os.PathLike, data_dir: str | None
) -> None:
    """Reads all tasks' images, and writes the lists of a grid that begins.

    Raises:
      OSError, RuntimeError: data that cannot be read, or that have changed so
        that a grid that has begun cannot go on.
    """
    workdir = pathlib.Path(workdir)
    begun = any((workdir / name).exists() for name in ("search", "final"))
    for name in plan.tasks:
        options = dataclasses.replace(
            folder_of(plan, workdir, name), resumes=begun
        )
        tasks.load_examples(tasks.get_task(name), data_dir, options)


def warn_of_changes(
    plan: plan_lib.Plan, workdir: str | os.PathLike, data_dir: str | None
) -> None:
    """Says what changed in the tasks' folders since a grid ended."""
    for name in plan.tasks:
        lists = find_list(workdir, name)
        tasks.warn_of_changes(tasks.get_task(name), data_dir, lists)


def folder_of(
    plan: plan_lib.Plan, workdir: str | os.PathLike, task: str
) -> folder_options.Options:
    """Returns how a task's folder is read: by the grid's list, if it is there.

    Args:
      plan: what is run.
      workdir: the grid's folder.
      task: its name.
    """
    lists = find_list(workdir, task)
    begun = (lists / run_folder.IMAGES_FILE).exists()
    return plan.folder.begin(lists, begun)


def find_list(workdir: str | os.PathLike, task: str) -> pathlib.Path:
    """Returns the folder of a grid's list of a task's images."""
    return pathlib.Path(workdir) / FOLDER / plan_lib.to_file_name(task)
