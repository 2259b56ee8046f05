"""Finds a publisher's lists in downloaded archives, packed or unpacked."""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator

from absl import logging

from efficientnet_tf.utils import unpacking
from transfer.datasets import publishers


@contextlib.contextmanager
def opened(
    name: str, source: str | os.PathLike, scratch: str | os.PathLike
) -> Iterator[publishers.Archive]:
    """Yields the `publishers.Archive` of a data set.

    Args:
      name: one of `publishers.FORMATS`.
      source: the folder of the downloads, unpacked at any depth or still
        packed; those of other data sets may be in it too.
      scratch: a folder to unpack to, which is removed in the end.

    Raises:
      FileNotFoundError: lists or folders are missing.
      RuntimeError: an archive or a list differs from the publisher's.
    """
    source, scratch = (
        pathlib.Path(path).expanduser().absolute() for path in (source, scratch)
    )
    if not source.is_dir():
        raise FileNotFoundError(f"There is no folder {source}.")
    form = publishers.FORMATS[name]
    shutil.rmtree(scratch, ignore_errors=True)  # Left by a kill.
    try:
        found, damages = _find(form.needs, [source]), []
        if set(form.needs) - set(found):
            damages = _unpack(source, form.needs, scratch)
            found = _find(form.needs, [source, *sorted(scratch.glob("*"))])
        missing = [need for need in form.needs if need not in found]
        if missing and damages:  # Else it belongs to another data set.
            raise RuntimeError(damages[0])
        if missing:
            raise FileNotFoundError(
                f"{source} does not hold all of {name}: "
                f"{', '.join(missing).replace('|', ' or ')} not found. Its "
                f"publisher is {form.address}{form.hint and ': '}{form.hint}."
            )
        yield form.read(found)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _find(needs, roots):
    """Returns {need: path}, each as near as possible to the first need's.

    Other data sets have files and folders of the same names.
    """
    candidates = {name: [] for name in _names(needs)}
    for root in roots:
        # Cheap enough: folders of images are large, but not deep.
        for path in root.rglob("*") if root.is_dir() else ():
            # A pipe would keep its reader waiting for ever.
            usable = path.name in candidates and (
                path.is_file() or path.is_dir()
            )
            if usable:
                depth = len(path.relative_to(root).parts)
                candidates[path.name].append((depth, path))
    found = {}
    for need in needs:
        anchor = found.get(needs[0])
        for name in need.split("|"):
            if candidates[name] and need not in found:
                found[need] = min(
                    candidates[name],
                    key=lambda c: (-_shared_parts(c[1], anchor), *c),
                )[1]
    return {need: _innermost(path) for need, path in found.items()}


def _names(needs):
    return {name for need in needs for name in need.split("|")}


def _shared_parts(path, anchor):
    if anchor is None:
        return 0
    return len(pathlib.Path(os.path.commonpath([path, anchor])).parts)


def _innermost(path):
    """Enters inner folders of the same name, which some unpackers make."""
    while (path / path.name).is_dir():
        path /= path.name
    return path


def _unpack(source, needs, scratch):
    """Unpacks what is needed, each archive to a folder of its own.

    Returns what is wrong with archives, of which nothing is left.
    """
    names, damages = _names(needs), []

    def is_needed(member):
        parts = pathlib.PurePosixPath(member).parts
        # Not macOS's "._" files beside the real ones.
        return names & set(parts) and not parts[-1].startswith("._")

    for number, file in enumerate(sorted(source.iterdir())):
        hidden = file.name.startswith(".")
        known = file.name.lower().endswith(unpacking.SUFFIXES)
        if hidden or not known or not file.is_file():
            continue
        logging.info("Unpacking %s.", file)
        folder = scratch / f"{number:05d}"
        try:
            unpacking.unpack(file, folder, is_needed)
        except ValueError as error:
            damages.append(str(error))
    return damages
