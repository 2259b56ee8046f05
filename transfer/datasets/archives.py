"""Downloaded archives, packed or not: finds a publisher's lists in them."""

import contextlib
import gzip
import os
import pathlib
import shutil
import tarfile
import zipfile
import zlib

from absl import logging

from transfer.datasets import publishers

SUFFIXES = (".tgz", ".tar", ".tar.gz", ".zip")

# What a broken archive raises, by where it is broken.
_DAMAGES = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
)


@contextlib.contextmanager
def opened(name, source, scratch):
    """Yields the `publishers.Archive` of a set.

    Args:
      name: one of `publishers.FORMATS`.
      source: the folder with what was downloaded, unpacked at any depth, or
        as the archives themselves; those of other sets may lie beside them.
      scratch: a folder for what has to be unpacked; it is removed in the end.

    Raises:
      FileNotFoundError: lists or folders are missing.
      RuntimeError: an archive or a list is not as the publisher's.
    """
    source, scratch = (
        pathlib.Path(path).expanduser().absolute() for path in (source, scratch)
    )
    if not source.is_dir():
        raise FileNotFoundError(f"There is no folder {source}.")
    form = publishers.FORMATS[name]
    shutil.rmtree(scratch, ignore_errors=True)  # Left by a kill.
    try:
        found, damages = _find(form.needs, [source]), {}
        if set(form.needs) - set(found):
            damages = _unpack(source, form.needs, scratch)
            found = _find(form.needs, [source, *sorted(scratch.glob("*"))])
        missing = [need for need in form.needs if need not in found]
        for folder, damage in damages.items():
            used = any(path.is_relative_to(folder) for path in found.values())
            if missing or used:  # Or it is of another set.
                raise RuntimeError(damage)
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
    """Returns {need: path}, all as near as can be to the first need's.

    Other sets have files and folders of the same names.
    """
    candidates = {name: [] for name in _names(needs)}
    for root in roots:
        # The folders of images are large, but not deep.
        for path in root.rglob("*") if root.is_dir() else ():
            if path.name in candidates:
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
    """Enters a folder of the same name, which unpacking may have made."""
    while (path / path.name).is_dir():
        path /= path.name
    return path


def _unpack(source, needs, scratch):
    """Unpacks what is needed, each archive to a folder; {folder: damage}."""
    names, damages = _names(needs), {}

    def is_needed(member):
        parts = pathlib.PurePosixPath(member).parts
        # A Mac's files beside the files.
        return names & set(parts) and not parts[-1].startswith("._")

    for number, file in enumerate(sorted(source.iterdir())):
        hidden = file.name.startswith(".")
        known = file.name.lower().endswith(SUFFIXES)
        if hidden or not known or not file.is_file():
            continue
        logging.info("Unpacking %s.", file)
        folder = scratch / f"{number:05d}"
        try:
            if file.suffix.lower() == ".zip":
                with zipfile.ZipFile(file) as archive:
                    members = filter(is_needed, archive.namelist())
                    archive.extractall(folder, members)
            else:
                # Some that end in .tgz are not compressed; this sees it.
                with tarfile.open(file) as archive:
                    archive.extractall(
                        folder,
                        filter=lambda member, path: (
                            tarfile.data_filter(member, path)
                            if is_needed(member.name)
                            else None
                        ),
                    )
        except _DAMAGES as error:
            damages[folder] = (
                f"{file} cannot be unpacked: {error}. Is it complete?"
            )
    return damages
