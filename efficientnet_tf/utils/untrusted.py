"""What a stranger's file may ask for: checked before work, refused in one line.

Weights, models, runs, settings and caches may come from anybody. A reader opens
them with `open_file`, compares what they claim with `check_claim`, and puts its
calls of a library that parses their bytes into `reading`.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import Any, BinaryIO

# What a file may unpack to: trained weights hardly compress, and a small file
# can do no harm.
LOOSE_BYTES = 256 << 20
LARGEST_RATIO = 4

_LONGEST_MESSAGE = 400  # Characters: a message may quote the file.

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class DamagedError(ValueError):
    """A file that is damaged, hostile, or not what its place asks for.

    A command that meets one has failed (exit code 1); any other ValueError is
    a mistake on its command line (2).
    """


def check_file(path: str | os.PathLike) -> int:
    """Returns the bytes of a regular file, or of the one that a link leads to.

    Opening a FIFO would wait for ever, and a device may never end.

    Raises:
      OSError: there is none, or it is something else.
    """
    found = os.stat(path)
    for holds, kind in _KINDS:
        if holds(found.st_mode):
            raise OSError(f"{os.fspath(path)} is {kind}, not a file.")
    return found.st_size


def open_file(path: str | os.PathLike) -> BinaryIO:
    """Opens a regular file for reading; see `check_file`."""
    check_file(path)
    return open(path, "rb")


def check_claim(claimed: int, path: str | os.PathLike, size: int) -> None:
    """Raises DamagedError if a file's content claims far more than it has.

    Args:
      claimed: bytes that all of it would take in memory.
      path: the file's name in the message.
      size: bytes of the file itself.
    """
    if claimed > LARGEST_RATIO * size + LOOSE_BYTES:
        raise DamagedError(
            f"{os.fspath(path)} has {size:,} bytes and claims to hold "
            f"{claimed:,}; refused."
        )


@contextlib.contextmanager
def reading(path: str | os.PathLike, fault: str = "damaged") -> Iterator[None]:
    """Turns what a library raises on a stranger's bytes into one line.

    Of any type, since no library that parses them lists what it raises; so the
    block should hold its calls and little else.

    Args:
      path: the file's name in the message.
      fault: what the file is then, as after "is".

    Raises:
      DamagedError: with the reason.
    """
    try:
        yield
    except (DamagedError, NameError, ImportError):
        raise  # No bytes cause the latter two.
    except Exception as error:
        raise DamagedError(
            f"{os.fspath(path)} is {fault}: {explain(error)}."
        ) from error


def explain(error: BaseException) -> str:
    """Returns why, in one short line without its full stop."""
    text = str(error) or type(error).__name__
    # A key or a number alone says nothing.
    if isinstance(error, KeyError | IndexError) and len(text) < 40:
        text = f"{type(error).__name__} {text}"
    return shorten(text).rstrip(".")


def shorten(value: Any) -> str:
    """Returns a text as one line that fits into a message."""
    text = " ".join(str(value)[: 10 * _LONGEST_MESSAGE].split())
    if len(text) > _LONGEST_MESSAGE:
        return f"{text[:_LONGEST_MESSAGE]}..."
    return text
