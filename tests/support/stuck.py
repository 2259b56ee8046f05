"""A command whose main thread waits where Python handles no signal.

python tests/support/stuck.py HOW

HOW: "plain"; "guarded": its work can be saved; "input": so, and it waits for a
batch; "swallowed" and "replaced": it gets SIGTERM in the middle of a save that
catches its exception, or raises another one.
"""

import ctypes
import signal
import sys

from efficientnet_tf.commands import program
from efficientnet_tf.utils import waits, watchdog


def _hang():
    # Locked twice: no signal ends this wait, as none ends TensorFlow's.
    lock = ctypes.create_string_buffer(64)
    for _ in range(2):
        ctypes.CDLL(None).pthread_mutex_lock(lock)


def _save(number):
    return f"Saved before batch {number}."


def _main(argv):
    how = argv[1]
    if how in ("swallowed", "replaced"):
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException:
            if how == "replaced":
                raise ValueError("The file cannot be written.") from None
        return
    if how == "input":
        waits.begin("No batch", "the disk stands still", number=7)
    if how == "plain":
        print("ready", flush=True)
        _hang()
    with watchdog.guarded(_save):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)  # To be obeyed later.
        print("ready", flush=True)
        _hang()


if __name__ == "__main__":
    # A job in a shell's background inherits that SIGINT is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    watchdog.END_SECONDS, watchdog.STUCK_SECONDS = 0.6, 0.3
    watchdog.SECOND_SECONDS, watchdog.ECHO_SECONDS = 0.2, 0.1
    waits.NOTICE_SECONDS = 0.2
    watchdog.set_limit(0.6 if "--short" in sys.argv else 60)
    sys.argv = [a for a in sys.argv if a != "--short"]
    program.run(_main, program.RESUMES)
