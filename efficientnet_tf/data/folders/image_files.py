"""The image files that arguments of a command line stand for."""

import codecs
import glob
import os
import pathlib
import re
from collections.abc import Sequence

from absl import logging

from efficientnet_tf.data.folders import folder_walk

STDIN = "-"


def find(arguments: Sequence[str], listed: bytes = b"") -> list[pathlib.Path]:
    """Returns the files of paths, folders and patterns, in their order.

    Of a folder, all images below it, sorted; what is left out, such as hidden
    and other files, is counted in a line of the log. A file that is named is
    taken as it is, whether it exists or not.

    Args:
      arguments: paths of files and folders, patterns such as "photos/*.jpg"
        or "photos/**/*.jpg", and "-", which stands for `listed`.
      listed: see `read_list`.

    Raises:
      ValueError: a folder or a pattern without any image, or a list that is no
        text.
    """
    found: list[pathlib.Path] = []
    for argument in arguments:
        if argument == STDIN:
            for name in read_list(listed):
                found += _find_below(pathlib.Path(name).expanduser())
            continue
        path = pathlib.Path(argument).expanduser()
        if path.exists() or not glob.has_magic(argument):
            found += _find_below(path)
            continue
        matches = sorted(glob.glob(os.fspath(path), recursive=True))
        if not matches:
            raise ValueError(f"{argument} matches no file.")
        for match in matches:
            found += _find_below(pathlib.Path(match))
    return found


def read_list(listed: bytes) -> list[str]:
    """Returns the paths of a list, without empty ones.

    Args:
      listed: one path a line, or with zero bytes between them; bytes of no
        encoding are kept, UTF-16 is read by its mark.

    Raises:
      ValueError: UTF-16 that is cut.
    """
    if listed.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = listed.decode("utf-16")  # Of PowerShell.
    else:
        text = os.fsdecode(listed.removeprefix(codecs.BOM_UTF8))
    if "\0" in text:
        return list(filter(None, text.split("\0")))
    return [line for line in re.split(r"\r?\n", text) if line]


def _find_below(path):
    """Returns a file as it is, of a folder the images below it."""
    if not path.is_dir():
        return [path]
    folder, left_out = folder_walk.scan(path)
    found = list(folder.walk())
    if not found:
        rest = f"; left out {left_out}" if left_out else ""
        raise ValueError(f"The folder {path} holds no images{rest}.")
    if left_out:
        logging.info("%s: left out %s.", path, left_out)
    return found
