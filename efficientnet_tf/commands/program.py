"""What all commands share: exit codes, one-line errors, the JSON line."""

import difflib
import io
import json
import os
import re
import signal
import sys
import typing
from collections.abc import Callable, Iterable, Mapping

# First: it sets what TensorFlow reads when it is imported.
from efficientnet_tf.commands import quiet  # isort: skip
from absl import app, flags, logging

from efficientnet_tf.utils import files

USAGE, FAILURE, INTERRUPTED = 2, 1, 130
EXPECTED_ERRORS = (
    OSError,
    RuntimeError,
    ImportError,
    FloatingPointError,
    MemoryError,
)

# What is said after Ctrl-C or SIGTERM, see `advise`.
AGAIN = "run the same command again."
RESUMES = "run the same command again to resume."
_advice = AGAIN

# What a value of the JSON line may be.
SCALARS = (str, int, float, bool, type(None))


def run(
    main: Callable[[list[str]], None],
    advice: str = AGAIN,
    *,
    fields: Callable[[], Iterable[str]] = tuple,
) -> None:
    """Runs `main(argv)` and turns errors into one line and an exit code.

    A ValueError is bad usage and exits with 2, one of `EXPECTED_ERRORS` is a
    failure and exits with 1; `--verbosity=1` adds the traceback.

    Args:
      main: takes the program's name and the positional arguments.
      advice: see `advise`.
      fields: returns the fields that --set takes; called only for the message
        about a flag that should have been one.
    """
    advise(advice)
    signal.signal(signal.SIGTERM, _terminate)
    # Names of old archives may be in no encoding: they are printed as they are.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")
    app.run(
        lambda argv: _guard(main, argv),
        flags_parser=lambda argv: _parse_flags(argv, fields),
    )


def advise(text: str) -> None:
    """Sets what is said after "Interrupted; " or "Terminated; ".

    Args:
      text: what is kept, or what to do, and a full stop.
    """
    global _advice
    _advice = text


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
    lines = files.explain_error(error).strip().splitlines() or [
        type(error).__name__
    ]
    print_error(" ".join(lines))
    sys.exit(code)


def expand_home(text: str) -> str:
    """Returns a path, or "folder:PATH" and the like, with "~" expanded.

    Shells leave it as it is in --flag=~/x.
    """
    kind, tilde, rest = text.partition("~")
    if not tilde or kind not in ("", files.FOLDER_PREFIX, files.RECORDS_PREFIX):
        return text
    return kind + os.path.expanduser(tilde + rest)


def _expand_flags():
    """Expands "~" in the values of all flags."""
    for flag in flags.FLAGS.get_flags_for_module(sys.argv[0]):
        if isinstance(flag.value, str):
            flag.value = expand_home(flag.value)
        elif isinstance(flag.value, list):
            flag.value = [
                expand_home(v) if isinstance(v, str) else v for v in flag.value
            ]


def _parse_flags(argv, fields):
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    flags.FLAGS.set_default("logtostderr", True)
    try:
        rest = flags.FLAGS(argv)
    except flags.UnrecognizedFlagError as error:
        fail(_explain_unknown(error, fields()), USAGE)
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
    _expand_flags()
    return rest


def _explain_unknown(error, fields):
    """Returns a message with the flag of the nearest name and the choices."""
    name = error.flagname
    # Its "value" is the whole argument.
    value = str(error.flagvalue).partition("=")[2] or "VALUE"
    own = [
        flag.name for flag in flags.FLAGS.get_key_flags_for_module(sys.argv[0])
    ]
    near = difflib.get_close_matches(name, [*flags.FLAGS, *fields], n=1)
    hint = "choose"
    if near:
        meant = f"--{near[0]}"
        if near[0] in fields:
            meant = f"--set={near[0]}={value}"
        hint = f"did you mean {meant}? Choose"
    return f"Unknown flag '{name}'; {hint} one of --{', --'.join(sorted(own))}."


def _guard(main, argv):
    try:
        main(argv)
    except KeyboardInterrupt:
        fail(f"Interrupted; {_advice}", INTERRUPTED)
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
    fail(f"Terminated; {_advice}", 128 + signum)
