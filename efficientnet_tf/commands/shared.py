"""Flags, checks and steps that several commands share."""

import contextlib
import math
import pathlib
import signal
import sys
import typing
from collections.abc import Iterable, Iterator, Sequence

from absl import flags

from efficientnet_tf.commands import program
from efficientnet_tf.models import variants
from efficientnet_tf.training import cluster, loggers
from efficientnet_tf.utils import (
    configs,
    data_names,
    extras,
    folder_options,
    local_cluster,
    run_folder,
    watchdog,
)
from efficientnet_tf.weights import families

if typing.TYPE_CHECKING:
    from efficientnet_tf.search import trials as trials_lib
    from transfer.config import tasks as tasks_lib

# Help of flags that several commands have.
WEIGHTS_HELP = (
    "Published weights by name, a file, hf://USER/REPO, or none for random "
    "weights."
)
TASK_HELP = f"E.g. cifar10, digits; or your own: {data_names.FORMS}."
DATA_DIR_HELP = (
    "Where TensorFlow Datasets keeps its sets; ~/tensorflow_datasets if unset."
)
MODEL_HELP = "A network's name, or a variant file."
TRAIN_SPLIT_HELP = "What to train on, e.g. train[:90%]."
SET_HELP = "field=value: changes a field of the recipe."
PRECISION_HELP = f"One of {', '.join(configs.PRECISIONS)}."
DATASET_HELP = f"A TFDS name, {data_names.FORMS}"
SKIP_BAD_HELP = "Of folder:PATH and the like: leave unreadable images out."
GROUP_BY_HELP = (
    "Of folder:PATH and the like: what stays in one split, by a regular "
    "expression on the path below PATH (its first group), or a .csv file of "
    "path and group."
)
LABELS_HELP = (
    "Of csv:FILE: columns of 0 and 1, one for each of several labels an image."
)
TARGETS_HELP = (
    "Numbers to predict: columns of csv:FILE, or features of tfds:NAME."
)
RESIZE_HELP = (
    "How images of another shape than the network's input get this shape: "
    "crop (the centre), squash (their proportions change) or letterbox (all of "
    "them, between grey bars). By default as the task or recipe says: crop for "
    "your own images."
)
IMAGE_SIZE_HELP = (
    "Of the network's input, HEIGHTxWIDTH in pixels, e.g. 160x320, or one "
    "number for a square; the network's own if unset."
)
CLASS_WEIGHT_HELP = (
    "What images count in the loss: auto (each class alike), none, or "
    "NAME=WEIGHT,...; short for --set=class_weight=..."
)
WORKERS_HELP = "Processes on this machine that share the work."
MAX_WORKERS = 1024


# Flags that are defined here belong to the command that asks for them.
flags.disclaim_key_flags()


def finetune_config() -> type:
    """Returns the class whose fields --set takes where a network is tuned."""
    from transfer.config import recipes

    return recipes.FinetuneConfig


def define_weights_flags() -> tuple[flags.FlagHolder, flags.FlagHolder]:
    """Defines --source_family and --normalization, and returns them."""
    return (
        flags.DEFINE_string(
            "source_family",
            None,
            "Whose PyTorch weights a file holds, if it does not tell: "
            f"{', '.join(families.FAMILIES)}.",
        ),
        flags.DEFINE_string(
            "normalization",
            None,
            "What the images of the weights got, if not what their file or "
            f"the table says: {', '.join(variants.NORMALIZATIONS)}.",
        ),
    )


def define_input_wait() -> flags.FlagHolder:
    """Defines --input_wait_seconds, for `set_input_wait`, and returns it."""
    return flags.DEFINE_float(
        "input_wait_seconds",
        watchdog.INPUT_SECONDS,
        "How long to wait for images that do not come, from a data service or "
        "a disk, before the run is saved and ends with code 75.",
    )


