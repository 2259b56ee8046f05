"""The finished run that another one starts from: its network and its images."""

import dataclasses
import os
import pathlib
import shutil
from typing import Any

from efficientnet_tf.models import registry
from efficientnet_tf.utils import (
    data_names,
    files,
    folder_options,
    run_folder,
    untrusted,
)
from transfer.config import finetune_config

# How a run has divided a folder of images.
_LISTS = (
    run_folder.IMAGES_FILE,
    run_folder.UNREADABLE_FILE,
    run_folder.NEAR_DUPLICATES_FILE,
)
# Of the row of the run that is started from.
_ROW = {"recipe": str, "score": float, "evaluated_on": str}


@dataclasses.dataclass(frozen=True)
class Start:
    """A finished fine-tuning run: its folder, config, and row of results."""

    folder: pathlib.Path
    config: dict[str, Any]
    row: dict[str, Any]

    @property
    def model(self) -> registry.Model:
        """Its network: a name or, of a variant file, what was in it."""
        name = self.config.get("model")
        if name in registry.list_models():
            return name
        with untrusted.reading(self.folder / run_folder.CONFIG_FILE):
            return registry.from_fields(self.config["network"])

    def describe(self, evaluated_on: str) -> dict[str, Any]:
        """Returns fields of the row of a run that starts from this one."""
        same = evaluated_on == self.row["evaluated_on"]
        return {
            "start_recipe": self.row["recipe"],
            # On other images it cannot be compared.
            "start_score": self.row["score"] if same else None,
        }


def find_start(weights: str | os.PathLike | None) -> Start:
    """Returns the finished run that weights name.

    Raises:
      ValueError: they are no folder of a fine-tuning run that has finished, or
        its network is quantized already.
      untrusted.DamagedError: one of its files is damaged.
    """
    folder = pathlib.Path(weights or "").expanduser()
    needed = (
        run_folder.CONFIG_FILE,
        run_folder.RESULTS_FILE,
        run_folder.MODEL_FILE,
        run_folder.SETTINGS_FILE,
    )
    missing = [name for name in needed if not (folder / name).is_file()]
    row = None if missing else run_folder.last_result(folder)
    if weights is None or row is None:
        raise ValueError(
            "quantization='int8' starts from a finished fine-tuning run: "
            f"weights={os.fspath(weights or 'none')!r} must be its folder"
            + (f", with {missing[0]}." if folder.is_dir() and missing else ".")
        )
    config = run_folder.read_config(folder / run_folder.CONFIG_FILE)
    if "task" not in config:
        raise ValueError(
            f"{folder} is no fine-tuning run; quantization='int8' starts from "
            "one."
        )
    run_folder.check_result(folder, row, _ROW)
    if config.get("quantization", "none") != "none":
        raise ValueError(
            f"{folder} is quantized already; name the run that it started from."
        )
    return Start(folder, config, row)


def check_start(
    start: Start,
    task: str,
    model: registry.Model,
    config: finetune_config.FinetuneConfig,
    folder: folder_options.Options,
) -> None:
    """Checks that a run may start from another one.

    Raises:
      ValueError: it has another task or network, or was trained on images that
        this one is scored on.
    """
    own = start.config
    if not data_names.is_same(own["task"], task):
        raise ValueError(
            f"{start.folder} is a run on {own['task']}, not on {task}; "
            "quantization='int8' goes on with a run's own images."
        )
    if registry.get_variant(start.model) != registry.get_variant(model):
        raise ValueError(
            f"{start.folder} has the network {own.get('model')}, not {model}."
        )
    # Another division would put images that it was trained on among those to
    # score on.
    for field, value in (
        ("group_by", folder.group_by),
        ("skip_bad", folder.skip_bad or None),
    ):
        if (own.get(field) or None) != value:
            raise ValueError(
                f"{start.folder} has {field}={own.get(field)!r}, not "
                f"{value!r}; images must be divided as they were."
            )
    listed = (start.folder / run_folder.IMAGES_FILE).exists()
    if data_names.find_kind(task) and not listed:
        raise ValueError(
            f"{start.folder} has no {run_folder.IMAGES_FILE}, which says how "
            "its images were divided; that of a grid's run is in the grid's "
            "folder: copy it."
        )
    if config.evaluate_on in str(own.get("train_on", "")):
        raise ValueError(
            f"evaluate_on={config.evaluate_on!r}: {start.folder} was trained "
            "on these images."
        )


def copy_lists(start: Start, workdir: pathlib.Path) -> None:
    """Copies how the run divided its images, so that another one does, too."""
    for name in _LISTS:
        if (start.folder / name).exists() and not (workdir / name).exists():
            workdir.mkdir(parents=True, exist_ok=True)
            with files.atomic(workdir / name) as temporary:
                shutil.copyfile(start.folder / name, temporary)
