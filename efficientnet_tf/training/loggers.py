"""Runs in MLflow or Weights & Biases, by name; imported only where asked for.

A logger records a run's config, the metrics of each epoch and its last row. It
never ends a run: what it raises becomes one warning, and the run goes on
without it. Where and as whom it logs is the library's own to say:
$MLFLOW_TRACKING_URI and $MLFLOW_EXPERIMENT_NAME, `wandb login` and
$WANDB_PROJECT.
"""

import contextlib
import math
import os
import pathlib
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from absl import logging

from efficientnet_tf.utils import (
    configs,
    documents,
    extras,
    files,
    run_folder,
    untrusted,
)

if typing.TYPE_CHECKING:
    import keras

# In a run's folder: {logger: what it calls the run}.
FILE = "loggers.json"
# Before the names of what the last row says.
RESULT = "result/"
# Of an epoch's row, what is for resuming alone.
_NOT_METRICS = ("epoch", "finished", "process", "clock")
_LONGEST = 500  # Letters of a parameter; MLflow takes 6,000.


class Logger(Protocol):
    """What a library is asked for.

    `open` begins a run, or goes on with the one of an earlier process, and
    returns what the library calls it. `close` takes "FINISHED", "FAILED" or
    "KILLED".
    """

    def check(self) -> None: ...

    def open(self, known: str | None, folder: pathlib.Path) -> str: ...

    def log_config(self, config: Mapping[str, Any]) -> None: ...

    def log(self, metrics: Mapping[str, float], epoch: int) -> None: ...

    def log_texts(self, texts: Mapping[str, str]) -> None: ...

    def log_files(self, paths: Sequence[pathlib.Path]) -> None: ...

    def close(self, status: str) -> None: ...


class _Mlflow:
    """Runs of MLflow, in the present experiment."""

    def check(self) -> None:
        if not os.environ.get("MLFLOW_TRACKING_URI"):
            # Its local database, which mlflow-skinny comes without.
            if not extras.is_installed("sqlalchemy"):
                raise ValueError(
                    "--logger=mlflow: set MLFLOW_TRACKING_URI to a server's "
                    "address, or `pip install mlflow` for a database here."
                )
        # A server that is gone is tried for minutes by default, at each epoch.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        import mlflow

        mlflow.search_experiments(max_results=1)

    def open(self, known, folder):
        import mlflow

        self._mlflow = mlflow
        name = None if known else folder.absolute().name
        return mlflow.start_run(known, run_name=name).info.run_id

    def log_config(self, config):
        self._mlflow.log_params(
            {name: str(value)[:_LONGEST] for name, value in config.items()}
        )

    def log(self, metrics, epoch):
        self._mlflow.log_metrics(dict(metrics), step=epoch)

    def log_texts(self, texts):
        self._mlflow.set_tags(dict(texts))

    def log_files(self, paths):
        for path in paths:
            self._mlflow.log_artifact(str(path), "model")

    def close(self, status):
        self._mlflow.end_run(status)


class _Wandb:
    """Runs of Weights & Biases; files of its own go into the run's folder."""

    def check(self) -> None:
        import wandb

        mode = os.environ.get("WANDB_MODE", "online")
        if mode == "online" and not wandb.api.api_key:
            raise ValueError(
                "--logger=wandb: run `wandb login`, or set WANDB_API_KEY, or "
                "WANDB_MODE=offline."
            )

    def open(self, known, folder):
        import wandb

        self._wandb = wandb
        self._run = wandb.init(
            id=known,
            resume="allow",
            dir=os.fspath(folder),
            name=folder.absolute().name,
        )
        return self._run.id

    def log_config(self, config):
        self._run.config.update(dict(config), allow_val_change=True)

    def log(self, metrics, epoch):
        self._run.log(dict(metrics), step=epoch)

    def log_texts(self, texts):
        self._run.summary.update(dict(texts))

    def log_files(self, paths):
        artifact = self._wandb.Artifact("model", type="model")
        for path in paths:
            artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def close(self, status):
        self._run.finish(exit_code=0 if status == "FINISHED" else 1)


LOGGERS: dict[str, Callable[[], Logger]] = {"mlflow": _Mlflow, "wandb": _Wandb}


def check(names: Sequence[str]) -> None:
    """Checks names and packages, before any work and without an import.

    Raises:
      ValueError: an unknown name.
      ModuleNotFoundError: names what is missing and the `pip install`.
    """
    for name in names:
        if name not in LOGGERS:
            raise ValueError(configs.unknown("logger", name, LOGGERS))
    extras.require(f"Loggers named {', '.join(names)}", *names)


