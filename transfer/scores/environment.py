"""When, where and by what a run was made, for its report."""

import datetime
import importlib.metadata
import os
import platform
import shlex
import sys

from efficientnet_tf.utils import processor

# In a run's folder.
ENVIRONMENT_FILE = "environment.json"
PACKAGES = ("keras", "tensorflow", "numpy", "scikit-learn")
# What is read of it.
KINDS = {
    "finished": str,
    "command": str | None,
    "device": str,
    "processor": str,
    "cores": int,
    "memory_gb": float | int | None,
    "system": str,
    "versions": dict,
}


def describe(device: str) -> dict:
    """Returns what `ENVIRONMENT_FILE` holds.

    Args:
      device: what the network was computed on.
    """
    found = processor.describe()
    return {
        "finished": datetime.datetime.now()
        .astimezone()
        .isoformat(timespec="seconds"),
        "command": _find_command(),
        "device": device,
        "processor": str(found["name"]),
        "cores": found["cores"],
        "memory_gb": _memory_gb(),
        "system": platform.platform(),
        "versions": _find_versions(),
    }


def _find_command():
    """Returns the command line; None if another program called."""
    program = sys.argv[0]
    script = os.path.basename(program)
    if program.startswith("efficientnet "):
        return shlex.join([*program.split(), *sys.argv[1:]])
    if script == "finetune.py":
        return shlex.join(["python", *sys.argv])
    return None


def _memory_gb():
    try:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Not POSIX.
        return None
    return round(pages / 2**30, 1)


def _find_versions():
    # Not by importlib, which knows no checkout; nor by an import, since the
    # package is above all rooms.
    own = sys.modules["efficientnet_tf"].__version__
    found = {"efficientnet_tf": own, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
