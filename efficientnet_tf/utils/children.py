"""Processes that this one starts, and that shall not outlive it."""

import os
import sys
from collections.abc import Sequence

# Linux sends the signal when the parent has ended, however it ended. In a
# program of its own and not in `preexec_fn`, which may deadlock beside threads;
# `exec` keeps the setting and the process.
_TIE = """
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit(128 + signal.SIGTERM)
os.execvp(sys.argv[2], sys.argv[2:])
"""


def tie(command: Sequence[str]) -> list[str]:
    """Returns a command for a process that gets SIGTERM when this one is gone.

    Call it and start the process in the main thread: Linux watches the thread
    that started it. Elsewhere, the command is returned as it is.
    """
    if sys.platform != "linux":
        return list(command)
    parent = str(os.getpid())
    return [sys.executable, "-I", "-S", "-c", _TIE, parent, *command]
