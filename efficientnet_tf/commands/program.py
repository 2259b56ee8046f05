"""What all commands share: exit codes, one-line errors, the JSON line."""

import difflib
import json
import os
import re
import signal
import sys
import typing
from collections.abc import Callable, Mapping

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

# What a value of the JSON line may be.
SCALARS = (str, int, float, bool, type(None))


def run(
    main: Callable[[list[str]], None],
    interrupted: str = "Interrupted; run the same command again to resume.",
) -> None:
    """Runs `main(argv)` and turns errors into one line and an exit code.

    A ValueError is bad usage and exits with 2, one of `EXPECTED_ERRORS` is a
    failure and exits with 1; `--verbosity=1` adds the traceback.

    Args:
      main: takes the program's name and the positional arguments.
      interrupted: the line printed after Ctrl-C.
    """
    signal.signal(signal.SIGTERM, _terminate)
    app.run(
        lambda argv: _guard(main, argv, interrupted), flags_parser=_parse_flags
    )


def keep_scalars(row: Mapping) -> dict:
    """Returns a row without its lists and objects, for `print_result`."""
    return {k: v for k, v in row.items() if isinstance(v, SCALARS)}


def print_result(result: dict) -> None:
    """Prints the command's last line: one flat JSON object.

    Raises:
      TypeError: a value is nested. Lists and tables belong into files and
        into the text above the line, which scripts can ignore.
    """
    for name, value in result.items():
        if not isinstance(value, SCALARS):
            raise TypeError(
                f"The JSON line takes numbers and texts only; {name} is a "
                f"{type(value).__name__}."
            )
    sys.stderr.flush()
    print(json.dumps(result), flush=True)


def print_error(message: str) -> None:
    """Prints "PROGRAM: MESSAGE" on standard error."""
    name = os.path.basename(sys.argv[0])
    # One write: `print` makes two, between which another worker may write.
    sys.stderr.write(f"{name}: {message}\n")
    sys.stderr.flush()


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
    # The handler's stream is bound when TensorFlow sets up its own.
    logging.get_absl_handler().setFormatter(None)
    quiet.quieten_others()
    return rest


def _explain_unknown(name):
    """Returns a message with the flag of the nearest name and the choices."""
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
    except BrokenPipeError:
        # Whoever read the output, such as `head`, has enough of it. What is
        # still buffered goes nowhere when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
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
    fail("Terminated; run the same command again to resume.", 128 + signum)
