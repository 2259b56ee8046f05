"""Downloaded archives, packed or not: finds a publisher's lists in them."""

import collections
import contextlib
import gzip
import pathlib
import shutil
import tarfile
import zipfile
import zlib

from absl import logging

from transfer import publishers

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
        as the archives themselves.
      scratch: a folder, not there yet, for what has to be unpacked; it is
        removed in the end.

    Raises:
      FileNotFoundError: lists or folders are missing.
      RuntimeError: an archive or a list is not as the publisher's.
    """
    source = pathlib.Path(source).expanduser()
    if not source.is_dir():
        raise FileNotFoundError(f"There is no folder {source}.")
    form = publishers.FORMATS[name]
    needs = form.needs
    found = _find(needs, [source])
    shutil.rmtree(scratch, ignore_errors=True)  # Left by a kill.
    try:
        packed = [
            file
            for file in sorted(source.iterdir())
            if file.name.lower().endswith(SUFFIXES)
        ]
        if packed and set(needs) - set(found):
            _unpack(packed, scratch)
            found = _find(needs, [source, scratch])
        missing = [need for need in needs if need not in found]
        if missing:
            raise FileNotFoundError(
                f"{source} does not hold all of {name}: "
                f"{', '.join(missing).replace('|', ' or ')} not found"
                + (f"; it reads {form.hint}." if form.hint else ".")
            )
        yield form.read(found)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _find(needs, roots):
    """Returns {need: path}; what lies less deep comes first."""
    wanted = {name: need for need in needs for name in need.split("|")}
    candidates = collections.defaultdict(list)
    for root in roots:
        # The folders of images are large, but not deep.
        for path in root.rglob("*") if root.is_dir() else ():
            if path.name in wanted:
                candidates[path.name].append(path)
    found = {}
    for name, need in wanted.items():
        if candidates[name] and need not in found:
            found[need] = min(candidates[name], key=lambda p: len(p.parts))
    return found


def _unpack(packed, scratch):
    for file in packed:
        logging.info("Unpacking %s.", file)
        try:
            if file.suffix.lower() == ".zip":
                with zipfile.ZipFile(file) as archive:
                    archive.extractall(scratch)
            else:
                # Some that end in .tgz are not compressed; this sees it.
                with tarfile.open(file) as archive:
                    archive.extractall(scratch, filter="data")
        except _DAMAGES as error:
            raise RuntimeError(
                f"{file} cannot be unpacked: {error}. Is it complete?"
            ) from None
