"""What all commands share: exit codes, one-line errors, the JSON line."""

import difflib
import io
import json
import os
import re
import signal
import sys
import time
import typing
from collections.abc import Callable, Mapping

# First: it sets what TensorFlow reads when it is imported.
from efficientnet_tf.commands import quiet  # isort: skip
from absl import app, flags, logging

from efficientnet_tf.utils import (
    configs,
    data_names,
    files,
    messages,
    synonyms,
    tables,
    untrusted,
    watchdog,
)

# When this process began to work, for time limits.
BEGAN = time.perf_counter()
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
_ends: dict[int, str] = {}
# The signals that were raised as exceptions, and when.
_received: list[tuple[int, float]] = []

# What a value of the JSON line may be.
SCALARS = (str, int, float, bool, type(None))


def run(
    main: Callable[[list[str]], None],
    advice: str = AGAIN,
    *,
    config: Callable[[], type] | None = None,
) -> None:
    """Runs `main(argv)` and turns errors into one line and an exit code.

    A ValueError is bad usage and exits with 2, one of `EXPECTED_ERRORS` or a
    damaged file is a failure and exits with 1; `--verbosity=1` adds the
    traceback.

    Args:
      main: takes the program's name and the positional arguments.
      advice: see `advise`.
      config: returns the dataclass whose fields --set takes; called only for
        the message about a flag that should have been one.
    """
    advise(advice)
    signal.signal(signal.SIGTERM, _unwind)
    # A job in a shell's background inherits that it is ignored.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _unwind)
    watchdog.start(print_error, _ends)
    # Names of old archives may be in no encoding: they are printed as they are.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")
    app.run(
        lambda argv: _guard(main, argv),
        flags_parser=lambda argv: _parse_flags(argv, config),
    )


def advise(text: str) -> None:
    """Sets what is said after "Interrupted; " or "Terminated; ".

    Args:
      text: what is kept, or what to do, and a full stop.
    """
    _ends[signal.SIGINT] = f"Interrupted; {text}"
    _ends[signal.SIGTERM] = f"Terminated; {text}"


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
    message = tables.to_unicode(tables.to_line(message))
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
    prefixes = ("", *(known.prefix for known in data_names.KINDS))
    if not tilde or kind not in prefixes:
        return text
    return kind + os.path.expanduser(tilde + rest)


def _check_flags():
    """Raises ValueError for numbers out of all bounds and for empty texts.

    absl takes nan for a number above a flag's lower bound, and an empty path
    would be the current folder.
    """
    for flag in flags.FLAGS.get_flags_for_module(sys.argv[0]):
        if isinstance(flag.value, float | int) and not flag.boolean:
            configs.check_number(f"--{flag.name}", flag.value)
        elif flag.present and flag.value in ("", []):
            raise ValueError(f"--{flag.name}= is empty; give it a value.")


def _expand_flags():
    """Expands "~" in the values of all flags."""
    for flag in flags.FLAGS.get_flags_for_module(sys.argv[0]):
        if isinstance(flag.value, str):
            flag.value = expand_home(flag.value)
        elif isinstance(flag.value, list):
            flag.value = [
                expand_home(v) if isinstance(v, str) else v for v in flag.value
            ]


def _parse_flags(argv, config):
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    flags.FLAGS.set_default("logtostderr", True)
    try:
        rest = flags.FLAGS(argv)
    except flags.UnrecognizedFlagError as error:
        fail(_explain_unknown(error, config and config()), USAGE)
    except flags.Error as error:
        missing = re.findall(r"--(\w+) must have a value", str(error))
        if missing:
            error = f"--{missing[0]} is required; --help says what it is."
        number = re.search(
            r"flag (--\w+=.*): (?:invalid literal|could not convert)",
            str(error),
        )
        if number:
            error = f"{number[1]} must be a number."
        fail(error, USAGE)
    except SystemExit:
        # absl exits with 1 after --help, but nothing has failed.
        sys.exit()
    # The handler's stream is bound when TensorFlow sets up its own.
    logging.get_absl_handler().setFormatter(None)
    quiet.quieten_others()
    try:
        _check_flags()
    except ValueError as error:
        fail(error, USAGE)
    _expand_flags()
    return rest


def _explain_unknown(error, config):
    """Returns a message with the flag of the nearest name and the choices."""
    name = error.flagname
    # Its "value" is the whole argument.
    value = str(error.flagvalue).partition("=")[2] or "VALUE"
    own = [
        flag.name for flag in flags.FLAGS.get_key_flags_for_module(sys.argv[0])
    ]
    fields = configs.field_names(config) if config else ()
    ours = synonyms.find_field(config, name, value)
    near = difflib.get_close_matches(name, [*flags.FLAGS, *fields], n=1)
    hint = "choose"
    if ours:
        hint = f"write --set={ours.replace(' and ', ' --set=')}, or choose"
    elif near:
        meant = f"--{near[0]}"
        if near[0] in fields:
            meant = f"--set={near[0]}={value}"
        hint = f"did you mean {meant}? Choose"
    return f"Unknown flag '{name}'; {hint} one of --{', --'.join(sorted(own))}."


def _guard(main, argv):
    try:
        main(argv)
    except BaseException as error:
        _fail_by_signal()
        if isinstance(error, KeyboardInterrupt):  # Not raised by `_unwind`.
            fail(_ends[signal.SIGINT], INTERRUPTED)
        _fail_by_error(error)
        raise
    _fail_by_signal()


def _fail_by_signal():
    """Ends the process by the first signal, if there was one.

    Whatever became of its exception: libraries that were in the middle of
    something catch it, or raise another one.
    """
    if _received:
        number, _ = _received[0]
        fail(_ends[number], 128 + number)


def _fail_by_error(error):
    """Ends the process with a line, if the error is one that is expected."""
    if isinstance(error, BrokenPipeError):
        # Whoever read the output, such as `head`, has enough of it. What is
        # still buffered goes nowhere when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    if isinstance(error, untrusted.DamagedError):
        fail(error, FAILURE)
    if isinstance(error, ValueError):
        fail(error, USAGE)
    if isinstance(error, EXPECTED_ERRORS):
        fail(error, FAILURE)
    # TensorFlow's errors share no base with Python's.
    if type(error).__module__.startswith("tensorflow"):
        fail(messages.without_graph(str(error)), FAILURE)


def _unwind(signum, frame):
    """Raises an exception, so that files and child processes are tidied up."""
    now = time.monotonic()
    if _received and now - _received[0][1] < watchdog.ECHO_SECONDS:
        return  # Not into the middle of tidying up.
    _received.append((signum, now))
    if signum == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + signum)
