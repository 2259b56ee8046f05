"""What several commands share."""

import contextlib
import signal
import sys
import typing
from collections.abc import Iterable, Iterator, Sequence

from efficientnet_tf.commands import program
from efficientnet_tf.utils import extras, files

if typing.TYPE_CHECKING:
    from efficientnet_tf.inference import classifier as classifier_lib
    from efficientnet_tf.search import trials as trials_lib
    from transfer import tasks as tasks_lib


def load_classifier(
    model: str | None,
    weights: str | None,
    workdir: str | None,
    resolution: int | None = None,
) -> "classifier_lib.Classifier":
    """Returns the `Classifier` of --workdir, or of --model and --weights."""
    if bool(model) == bool(workdir):
        raise ValueError("Pass either --model (and --weights) or --workdir.")
    if model:  # Before what is slow to import.
        from efficientnet_tf.weights import catalog

        catalog.check_name(model, weights)
    from efficientnet_tf.inference import classifier

    if workdir:
        return classifier.from_run(workdir)
    return classifier.from_weights(model, weights, resolution)


def parse_numbers(flag: str, texts: Sequence[str]) -> list[float]:
    """Returns the numbers of a list flag."""
    try:
        return [float(text) for text in texts]
    except ValueError:
        raise ValueError(
            f"--{flag}={','.join(texts)} must be numbers."
        ) from None


def check_dataset(name: str) -> None:
    """Checks that what reads a data set is installed."""
    if not name.startswith((files.FOLDER_PREFIX, files.RECORDS_PREFIX)):
        extras.require("Named data sets", "tensorflow_datasets")


def check_backend(backend: str) -> None:
    """Checks that a Keras backend is installed."""
    if backend == "jax":
        extras.require("Measurements under JAX", "jax")


def check_trials(dataset: str, *, trains: bool = True) -> None:
    """Checks that what a search or a study needs is installed."""
    extras.require("Charts", "matplotlib")
    if trains:
        extras.require("TensorBoard logs", "tensorboard")
        check_dataset(dataset)


def check_task(task: "tasks_lib.Task") -> None:
    """Checks that what reads a task's images is installed."""
    if task.source == "digits":
        extras.require("The digits", "sklearn")
    elif task.source == "tfds":
        extras.require("Named data sets", "tensorflow_datasets")


def check_finetuning(tasks: Iterable["tasks_lib.Task"]) -> None:
    """Checks that what fine-tuning on these tasks needs is installed."""
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
        code = program.INTERRUPTED if interrupted else program.RESTART
        program.fail(f"{stop} The same command goes on.", code)


def run_trials(
    names: Sequence[str],
    budget: "trials_lib.Budget",
    workdir: str,
    data_dir: str | None,
    workers: int,
) -> None:
    """Trains what is left of a study, here or in `workers` processes."""
    from efficientnet_tf.search import trials
    from efficientnet_tf.utils import workers as workers_lib

    if not workers_lib.is_worker():
        trials.check_splits(budget, data_dir)
    progress = workers_lib.Progress(
        lambda: trials.count(names, budget, workdir)
    )
    progress.show()
    if workers > 1:
        workers_lib.run_workers(workdir, workers, progress)
        return
    with exiting_when_preempted():
        trials.work(
            names, budget, workdir, data_dir=data_dir, on_run=progress.show
        )
    if workers_lib.is_worker():
        sys.exit()  # What comes after is for the process that started it.
