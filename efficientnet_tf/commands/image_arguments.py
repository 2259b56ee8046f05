"""Images on the command line: files, folders, patterns, a list on stdin."""

import glob
import os
import pathlib
import sys
from collections.abc import Sequence

from efficientnet_tf.commands import program
from efficientnet_tf.utils import words


def check(arguments: Sequence[str]) -> None:
    """Raises ValueError if there are none. Before anything is imported."""
    if not arguments:
        raise ValueError(
            "Name image files, folders, or patterns such as 'photos/*.jpg'; - "
            "reads names from standard input."
        )


def find(arguments: Sequence[str]) -> list[pathlib.Path]:
    """Returns the files that arguments stand for, see `image_files.find`.

    Raises:
      FileNotFoundError: nothing that is named exists.
      ValueError: a folder, a pattern or a list without images.
    """
    _check_existing(arguments)
    from efficientnet_tf.data.folders import image_files

    listed = b""
    if image_files.STDIN in arguments:
        listed = sys.stdin.buffer.read()
    paths = image_files.find(arguments, listed)
    if not paths:
        raise ValueError("Standard input names no files.")
    return paths


def fail_if_unreadable(unreadable: int, files: int) -> None:
    """Ends the command with a count, if some of its files could not be read."""
    if unreadable:
        program.fail(
            f"{unreadable:,} of {words.count(files, 'file')} could not be "
            "read.",
            program.FAILURE,
        )


def _check_existing(arguments):
    missing = [
        argument
        for argument in arguments
        if argument != "-"
        and not glob.has_magic(argument)
        and not os.path.exists(os.path.expanduser(argument))
    ]
    if len(missing) == len(arguments):
        more = f" (nor {len(missing) - 1} others)" if missing[1:] else ""
        raise FileNotFoundError(f"There is no file {missing[0]}{more}.")
