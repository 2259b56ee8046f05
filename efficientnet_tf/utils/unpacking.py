"""Archives of strangers: unpacked whole and inside one folder, or not at all.

Not by `extractall`: what its filters let through differs with Python's patch
release (CVE-2025-4517 and others), it takes a damaged header in the middle for
the end, and leaves checksums behind that end unread.
"""

import bz2
import gzip
import lzma
import os
import pathlib
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable
from typing import IO, Any

from absl import logging

SUFFIXES = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".zip")

# Images and weights hardly shrink: what unpacks to more than so many times its
# size is not read, unless that is little.
MOST_RATIO = 100
LITTLE_BYTES = 2**28

# So much is read at a time; no name and no other header is longer.
_CHUNK = 2**20

_OPENERS: tuple[tuple[bytes, Callable], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\0", lzma.open),
)
_SHOWN = 3


def unpack(
    path: str | os.PathLike,
    folder: str | os.PathLike,
    is_wanted: Callable[[str], object] = bool,
) -> None:
    """Unpacks regular files of a tar archive, compressed or not, or of a zip.

    Links and devices are left out, counted and named in a line of the log. The
    whole archive is read, so that every checksum in it is.

    Args:
      path: the archive.
      folder: where to; removed if that fails.
      is_wanted: whether a member is unpacked, by its name.

    Raises:
      ValueError: says what is wrong with the archive: damage, a member outside
        the folder, one that is there twice, or far too much in it.
    """
    path, folder = pathlib.Path(path), pathlib.Path(folder).absolute()
    is_zip = path.suffix.lower() == ".zip"
    folder.mkdir(parents=True, exist_ok=True)
    limit = max(LITTLE_BYTES, MOST_RATIO * path.stat().st_size)
    try:
        read = _unpack_zip if is_zip else _unpack_tar
        left_out = read(path, _Target(folder, is_wanted), limit)
    # The readers of Python's library raise what they like on damaged files.
    except Exception as error:
        shutil.rmtree(folder, ignore_errors=True)
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(
            f"{path} cannot be unpacked: "
            f"{' '.join(reason.split()) or type(error).__name__}. Is it "
            "complete?"
        ) from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if left_out:
        more = ", ..." if len(left_out) > _SHOWN else ""
        logging.warning(
            "%s: left out %d links and devices (%s%s).",
            path,
            len(left_out),
            ", ".join(left_out[:_SHOWN]),
            more,
        )


class _Target:
    """The folder that an archive is unpacked to."""

    def __init__(self, folder, is_wanted):
        self.is_wanted = is_wanted
        self._folder = folder.resolve()

    def make_folder(self, name: str) -> None:
        self._locate(name).mkdir(parents=True, exist_ok=True)

    def write(self, name: str, source: IO[bytes]) -> None:
        path = self._locate(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("xb") as file:
                shutil.copyfileobj(source, file, _CHUNK)
        except FileExistsError:
            raise ValueError(f"{name!r} is there twice") from None

    def _locate(self, name):
        # As `tar` does: an absolute name is taken as relative.
        path = (self._folder / name.lstrip("/")).resolve()
        if not path.is_relative_to(self._folder):
            raise ValueError(f"{name!r} would be written outside the folder")
        return path


class _Stream:
    """What a tar archive holds, read once from begin to end, up to a limit."""

    def __init__(self, file, limit):
        self._file, self._limit = file, limit
        self._place = 0
        self.last = b""  # What was read last.

    def tell(self) -> int:
        return self._place

    def seek(self, place: int) -> int:
        if place < self._place:  # A size below zero leads to endless loops.
            raise ValueError("a member begins before the end of another one")
        while self._place < place:
            if not self.read(min(_CHUNK, place - self._place)):
                break
        return self._place

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _CHUNK:
            raise ValueError(f"a header says that it has {size:,} bytes")
        self.last = self._file.read(size)
        self._place += len(self.last)
        if self._place > self._limit:
            raise ValueError(_too_much(self._limit))
        return self.last


def _unpack_tar(path, target, limit):
    """Returns the names of links and devices."""
    left_out = []
    with path.open("rb") as packed:
        head = packed.read(8)
        packed.seek(0)
        # By content: some .tgz files are not compressed.
        opener = next(
            (o for magic, o in _OPENERS if head[: len(magic)] == magic), None
        )
        stream: Any = _Stream(opener(packed) if opener else packed, limit)
        archive: Any
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # There may be millions.
                if not target.is_wanted(member.name):
                    continue
                if member.isdir():
                    target.make_folder(member.name)
                elif member.isreg():
                    target.write(member.name, archive.extractfile(member))
                else:
                    left_out.append(member.name)
        _check_end(stream)
    return left_out


def _check_end(stream):
    """Raises ValueError unless an archive ends as it should."""
    # tarfile stops at a damaged header, too, and where the file ends.
    if stream.last != bytes(tarfile.BLOCKSIZE):
        raise ValueError(f"it is cut short or damaged at byte {stream.tell()}")
    while rest := stream.read(_CHUNK):
        if rest.strip(b"\0"):
            raise ValueError("something follows its end mark")


def _unpack_zip(path, target, limit):
    """Returns the names of links and devices."""
    left_out = []
    with zipfile.ZipFile(path) as archive:
        members = [
            m for m in archive.infolist() if target.is_wanted(m.filename)
        ]
        if sum(member.file_size for member in members) > limit:
            raise ValueError(_too_much(limit))
        for member in members:
            kind = stat.S_IFMT(member.external_attr >> 16)
            if member.is_dir():
                target.make_folder(member.filename)
            elif kind in (0, stat.S_IFREG):
                with archive.open(member) as source:
                    target.write(member.filename, source)
            else:
                left_out.append(member.filename)
    return left_out


def _too_much(limit):
    return f"it holds more than {limit:,} bytes, far more than its size"
