"""A run's folder and a study's: the names of their files, and their start."""

import dataclasses
import json
import pathlib
from collections.abc import Callable

from absl import logging

from efficientnet_tf.utils import files

# In a run's folder.
CONFIG_FILE = "config.json"
RESULTS_FILE = "results.jsonl"
METRICS_FILE = "metrics.jsonl"
MODEL_FILE = "model.keras"
CHECKPOINTS = "checkpoints"
EXAMPLES = "examples"  # A few images that the run was scored on.

# In the folder of a study or a grid, which is many runs.
PLAN_FILE = "plan.json"


def start_run(
    workdir: str | pathlib.Path,
    run: dict,
    upgrade: Callable[[dict], dict] = dict,
) -> dict | None:
    """Checks a run's folder; returns the result of a finished run, or None.

    Args:
      workdir: the folder, there or not.
      run: the run's config.
      upgrade: maps the config of an earlier version to what it would be now.

    Raises:
      OSError: `workdir` cannot become a folder to write into.
      ValueError: it holds another run.
    """
    workdir = pathlib.Path(workdir)
    files.check_folder(workdir)
    check_run(workdir / CONFIG_FILE, run, upgrade)
    result = last_result(workdir)
    if result is not None:
        logging.info("%s is finished; delete it to train again.", workdir)
    return result


def start_study(plan: object, workdir: str | pathlib.Path) -> None:
    """Makes the folder of many runs, or checks that it is this plan's.

    Args:
      plan: a frozen dataclass.
      workdir: the folder.

    Raises:
      OSError: `workdir` cannot become a folder to write into.
      ValueError: it is another plan's.
    """
    workdir = pathlib.Path(workdir)
    files.check_folder(workdir)
    path = workdir / PLAN_FILE
    check_run(path, dataclasses.asdict(plan))
    if not path.exists():
        files.write_json(path, dataclasses.asdict(plan))


def check_run(
    path: str | pathlib.Path,
    run: dict,
    upgrade: Callable[[dict], dict] = dict,
) -> None:
    """Raises ValueError if the config file `path` is of another run."""
    path = pathlib.Path(path)
    if not path.exists():
        return
    stored = _as_json(upgrade(json.loads(path.read_text())))
    for field, value in _as_json(run).items():
        there = stored.get(field)
        if isinstance(value, dict) and isinstance(there, dict):
            # Of what is within, only what differs.
            differs = [key for key in value if there.get(key) != value[key]]
            if not differs:
                continue
            field = f"{field}'s {differs[0]}"
            there, value = there.get(differs[0]), value[differs[0]]
        if there != value:
            raise ValueError(
                f"{path.parent} holds another run: {field}={there!r} "
                f"there, {value!r} here. Choose another workdir, or delete "
                "that one."
            )


def last_result(folder: str | pathlib.Path) -> dict | None:
    """Returns the newest result in a run's folder; None without one."""
    path = pathlib.Path(folder) / RESULTS_FILE
    rows = files.read_json_lines(path) if path.exists() else []
    return rows[-1] if rows else None


def _as_json(config):
    """Returns a config as a file holds it: lists for tuples."""
    return json.loads(json.dumps(config))
