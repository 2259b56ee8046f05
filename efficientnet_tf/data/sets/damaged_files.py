"""Every image of a folder is decoded once, before any work is done with it."""

import concurrent.futures
import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np
from absl import logging

from efficientnet_tf.data.images import decoding
from efficientnet_tf.data.sets import near_duplicates
from efficientnet_tf.utils import bars, cache_folder, files, run_folder, tables

# What is known about readable files is kept by folder: about a kilobyte each.
CACHE = "images"
CACHE_LIMIT = 2**30
_VERSION = 2
_SIDE = near_duplicates.THUMBNAIL
_COLUMNS = {
    "version": cache_folder.Column("int64", ()),
    "names": cache_folder.Column("uint8", ("bytes",)),
    "sizes": cache_folder.Column("int64", ("n",)),
    "times": cache_folder.Column("int64", ("n",)),
    "sha256": cache_folder.Column("uint8", ("n", 32)),
    "digests": cache_folder.Column("uint8", ("n", 32)),
    "bits": cache_folder.Column("uint64", ("n",)),
    "thumbnails": cache_folder.Column("uint8", ("n", _SIDE, _SIDE, 3)),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """What decoding a file has shown; its stat tells whether it holds."""

    size: int
    mtime_ns: int
    sha256: str
    sketch: near_duplicates.Sketch


def examine(
    root: pathlib.Path, paths: Iterable[pathlib.Path]
) -> tuple[dict[pathlib.Path, Facts], dict[pathlib.Path, str]]:
    """Decodes files wholly, in threads, except those known to be readable.

    Args:
      root: the folder, by which results are cached.
      paths: files below it.

    Returns:
      {file: its `Facts`} of the readable ones and {file: why not} of others.
    """
    cache = _cache_file(root)
    known = _load(cache)
    good: dict[pathlib.Path, Facts] = {}
    bad: dict[pathlib.Path, str] = {}
    left = []
    for path in paths:
        facts = known.get(path.relative_to(root).as_posix())
        if facts is not None and is_unchanged(path, facts):
            good[path] = facts
        else:
            left.append((path, facts))
    try:
        with bars.show("Checking images", "image", total=len(left)) as bar:
            for path, result in _decode_all(left):
                if isinstance(result, Facts):
                    good[path] = result
                else:
                    bad[path] = result
                bar.update()
    finally:
        if left:  # After an interrupt, too.
            _save(cache, root, known, good)
    return good, bad


def is_unchanged(path: pathlib.Path, facts: Facts) -> bool:
    """Whether a file has the size and time of when it was decoded."""
    try:
        stat = path.stat()
    except OSError:
        return False
    return (stat.st_size, stat.st_mtime_ns) == (facts.size, facts.mtime_ns)


def check(
    root: pathlib.Path,
    bad: Mapping[pathlib.Path, str],
    total: int,
    *,
    skip: bool,
    share: float = 0.0,
    folder: str | os.PathLike | None = None,
) -> None:
    """Writes the list of unreadable files; refuses them unless they may be.

    Args:
      root: the images' folder.
      bad: {file: why it cannot be read}.
      total: the number of images.
      skip: whether any number may be left out.
      share: of the images that may be left out anyway.
      folder: where the list is written; None: in the cache.

    Raises:
      RuntimeError: says how many, which first, and where the list is.
    """
    if folder is None:
        folder = _cache_file(root).with_suffix("")
    listed = pathlib.Path(folder) / run_folder.UNREADABLE_FILE
    if not bad:
        listed.unlink(missing_ok=True)
        return
    rows = [
        {"path": path.relative_to(root).as_posix(), "reason": reason}
        for path, reason in sorted(bad.items())
    ]
    tables.write_csv(listed, ("path", "reason"), rows)
    shown = " ".join(reason for _, reason in sorted(bad.items())[:3])
    found = f"{len(bad):,} of {total:,} images cannot be read"
    if not skip and len(bad) > share * total:
        limit = f" The limit is {share:.2%}." if share else ""
        raise RuntimeError(
            f"{found}; {shown}{limit} {listed} lists them; --skip_bad leaves "
            "them out."
        )
    logging.warning("%s and are left out, see %s: %s", found, listed, shown)


def _decode_all(left):
    """Yields (file, its `Facts` or why it cannot be read), in order."""
    paths = [path for path, _ in left]
    known = [facts for _, facts in left]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            yield from zip(paths, pool.map(_look, paths, known), strict=True)
        finally:
            pool.shutdown(cancel_futures=True)


def _look(path, known):
    """Decodes a file, unless it has the content that was decoded before."""
    try:
        stat = path.stat()
        data = files.read_bytes(path)
        digest = hashlib.sha256(data).hexdigest()
        if known is not None and known.sha256 == digest:
            return dataclasses.replace(known, mtime_ns=stat.st_mtime_ns)
        pixels = decoding.decode_file(data, path)
    except OSError as error:
        if error.filename is not None:  # Of the system, which says "[Errno".
            return f"{path}: {error.strerror}."
        return str(error)
    return Facts(
        stat.st_size,
        stat.st_mtime_ns,
        digest,
        near_duplicates.sketch(pixels),
    )


def _cache_file(root):
    real = os.path.realpath(root)
    key = hashlib.sha256(real.encode(errors="surrogateescape")).hexdigest()[:24]
    return pathlib.Path(cache_folder.cache_dir()) / CACHE / f"{key}.npz"


def _load(cache):
    """Returns {name: Facts}; {} without a readable cache."""
    columns = cache_folder.load_arrays(cache, _COLUMNS)
    if columns.get("version") != _VERSION:
        return {}
    names = columns["names"].tobytes().decode(errors="surrogateescape")
    if len(names.split("\0")) != len(columns["sizes"]):
        return {}
    return {
        name: Facts(
            int(columns["sizes"][i]),
            int(columns["times"][i]),
            columns["sha256"][i].tobytes().hex(),
            near_duplicates.Sketch(
                columns["digests"][i].tobytes(),
                int(columns["bits"][i]),
                columns["thumbnails"][i],
            ),
        )
        for i, name in enumerate(names.split("\0"))
    }


def _save(cache, root, known, good):
    """Adds to a cache; what another process saves meanwhile may be lost."""
    rows = {
        **known,
        **{p.relative_to(root).as_posix(): facts for p, facts in good.items()},
    }
    # Names of former files go.
    rows = {n: f for n, f in rows.items() if os.path.lexists(root / n)}
    if not rows:
        return
    facts = list(rows.values())
    names = "\0".join(rows).encode(errors="surrogateescape")
    arrays = {
        "version": np.array(_VERSION),
        "names": np.frombuffer(names, "uint8"),
        "sizes": np.array([f.size for f in facts], "int64"),
        "times": np.array([f.mtime_ns for f in facts], "int64"),
        "sha256": _bytes(bytes.fromhex(f.sha256) for f in facts),
        "digests": _bytes(f.sketch.digest for f in facts),
        "bits": np.array([f.sketch.bits for f in facts], "uint64"),
        "thumbnails": np.stack([f.sketch.thumbnail for f in facts]),
    }
    cache_folder.save_arrays(cache, arrays, CACHE_LIMIT)


def _bytes(rows):
    return np.stack([np.frombuffer(row, "uint8") for row in rows])