def set_input_wait(seconds: float) -> None:
    """Sets how long this command waits for input, see `define_input_wait`."""
    check_seconds("input_wait_seconds", seconds)
    watchdog.set_limit(seconds)


def define_shape_flags() -> tuple[flags.FlagHolder, flags.FlagHolder]:
    """Defines --resize and --image_size, which are short for --set."""
    return (
        flags.DEFINE_string("resize", None, RESIZE_HELP),
        flags.DEFINE_string("image_size", None, IMAGE_SIZE_HELP),
    )


def add_settings(
    settings: Sequence[str], *holders: flags.FlagHolder
) -> list[str]:
    """Returns values of --set, and those of flags that are short for others."""
    given = [flag for flag in holders if flag.value is not None]
    return [*settings, *(f"{flag.name}={flag.value}" for flag in given)]


def check_seconds(flag: str, seconds: float) -> None:
    """Raises ValueError for a time that is negative, infinite or no number."""
    if not 0 <= seconds < math.inf:
        raise ValueError(
            f"--{flag}={seconds} must be a number of seconds from 0 on."
        )


def check_weights(
    model: str,
    weights: str | None,
    *,
    source_family: str | None = None,
    normalization: str | None = None,
) -> None:
    """Raises ValueError for an unknown network, or unknown weights."""
    from efficientnet_tf.models import registry
    from efficientnet_tf.weights import catalog

    registry.get_variant(model)
    families.check(source_family)
    if normalization is not None:
        variants.get_normalization(normalization)
    if weights is not None:
        catalog.check_name(model, weights)


def parse_numbers(flag: str, texts: Sequence[str]) -> list[float]:
    """Returns the numbers of a list flag."""
    try:
        numbers = [float(text) for text in texts]
    except ValueError:
        raise ValueError(
            f"--{flag}={configs.show(','.join(texts))} must be numbers."
        ) from None
    for number in numbers:
        configs.check_number(f"--{flag}", number)
    return numbers


def check_dataset(name: str) -> None:
    """Checks that a data set can be read: its files, or a package."""
    if data_names.find_kind(name) is None:
        configs.refuse_path("dataset", name)
    data_names.check(name)


def make_folder_options(
    group_by: str | None,
    skip_bad: bool,
    *,
    divides: bool,
    labels: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
) -> folder_options.Options:
    """Returns how images are read, by the flags of these names.

    Args:
      group_by: the flag.
      skip_bad: the flag.
      divides: whether the data set is one that is divided here.
      labels: the flag, if the command has it.
      targets: the flag, if the command has it.

    Raises:
      ValueError: a bad expression, or a data set that has its own splits.
    """
    options = folder_options.Options(
        group_by,
        skip_bad,
        labels=tuple(labels or ()),
        targets=tuple(targets or ()),
    )
    if not divides and (group_by or skip_bad):
        flag = "group_by" if group_by else "skip_bad"
        raise ValueError(f"--{flag} is for {data_names.FORMS}.")
    if not divides and (labels or targets):
        flag = "labels" if labels else "targets"
        raise ValueError(
            f"--{flag} names columns of {data_names.CSV.prefix}"
            f"{data_names.CSV.rest}."
        )
    return options


def check_backend(backend: str) -> None:
    """Checks that a Keras backend is installed."""
    if backend == "jax":
        extras.require("Measurements under JAX", "jax")


