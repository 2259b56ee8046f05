"""What every script shares: exit codes, one-line errors, the last JSON line."""

import contextlib
import functools
import importlib.abc
import importlib.util
import json
import logging as stdlib_logging
import os
import re
import signal
import sys
import tempfile
import warnings

# Before TensorFlow is imported: its start-up notes are not for people.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from absl import app, flags, logging  # noqa: E402

# What TensorFlow's C++ writes when it is imported, whatever its log level.
STARTUP = (b"WARNING: All log messages before absl::InitializeLog()", b"I0000 ")

USAGE, FAILURE, INTERRUPTED = 2, 1, 130
EXPECTED_ERRORS = (
    OSError,
    RuntimeError,
    ImportError,
    FloatingPointError,
    MemoryError,
)
# EX_TEMPFAIL of sysexits.h: all is saved, and starting it again goes on.
RESTART = 75


class _QuietImport(importlib.abc.MetaPathFinder):
    """Imports TensorFlow without its start-up notes, which no flag stops."""

    def find_spec(self, name, path, target=None):
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None:
            execute = spec.loader.exec_module
            spec.loader.exec_module = functools.partial(_quietly, execute)
        return spec


def _quietly(function, *args):
    """Calls it, and shows of the standard error what is not STARTUP."""
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


def run(main, interrupted="Interrupted; the same command goes on."):
    """Runs `main(argv)`; bad input becomes one line and an exit code.

    ValueError: 2, what was asked for makes no sense. One of `EXPECTED_ERRORS`:
    1, it could not be done. `--verbosity=1` shows where. `interrupted` is what
    Ctrl-C leads to.
    """
    signal.signal(signal.SIGTERM, _terminate)
    app.run(
        lambda argv: _guard(main, argv, interrupted), flags_parser=_parse_flags
    )


def print_result(result):
    """Prints the script's last line: one JSON object."""
    sys.stderr.flush()
    print(json.dumps(result), flush=True)


def load_classifier(model, weights, workdir, resolution=None):
    """Returns the `Classifier` of --workdir, or of --model and --weights."""
    if bool(model) == bool(workdir):
        raise ValueError("Pass either --model (and --weights) or --workdir.")
    from efficientnet_tf.inference import classifier
    from efficientnet_tf.models import registry

    if workdir:
        return classifier.from_run(workdir)
    registry.get_variant(model)
    return classifier.from_weights(model, weights, resolution)


def parse_numbers(flag, texts):
    """Returns the numbers of a list flag."""
    try:
        return [float(text) for text in texts]
    except ValueError:
        raise ValueError(
            f"--{flag}={','.join(texts)} must be numbers."
        ) from None


@contextlib.contextmanager
def exiting_when_preempted():
    """Turns `callbacks.Preempted` into one line and an exit code."""
    from efficientnet_tf.training import callbacks

    try:
        yield
    except callbacks.Preempted as stop:
        interrupted = stop.signal == signal.SIGINT
        code = INTERRUPTED if interrupted else RESTART
        _fail(f"{stop} The same command goes on.", code)


def run_trials(names, budget, workdir, data_dir, workers):
    """Trains what is left of a study, here or in `workers` processes."""
    from efficientnet_tf.search import trials
    from efficientnet_tf.utils import workers as workers_lib

    if not workers_lib.is_worker():
        trials.check_splits(budget, data_dir)
    progress = workers_lib.Progress(
        lambda: trials.count(names, budget, workdir)
    )
    progress.show()
    if workers > 1:
        workers_lib.run_workers(workdir, workers, progress)
        return
    with exiting_when_preempted():
        trials.work(
            names, budget, workdir, data_dir=data_dir, on_run=progress.show
        )
    if workers_lib.is_worker():
        sys.exit()  # What comes after is for the process that started it.


def _parse_flags(argv):
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    flags.FLAGS.set_default("logtostderr", True)
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as error:
        missing = re.findall(r"--(\w+) must have a value", str(error))
        if missing:
            error = f"--{missing[0]} is required; --help says what it is."
        _fail(error, USAGE)
    # The stream is bound when TensorFlow's handlers are set up.
    logging.get_absl_handler().setFormatter(None)
    _quieten_others()
    return rest


def _quieten_others():
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


def _guard(main, argv, interrupted):
    try:
        main(argv)
    except KeyboardInterrupt:
        _fail(interrupted, INTERRUPTED)
    except ValueError as error:
        _fail(error, USAGE)
    except EXPECTED_ERRORS as error:
        _fail(error, FAILURE)
    except Exception as error:
        # TensorFlow's errors share no base with Python's.
        if type(error).__module__.startswith("tensorflow"):
            _fail(error, FAILURE)
        raise


def _fail(error, code):
    if isinstance(error, BaseException) and logging.get_verbosity() > 0:
        logging.exception(error)
    name = os.path.basename(sys.argv[0])
    lines = str(error).strip().splitlines() or [type(error).__name__]
    print(f"{name}: {' '.join(lines)}", file=sys.stderr, flush=True)
    sys.exit(code)


def _terminate(signum, frame):
    _fail("Terminated; the same command goes on.", 128 + signum)
