"""Many runs shared by several processes, with progress until all have ended."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

import filelock
from absl import logging

from efficientnet_tf.utils import (
    children,
    files,
    run_folder,
    run_lock,
    watchdog,
)

# Set in the processes of `run_workers`.
WORKER_VARIABLE = "EFFICIENTNET_TF_WORKER"
POLL_SECONDS = 2.0
REPORT_SECONDS = 60.0


def lock(
    workdir: str | os.PathLike, name: str, timeout: float = -1
) -> filelock.BaseFileLock:
    """Returns a file lock, released when the process that holds it ends.

    Args:
      workdir: the folder that all processes share.
      name: what is locked.
      timeout: seconds to wait for it; -1: forever.
    """
    folder = pathlib.Path(workdir) / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(folder / f"{name}.lock", timeout=timeout)


def work(
    workdir: str | os.PathLike,
    runs: Mapping[str, str | os.PathLike],
    do: Callable[[str], object],
    on_run: Callable[[], object] | None = None,
) -> None:
    """Does every run that is not done and that no other process is doing.

    Returns when all have ended. If a process is killed during a run, the next
    process that comes to the run does it.

    Args:
      workdir: the folder that all processes share.
      runs: {name: folder}; a run has ended when its folder has a result.
      do: called with a name; must leave a result in the run's folder.
      on_run: called after each run of this process.
    """
    while True:
        busy = False
        for name, folder in runs.items():
            if has_ended(folder):
                continue
            try:
                with lock(workdir, name, 0):
                    if has_ended(folder):
                        continue
                    do(name)
            except (filelock.Timeout, run_lock.InUse):
                busy = True
                continue
            if on_run is not None:
                on_run()
        if not busy:
            return
        time.sleep(POLL_SECONDS)


def has_ended(folder: str | os.PathLike) -> bool:
    """Whether a run's folder has a result."""
    return run_folder.last_result(folder) is not None


class Progress:
    """Logs how many runs have ended and how long the rest will take.

    Args:
      count: a function that returns (ended, total).
    """

    def __init__(self, count: Callable[[], tuple[int, int]]):
        self._count = count
        self._before, _ = count()
        self._begin = time.monotonic()

    def show(self) -> None:
        """Logs one line."""
        ended, total = self._count()
        line = f"{ended} of {total} runs have ended"
        done = ended - self._before
        if done and ended < total:
            seconds = (time.monotonic() - self._begin) / done * (total - ended)
            hours, minutes = divmod(round(seconds / 60), 60)
            line += f"; about {hours} h {minutes:02d} min are left"
        logging.info("%s.", line)


def run_workers(
    workdir: str | os.PathLike, number: int, progress: Progress
) -> None:
    """Runs this program `number` times with --workers=1, until all have ended.

    The processes share the CPU cores and are dealt out to the GPUs in turn.

    Raises:
      RuntimeError: some failed; the others have finished.
    """
    threads = max(1, (os.cpu_count() or 1) // number)
    environment = os.environ | {
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "OMP_NUM_THREADS": str(threads),
        # Otherwise the first worker takes all of a GPU's memory.
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        WORKER_VARIABLE: "1",
    }
    gpus = _list_gpus()
    # As it was started: a script, or a module with -m.
    command = [sys.executable, *sys.orig_argv[1:], "--workers=1"]
    workers: list[subprocess.Popen] = []
    # A signal may take a worker as long as a step and a checkpoint take.
    with watchdog.guarded(), _ended(workers):
        for index in range(number):
            if gpus:
                environment["CUDA_VISIBLE_DEVICES"] = gpus[index % len(gpus)]
            log = open(os.path.join(workdir, f"worker{index}.log"), "ab")
            with log:
                workers.append(
                    subprocess.Popen(
                        children.tie(command),
                        env=environment,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        # Ctrl-C in a terminal goes to the whole group.
                        start_new_session=True,
                    )
                )
        _wait(workers, progress)
    failed = [i for i, worker in enumerate(workers) if worker.returncode]
    if failed:
        raise RuntimeError(
            f"Workers {failed} failed; see worker*.log in {workdir}."
        )


@contextlib.contextmanager
def _ended(workers):
    """Ends the processes of a list after a `with` block, and waits for them."""
    try:
        yield
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGTERM)
        for worker in workers:
            worker.wait()


def _list_gpus():
    """Returns the GPUs as names for CUDA_VISIBLE_DEVICES."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name]
    found = pathlib.Path("/dev").glob("nvidia[0-9]*")
    return [str(number) for number in range(len(list(found)))]


def is_runs_own(error: BaseException) -> bool:
    """Whether an error concerns one run only: divergence or lack of memory.

    The other runs continue after it; any other error stops them too.
    """
    return isinstance(error, FloatingPointError | MemoryError) or (
        type(error).__name__ == "ResourceExhaustedError"
    )


def fail(
    folder: str | os.PathLike, error: BaseException | str, seed: int
) -> None:
    """Records a failure as a run's result, so that it is not tried again.

    Args:
      folder: the run's folder.
      error: an exception or a message; its first line is recorded.
      seed: the run's seed.
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reason = lines[0]
    logging.warning("%s: %s", folder, reason)
    row = {"failed": reason, "seed": seed}
    path = pathlib.Path(folder) / run_folder.RESULTS_FILE
    files.append_json_line(path, row)


def is_worker() -> bool:
    """Whether this process was started by `run_workers`."""
    return WORKER_VARIABLE in os.environ


def _wait(workers, progress):
    shown = time.monotonic()
    while any(worker.poll() is None for worker in workers):
        time.sleep(0.5)
        if time.monotonic() - shown > REPORT_SECONDS:
            progress.show()
            shown = time.monotonic()