class BudgetFlags:
    """What each network of a search is trained on, how, and how often."""

    def __init__(
        self, dataset: str | None, eval_help: str, seeds: int, what: str
    ) -> None:
        self.dataset = flags.DEFINE_string(
            "dataset", dataset, "As for `efficientnet train`."
        )
        self._splits = (
            flags.DEFINE_string("train_split", "train", TRAIN_SPLIT_HELP),
            flags.DEFINE_string("eval_split", "validation", eval_help),
        )
        self.recipe = flags.DEFINE_string(
            "recipe", "smoke", "A row of training/recipes.py."
        )
        self._settings = flags.DEFINE_multi_string("set", [], SET_HELP)
        self.seeds = flags.DEFINE_integer(
            "seeds", seeds, f"Runs of each {what}.", 1, configs.MAX_RUNS
        )

    def make(self, keep: float = 1.0) -> "trials_lib.Budget":
        """Returns the budget that the flags say; see `trials.Budget`."""
        from efficientnet_tf.search import trials

        return trials.Budget(
            dataset=self.dataset.value,
            recipe=self.recipe.value,
            settings=tuple(self._settings.value),
            splits=tuple(split.value for split in self._splits),
            seeds=self.seeds.value,
            keep=keep,
        )


class LoggerFlags:
    """--logger, and --log_model that goes with it."""

    def __init__(self) -> None:
        self._names = flags.DEFINE_list(
            "logger",
            [],
            f"Record the run with some of {', '.join(loggers.LOGGERS)}.",
        )
        self._model = flags.DEFINE_bool(
            "log_model", False, "With --logger: its model, too, as an artifact."
        )

    def check(self) -> None:
        """Checks names and packages; see `loggers.check`."""
        loggers.check(self._names.value)
        if self._model.value and not self._names.value:
            raise ValueError("--log_model goes with --logger.")

    @contextlib.contextmanager
    def tracking(self, workdir: str) -> Iterator[loggers.Tracker]:
        """Yields what tells the loggers of a run in a folder."""
        # Of several workers one records.
        names = self._names.value if cluster.is_chief() else ()
        with loggers.tracking(names, workdir) as tracker:
            yield tracker

    def finish(self, tracker: loggers.Tracker, row: dict, workdir: str) -> None:
        """Records a run's row, and its model if that is asked for."""
        paths = []
        if self._model.value:
            paths = [
                pathlib.Path(workdir) / name
                for name in (run_folder.MODEL_FILE, run_folder.SETTINGS_FILE)
            ]
        tracker.finish(row, paths)


def check_trials(dataset: str, *, trains: bool = True) -> None:
    """Checks that the packages of a search or a study are installed."""
    extras.require("Charts", "matplotlib")
    if trains:
        extras.require("TensorBoard logs", "tensorboard")
        check_dataset(dataset)


def check_task(task: "tasks_lib.Task") -> None:
    """Checks that a task's images can be read: their folder, or a package."""
    if task.source == "named":
        data_names.check(task.dataset)
    elif task.source == "digits":
        extras.require("The digits", "sklearn")
    elif task.source == "tfds":
        extras.require("Named data sets", "tensorflow_datasets")


def check_finetuning(tasks: Iterable["tasks_lib.Task"]) -> None:
    """Checks that the packages for fine-tuning on tasks are installed."""
    extras.require(
        "Fine-tuning's logs, charts and linear heads",
        "tensorboard",
        "matplotlib",
        "sklearn",
    )
    for task in tasks:
        check_task(task)


@contextlib.contextmanager
def exiting_when_preempted() -> Iterator[None]:
    """Turns `callbacks.Preempted` into one line and an exit code."""
    from efficientnet_tf.training import callbacks

    try:
        yield
    except callbacks.Preempted as stop:
        interrupted = stop.signal == signal.SIGINT
        code = program.INTERRUPTED if interrupted else local_cluster.RESTART
        program.fail(f"{stop} Run the same command again to resume.", code)


def run_trials(
    names: Sequence[str],
    budget: "trials_lib.Budget",
    workdir: str,
    data_dir: str | None,
    workers: int,
) -> None:
    """Trains the remaining networks, here or in `workers` processes."""
    from efficientnet_tf.search import workflow
    from efficientnet_tf.utils import workers as workers_lib

    with exiting_when_preempted():
        workflow.run_study(
            names, budget, workdir, data_dir=data_dir, workers=workers
        )
    if workers_lib.is_worker():
        sys.exit()  # The process that started this one writes the report.