class Tracker:
    """Tells loggers of one run; see `tracking`."""

    def __init__(self, names: Sequence[str], workdir: pathlib.Path):
        self._workdir = workdir
        path = workdir / FILE
        self._known: dict[str, Any] = {}
        if path.exists():
            self._known = documents.read_object(
                path, dict.fromkeys(LOGGERS, dict)
            )
        self._waiting = {name: LOGGERS[name]() for name in names}
        self._open: dict[str, Logger] = {}

    def check(self) -> None:
        """Checks that loggers of a new run can be reached.

        That of a resumed run may be gone for a while.

        Raises:
          ValueError, RuntimeError: one cannot; says why.
        """
        for name, logger in self._waiting.items():
            if name in self._known:
                continue
            try:
                logger.check()
            except ValueError:
                raise
            except Exception as error:  # Any library's own.
                raise RuntimeError(
                    f"--logger={name}: {untrusted.explain(error)}."
                ) from error

    def callbacks(self) -> "list[keras.callbacks.Callback]":
        """Returns what tells the loggers of each epoch."""
        if not self._waiting:
            return []
        import keras

        return [
            keras.callbacks.LambdaCallback(
                on_train_begin=lambda logs: self._begin(),
                on_epoch_end=lambda epoch, logs: self._log(
                    logs or {}, epoch + 1
                ),
            )
        ]

    def finish(
        self, row: Mapping[str, Any], paths: Sequence[pathlib.Path] = ()
    ) -> None:
        """Records the last row of a run, and closes it.

        A run that was closed by an earlier process stays as it is.

        Args:
          row: of the run's results; lists and tables are left out.
          paths: files of the model to keep with the run.
        """
        self._waiting = {
            name: logger
            for name, logger in self._waiting.items()
            if not self._known.get(name, {}).get("finished")
        }
        self._begin()
        numbers = {f"{RESULT}{k}": v for k, v in row.items() if _is_number(v)}
        texts = {
            f"{RESULT}{k}": v for k, v in row.items() if isinstance(v, str)
        }
        epoch = int(row.get("epochs") or 0)
        for name, logger in list(self._open.items()):
            self._guard(name, logger.log, numbers, epoch)
            self._guard(name, logger.log_texts, texts)
            if paths:
                self._guard(name, logger.log_files, paths)
        self.close("FINISHED")

    def close(self, status: str) -> None:
        """Closes what is open; `status` as in `Logger`."""
        for name, logger in list(self._open.items()):
            if self._guard(name, logger.close, status):
                self._known[name]["finished"] = status == "FINISHED"
        if self._open:
            files.write_json(self._workdir / FILE, self._known)
        self._open = {}

    def _begin(self):
        """Opens what is not open; a new one learns of earlier epochs."""
        waiting, self._waiting = self._waiting, {}
        for name, logger in waiting.items():
            known = self._known.get(name, {}).get("run")
            self._open[name] = logger
            self._guard(name, self._begin_one, name, logger, known)

    def _begin_one(self, name, logger, known):
        run = logger.open(known, self._workdir)
        self._known[name] = {"run": run, "finished": False}
        files.write_json(self._workdir / FILE, self._known)
        if known is not None:
            return
        path = self._workdir / run_folder.CONFIG_FILE
        if path.exists():
            logger.log_config(run_folder.read_config(path))
        rows = run_folder.read_metrics(self._workdir / run_folder.METRICS_FILE)
        for row in rows:
            logger.log(_pick_metrics(row), int(row["epoch"]))

    def _log(self, logs, epoch):
        for name, logger in list(self._open.items()):
            self._guard(name, logger.log, _pick_metrics(logs), epoch)

    def _guard(self, name, function, *arguments):
        """Calls a logger's function; returns whether it did not fail."""
        if name not in self._open:
            return False
        try:
            function(*arguments)
        except Exception as error:  # Any library's own: the run goes on.
            del self._open[name]
            logging.warning(
                "--logger=%s failed, and the run goes on without it: %s.",
                name,
                untrusted.explain(error),
            )
            return False
        return True


@contextlib.contextmanager
def tracking(
    names: Sequence[str], workdir: str | os.PathLike
) -> Iterator[Tracker]:
    """Yields a `Tracker` of a run; what ends the run closes it.

    Args:
      names: of `LOGGERS`, checked.
      workdir: the run's folder, which holds what each calls the run, so that a
        resumed run goes on in the same.
    """
    from efficientnet_tf.training import callbacks

    tracker = Tracker(tuple(dict.fromkeys(names)), pathlib.Path(workdir))
    tracker.check()
    try:
        yield tracker
    except callbacks.Preempted:
        tracker.close("KILLED")
        raise
    except Exception:
        tracker.close("FAILED")
        raise
    except BaseException:  # Ctrl-C, or SIGTERM.
        tracker.close("KILLED")
        raise
    tracker.close("FINISHED")


def _is_number(value):
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    )


def _pick_metrics(row):
    return {
        name: float(value)
        for name, value in row.items()
        if name not in _NOT_METRICS and math.isfinite(float(value))
    }
