"""Keeps the notes of TensorFlow and of other packages off the screen."""

import functools
import importlib.abc
import importlib.util
import logging as stdlib_logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable

# Before TensorFlow is imported: its start-up notes are not for people.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from absl import logging  # noqa: E402

# What TensorFlow's C++ writes when it is imported, whatever its log level.
STARTUP = (b"WARNING: All log messages before absl::InitializeLog()", b"I0000 ")


class _QuietImport(importlib.abc.MetaPathFinder):
    """Imports TensorFlow without its start-up notes, which no flag stops."""

    def find_spec(self, name, path, target=None):
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None:
            execute = spec.loader.exec_module
            spec.loader.exec_module = functools.partial(quietly, execute)
        return spec


def quietly(function: Callable, *args) -> None:
    """Calls a function and hides the lines of STARTUP on standard error."""
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


sys.meta_path.insert(0, _QuietImport())


def quieten_others() -> None:
    """Keeps what other packages tell their own developers off the screen."""
    logging.get_absl_handler().addFilter(
        lambda record: (
            "tensorflow_datasets" not in record.pathname
            or record.levelno > stdlib_logging.WARNING
        )
    )
    # Each all-reduce that is set up.
    stdlib_logging.getLogger("tensorflow").setLevel(stdlib_logging.WARNING)
    # Each try of a download; the failure itself is an error.
    stdlib_logging.getLogger("urllib3").setLevel(stdlib_logging.ERROR)
    warnings.formatwarning = lambda message, *_, **__: f"Warning: {message}\n"
