"""The image files that arguments of a command line stand for."""

import glob
import os
import pathlib
from collections.abc import Iterable, Sequence

from absl import logging

from efficientnet_tf.data import folder_walk

STDIN = "-"


def find(
    arguments: Sequence[str], lines: Iterable[str] = ()
) -> list[pathlib.Path]:
    """Returns the files of paths, folders and patterns, in their order.

    Of a folder, all images below it, sorted; what is left out, such as hidden
    and other files, is counted in a line of the log. A file that is named is
    taken as it is, whether it exists or not.

    Args:
      arguments: paths of files and folders, patterns such as "photos/*.jpg"
        or "photos/**/*.jpg", and "-", which stands for `lines`.
      lines: paths of files and folders, one each; empty ones do not count.

    Raises:
      ValueError: a folder or a pattern without any image.
    """
    found: list[pathlib.Path] = []
    for argument in arguments:
        if argument == STDIN:
            named = filter(None, (line.rstrip("\r\n") for line in lines))
            for line in named:
                found += _find_below(pathlib.Path(line).expanduser())
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
