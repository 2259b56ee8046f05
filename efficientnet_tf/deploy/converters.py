"""Keeps quiet what other packages print while they convert a network."""

import contextlib
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Hides standard output, standard error, log messages and warnings.

    Some write from C++, to the file descriptor; some add handlers to the root
    logger, which are removed. What fails is an exception.
    """
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    disabled = root.manager.disable
    sys.stderr.flush()
    shown = os.dup(2)
    with (
        tempfile.TemporaryFile() as hidden,
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(shown, 2)
            os.close(shown)
            logging.disable(disabled)
            root.handlers[:] = handlers
            root.setLevel(level)
