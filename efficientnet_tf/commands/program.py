"""What every command shares: exit codes, one-line errors, the JSON line."""

import difflib
import json
import os
import re
import signal
import sys
import typing
from collections.abc import Callable

# First: it sets what TensorFlow reads when it is imported.
from efficientnet_tf.commands import quiet  # isort: skip
from absl import app, flags, logging

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


def run(
    main: Callable[[list[str]], None],
    interrupted: str = "Interrupted; the same command goes on.",
) -> None:
    """Runs `main(argv)`; bad input becomes one line and an exit code.

    ValueError: 2, what was asked for makes no sense. One of `EXPECTED_ERRORS`:
    1, it could not be done. `--verbosity=1` shows where. `interrupted` is what
    Ctrl-C leads to.
    """
    signal.signal(signal.SIGTERM, _terminate)
    app.run(
        lambda argv: _guard(main, argv, interrupted), flags_parser=_parse_flags
    )


def print_result(result: dict) -> None:
    """Prints the command's last line: one JSON object."""
    sys.stderr.flush()
    print(json.dumps(result), flush=True)


def print_error(message: str) -> None:
    """Prints a line behind the program's name, to standard error."""
    name = os.path.basename(sys.argv[0])
    print(f"{name}: {message}", file=sys.stderr, flush=True)


def fail(error: BaseException | str, code: int) -> typing.NoReturn:
    """Prints an error as one line and exits."""
    if isinstance(error, BaseException) and logging.get_verbosity() > 0:
        logging.exception(error)
    lines = str(error).strip().splitlines() or [type(error).__name__]
    print_error(" ".join(lines))
    sys.exit(code)


def _parse_flags(argv):
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    flags.FLAGS.set_default("logtostderr", True)
    try:
        rest = flags.FLAGS(argv)
    except flags.UnrecognizedFlagError as error:
        fail(_explain_unknown(error.flagname), USAGE)
    except flags.Error as error:
        missing = re.findall(r"--(\w+) must have a value", str(error))
        if missing:
            error = f"--{missing[0]} is required; --help says what it is."
        fail(error, USAGE)
    except SystemExit:
        # absl exits with 1 after --help, but nothing has failed.
        sys.exit()
    # The stream is bound when TensorFlow's handlers are set up.
    logging.get_absl_handler().setFormatter(None)
    quiet.quieten_others()
    return rest


def _explain_unknown(name):
    """Returns what is wrong with a flag, with the nearest and the choices."""
    own = [
        flag.name for flag in flags.FLAGS.get_key_flags_for_module(sys.argv[0])
    ]
    near = difflib.get_close_matches(name, flags.FLAGS, n=1)
    hint = f"did you mean --{near[0]}? Choose" if near else "choose"
    return f"Unknown flag '{name}'; {hint} one of --{', --'.join(sorted(own))}."


def _guard(main, argv, interrupted):
    try:
        main(argv)
    except KeyboardInterrupt:
        fail(interrupted, INTERRUPTED)
    except ValueError as error:
        fail(error, USAGE)
    except EXPECTED_ERRORS as error:
        fail(error, FAILURE)
    except Exception as error:
        # TensorFlow's errors share no base with Python's.
        if type(error).__module__.startswith("tensorflow"):
            fail(error, FAILURE)
        raise


def _terminate(signum, frame):
    fail("Terminated; the same command goes on.", 128 + signum)
