r"""Starts several workers of one multi-worker run on this machine.

efficientnet launch --workers=2 -- train --recipe=smoke \
    --strategy=multi_worker --data_dir=DIR --workdir=/tmp/run

After -- comes a command of `efficientnet`, or a Python file and its arguments.
Worker 0 writes to the screen as if it ran alone; the lines of the others go to
standard error with their number. SIGINT and SIGTERM are forwarded to all
workers. When one fails, the others are ended within ten seconds, and its exit
code is returned. When this process is killed, its workers are ended (on Linux).
"""

import sys

from absl import flags

from efficientnet_tf.commands import main as main_lib, program, shared

WORKERS = flags.DEFINE_integer(
    "workers", 2, "Number of processes.", 1, shared.MAX_WORKERS
)
GRACE = flags.DEFINE_float(
    "grace_seconds",
    60.0,
    "Time between a signal to this command and SIGKILL for a worker.",
)


def main(argv: list[str]) -> None:
    if len(argv) < 2:
        raise ValueError("Nothing to run; write it after --.")
    shared.check_seconds("grace_seconds", GRACE.value)
    from efficientnet_tf.utils import local_cluster, watchdog

    # Its workers have watchdogs; a second signal goes on to them.
    watchdog.leave_signals_alone()
    is_ours = argv[1] in main_lib.COMMANDS
    module = ["-m", "efficientnet_tf"] if is_ours else []
    code = local_cluster.run_workers(
        [sys.executable, *module, *argv[1:]],
        WORKERS.value,
        grace_seconds=GRACE.value,
        report=program.print_error,
    )
    sys.exit(code)


if __name__ == "__main__":
    program.run(main, program.RESUMES)
