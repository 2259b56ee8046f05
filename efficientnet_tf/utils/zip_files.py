"""Zip archives from strangers: opened and read within limits."""

import contextlib
import os
import zipfile
from collections.abc import Iterator

from efficientnet_tf.utils import untrusted

# Of the list of members: about 90,000, which take a second and 100 MB to list.
_MAX_DIRECTORY_BYTES = 4 << 20


@contextlib.contextmanager
def open_zip(path: str | os.PathLike) -> Iterator[zipfile.ZipFile]:
    """Opens an archive whose members together claim no more than they may.

    Raises:
      OSError: there is no such file, or it is no regular one.
      untrusted.DamagedError: it is no archive, or claims too much.
    """
    with untrusted.open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        with untrusted.reading(path):
            # Private, since nothing public tells the size of the list before
            # all of it has been read.
            end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
            if end and end[zipfile._ECD_SIZE] > _MAX_DIRECTORY_BYTES:  # type: ignore[attr-defined]
                raise untrusted.DamagedError(
                    f"{os.fspath(path)} lists too many members; refused."
                )
            archive = zipfile.ZipFile(file)
        claimed = sum(info.file_size for info in archive.infolist())
        untrusted.check_claim(claimed, path, size)
        with archive:
            yield archive
