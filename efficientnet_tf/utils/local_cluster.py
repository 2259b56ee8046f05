"""Several workers of one multi-worker run, as processes of this machine."""

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

from efficientnet_tf.utils import children

# EX_TEMPFAIL of sysexits.h: a worker has saved its state and can be restarted.
RESTART = 75
# For the others to end after one has failed. They cannot make another step
# without it, so there is nothing that they could save.
FAILURE_SECONDS = 10.0


def run_workers(
    command: Sequence[str],
    count: int,
    *,
    grace_seconds: float,
    report: Callable[[str], object],
) -> int:
    """Runs a command once for each worker, with its own TF_CONFIG.

    Worker 0 writes to this process's streams; the lines of the others go to
    standard error with their number. SIGINT and SIGTERM are forwarded. When one
    fails, the others are ended; when this process is killed, all are.

    Args:
      command: the program and its arguments.
      count: how many workers.
      grace_seconds: from a signal to this process to SIGKILL for the workers.
      report: called with a line about each failure that ends the run.

    Returns:
      The exit code of the first worker that failed, or 0.
    """
    workers: list[subprocess.Popen] = []
    readers: list[threading.Thread] = []
    ended: queue.Queue[tuple[int, int]] = queue.Queue()
    stopping = _Stopping()

    def forward(signum, _):
        stopping.begin(grace_seconds)
        _signal_all(workers, signum)

    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, forward)
    for index, config in enumerate(_cluster_configs(count)):
        workers.append(_start(command, index, config))
        readers += _watch(index, workers[-1], ended)
        if stopping.begun:  # The signal came while this one started.
            workers[-1].terminate()
    code = _wait(workers, ended, stopping, grace_seconds, report)
    for reader in readers:
        reader.join()
    return code


class _Stopping:
    """When all workers are to have ended, once something has stopped one."""

    def __init__(self):
        self.deadline = float("inf")

    @property
    def begun(self):
        return self.deadline < float("inf")

    @property
    def is_over(self):
        return time.monotonic() > self.deadline

    def begin(self, seconds):
        if not self.begun:
            self.deadline = time.monotonic() + seconds


def _cluster_configs(count):
    """Returns TF_CONFIG for each worker, on ports that are free now."""
    # All open at once, so that the ports differ.
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for each in sockets:
        each.close()
    return [
        json.dumps(
            {
                "cluster": {"worker": addresses},
                "task": {"type": "worker", "index": index},
            }
        )
        for index in range(count)
    ]


def _start(command, index, config):
    return subprocess.Popen(
        children.tie(command),
        env=os.environ | {"TF_CONFIG": config},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if index else None,
        stderr=subprocess.STDOUT if index else None,
        # A terminal's Ctrl-C goes to its whole group; once is enough.
        start_new_session=True,
    )


def _watch(index, worker, ended):
    """Starts threads that pass on a worker's lines and report its end."""

    def read():
        for line in worker.stdout:
            text = line.decode(errors="replace").rstrip("\n")
            # One write, not `print`'s two: worker 0 has the same stream.
            sys.stderr.write(f"[worker {index}] {text}\n")

    def wait():
        ended.put((index, worker.wait()))

    targets = [wait, read] if worker.stdout else [wait]
    threads = [threading.Thread(target=target) for target in targets]
    for thread in threads:
        thread.start()
    return threads


def _wait(workers, ended, stopping, grace_seconds, report):
    """Returns the exit code of the first worker that failed, or 0."""
    failed = None
    for left in range(len(workers), 0, -1):
        index, code = _next_end(workers, ended, stopping)
        if code == 0 or failed is not None:
            continue
        failed = code if code > 0 else 128 - code
        others = "; ending the others" if left > 1 else ""
        report(f"worker {index} ended with code {failed}{others}.")
        if stopping.begun:
            continue
        # A worker that is already saving because of a signal would stop at
        # once on a second one.
        if failed == RESTART:
            stopping.begin(grace_seconds)
        else:
            stopping.begin(FAILURE_SECONDS)
            _signal_all(workers, signal.SIGTERM)
    return failed or 0


def _next_end(workers, ended, stopping):
    """Waits for the next worker to end; kills all after the grace period."""
    while True:
        try:
            # A short timeout, because Python handles signals only in between.
            return ended.get(timeout=0.2)
        except queue.Empty:
            if stopping.is_over:
                _signal_all(workers, signal.SIGKILL)


def _signal_all(workers, signum):
    for worker in workers:
        if worker.poll() is None:
            worker.send_signal(signum)
