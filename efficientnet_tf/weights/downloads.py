"""Downloads files into a cache: verified, by one process at a time, atomic."""

import contextlib
import hashlib
import http.client
import os
import re
import urllib.error
import urllib.parse
from collections.abc import Iterator

import filelock
from absl import logging

from efficientnet_tf.utils import cache_folder, workers
from efficientnet_tf.weights import http_files

MIRROR_VARIABLE = "EFFICIENTNET_TF_MIRROR"

# Ends the name of a mark beside a file that nobody has read yet.
_UNREAD = ".unread"


def cached_path(url: str) -> str:
    """Returns where `fetch` keeps a file, whether or not it is there."""
    parts = urllib.parse.urlsplit(url)
    return os.path.join(
        cache_folder.cache_dir(), *parts.path.strip("/").split("/")
    )


def fetch(url: str, digest: str | None = None, token: str | None = None) -> str:
    """Returns the path of the file at `url` in the cache.

    Downloads it first if it is not there. An interrupted download is resumed
    if the server supports that and the file has not changed, and otherwise
    started again. $EFFICIENTNET_TF_MIRROR, e.g. "http://mirror:8000", replaces
    the URL's scheme and host.

    Args:
      url: where the file is.
      digest: "md5:..." or "sha256:..."; None trusts the first download that
        `confirmed` sees read.
      token: sent to the URL's host, and to no other that it redirects to.

    Raises:
      OSError: the download failed; the message says where to put the file.
      ValueError: the file does not match the digest.
    """
    path = cached_path(url)
    mirror = os.environ.get(MIRROR_VARIABLE)
    if mirror:
        url = mirror.rstrip("/") + urllib.parse.urlsplit(url).path
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with _locked(path):
            if not os.path.exists(path):  # Else another process was first.
                _download_checked(url, path, digest, token)
                return path
    try:
        check(path, digest or _recorded(path))
    except ValueError as error:
        raise ValueError(f"{error} Delete it to download it again.") from None
    return path


@contextlib.contextmanager
def confirmed(path: str, digest: str | None = None) -> Iterator[str]:
    """Keeps what `fetch` returned only if it can be read.

    If the `with` block succeeds, the SHA-256 of a file without a digest is
    stored beside it, for `fetch` to check it by; if it fails, such a file is
    deleted, unless it was put there by hand.

    Raises:
      ValueError: the block's own, which then says so.
    """
    new = f"{path}{_UNREAD}"
    try:
        yield path
    except ValueError as error:
        if not os.path.exists(new):
            raise
        _remove(path)
        _remove(new)
        raise ValueError(
            f"{error} It has been deleted, to be downloaded again."
        ) from error
    if digest is None and not os.path.exists(f"{path}.sha256"):
        record(path, f"sha256:{_hash(path, 'sha256')}")
        _remove(new)


def _download_checked(url, path, digest, token):
    part = f"{path}.part"
    try:
        http_files.download(url, part, token, needs_length=digest is None)
    except (OSError, http.client.HTTPException) as error:
        # An HTTP error's status code says more than its reason.
        is_http = isinstance(error, urllib.error.HTTPError)
        reason = str(error if is_http else getattr(error, "reason", error))
        raise OSError(
            f"Cannot download {os.path.basename(path)} from {url} "
            f"({' '.join(reason.split())}); "
            f"if you have the file, put it at {path}"
        ) from error
    try:
        check(part, digest)
    except ValueError as error:
        os.remove(part)
        _remove(f"{part}.json")
        raise ValueError(
            f"{error} It was downloaded from {url} and has been deleted."
        ) from None
    if digest is None:
        _write(f"{path}{_UNREAD}", "")
    os.replace(part, path)
    _remove(f"{part}.json")


@contextlib.contextmanager
def _locked(path):
    """Waits until no other process downloads a file."""
    name = hashlib.sha256(path.encode(errors="surrogateescape")).hexdigest()
    lock = workers.lock(cache_folder.cache_dir(), name[:24])
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        logging.info("Another process downloads %s; waiting for it.", path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def record(path: str, digest: str) -> None:
    """Stores the digest that `fetch` checks a cached file against.

    For a file whose digest is known from its server only.
    """
    _write(f"{path}.sha256", digest)


def check(path: str, digest: str | None) -> None:
    """Raises ValueError unless the file matches the digest; None passes."""
    if digest is None:
        return
    algorithm, _, wanted = digest.partition(":")
    found = _hash(path, algorithm)
    if found != wanted:
        raise ValueError(
            f"{path.removesuffix('.part')} is not the published file: its "
            f"{algorithm} is {found}, not {wanted}."
        )


def _recorded(path):
    """Returns the digest that was stored for a file, or None."""
    try:
        with open(f"{path}.sha256") as file:
            digest = file.read(100).strip()
    except FileNotFoundError:
        return None  # It has not been read yet.
    if not re.fullmatch("sha256:[0-9a-f]{64}", digest):
        raise ValueError(f"{path}.sha256 is damaged.")
    return digest


def _hash(path, algorithm):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _write(path, text):
    with open(path, "w") as file:
        file.write(text)


def _remove(path):
    if os.path.exists(path):
        os.remove(path)
