"""What a run's config.json holds, and how one of an earlier version is read."""

import contextlib
import dataclasses
import os
import pathlib
import typing
from collections.abc import Iterator

from absl import logging

from efficientnet_tf.data.sets import sources
from efficientnet_tf.models import registry
from efficientnet_tf.training import distribution, train_config
from efficientnet_tf.utils import configs, folder_options, run_folder

if typing.TYPE_CHECKING:
    import tensorflow as tf

# Counts what changes the images or learning rates of a given recipe, so that a
# resumed run can say so. 2: those of the official code.
PIPELINE = 2
# What is shown of a finished run.
RESULT = {
    **dict.fromkeys(("model", "dataset", "recipe"), str),
    **dict.fromkeys(("top1", "seconds"), float),
    **dict.fromkeys(("epochs", "train_images", "test_images"), int),
}


def describe(
    model_name: str,
    config: train_config.TrainConfig,
    folder: folder_options.Options,
) -> dict:
    """Returns the configuration that a resumed run must have in common."""
    described = {
        **dataclasses.asdict(config),
        **folder.describe(),
        "pipeline": PIPELINE,
    }
    if registry.is_file(model_name):  # Its content may change.
        variant = registry.get_variant(model_name)
        described["network"] = dataclasses.asdict(variant)
    return described


def find_finished(
    run: dict, workdir: str | os.PathLike, data_dir: str | None = None
) -> dict | None:
    """Returns the row of a finished run, or None.

    Warns of an unfinished one that a version with another `PIPELINE` began.

    Raises:
      OSError, ValueError: see `run_folder.start_run`.
    """
    finished = run_folder.start_run(workdir, run, _upgrade, RESULT)
    if finished is not None:
        sources.warn_of_changes(run["dataset"], workdir, data_dir)
    else:
        _warn_of_changes(workdir)
    return finished


@contextlib.contextmanager
def working_on(
    run: dict, workdir: str | os.PathLike, devices: "tf.distribute.Strategy"
) -> Iterator[dict | None]:
    """See `run_folder.working_on`; of several workers only one writes."""
    if not distribution.is_chief(devices):
        yield None
        return
    with run_folder.working_on(workdir, run, _upgrade, RESULT) as finished:
        yield finished


def _warn_of_changes(workdir):
    path = pathlib.Path(workdir) / run_folder.CONFIG_FILE
    if not path.exists():
        return
    if run_folder.read_config(path).get("pipeline") != PIPELINE:
        logging.warning(
            "%s was begun by an earlier version; from here on its images and "
            "learning rates are those of this one (CHANGELOG.md).",
            workdir,
        )


def _upgrade(stored):
    # A run of an earlier version lacks later fields, whose defaults are what it
    # did; one of another pipeline may be resumed: `_warn_of_changes` says so.
    stored = configs.list_defaults(train_config.TrainConfig) | stored
    return {**registry.upgrade(stored), "pipeline": PIPELINE}
