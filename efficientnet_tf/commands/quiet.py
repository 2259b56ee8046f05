"""Hides notes of TensorFlow and other packages that users do not need."""

import logging as stdlib_logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable

# TensorFlow reads these when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from absl import logging  # noqa: E402

from efficientnet_tf.utils import import_hooks  # noqa: E402

# TensorFlow's C++ writes these when imported, at any log level.
STARTUP = (b"WARNING: All log messages before absl::InitializeLog()", b"I0000 ")

# In messages for TensorFlow's developers: of every save, of every new network,
# and of names that the export itself has chosen.
NOTES = (
    "Sharding callback duration",
    "Writing fingerprint",
    "triggered tf.function retracing",
    "characters which will be renamed",
)


def quietly(function: Callable, *args) -> None:
    """Calls a function and hides lines of `STARTUP` on standard error."""
    sys.stderr.flush()
    shown = os.dup(2)
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            function(*args)
        finally:
            os.dup2(shown, 2)
            os.close(shown)
            hidden.seek(0)
            for line in hidden:
                if not line.startswith(STARTUP):
                    os.write(2, line)


def keeping_handlers(function: Callable, *args) -> None:
    """Calls a function, and takes back what it changes in logging's root."""
    root = stdlib_logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        function(*args)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


import_hooks.wrap_import("tensorflow", quietly)
# It removes all handlers, after which Python's own prefix stands before lines.
import_hooks.wrap_import("openvino", keeping_handlers)


def quieten_others() -> None:
    """Hides log messages that are for the developers of other packages."""
    logging.get_absl_handler().addFilter(_is_for_users)
    # Some of its versions write by a handler of their own.
    stdlib_logging.getLogger("tensorflow").addFilter(_is_for_users)
    # It logs each all-reduce that it sets up.
    stdlib_logging.getLogger("tensorflow").setLevel(stdlib_logging.WARNING)
    # It warns of each retry; a failed download is an error of its own.
    stdlib_logging.getLogger("urllib3").setLevel(stdlib_logging.ERROR)
    # These log each request; the names are those of versions of one library.
    for name in ("httpx", "httpx2"):
        stdlib_logging.getLogger(name).setLevel(stdlib_logging.WARNING)
    warnings.formatwarning = lambda message, *_, **__: f"Warning: {message}\n"


def _is_for_users(record):
    if record.levelno > stdlib_logging.WARNING:
        return True
    if "tensorflow_datasets" in record.pathname:
        return False
    return not any(note in record.getMessage() for note in NOTES)
