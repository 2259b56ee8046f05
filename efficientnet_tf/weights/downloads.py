"""Downloads files into a cache: resumable, verified, atomic."""

import hashlib
import http.client
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request

from absl import logging

from efficientnet_tf.utils import cache_folder

MIRROR_VARIABLE = "EFFICIENTNET_TF_MIRROR"

ATTEMPTS = 4
TIMEOUT_SECONDS = 30
CHUNK_BYTES = 1 << 20
LOG_EVERY_BYTES = 32 << 20


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
      digest: "md5:..." or "sha256:..."; None trusts the first download and
        stores its SHA-256 beside it for later.
      token: sent to the URL's host, and to no other that it redirects to.

    Raises:
      OSError: the download failed; the message says where to put the file.
      ValueError: the file does not match the digest.
    """
    path = cached_path(url)
    mirror = os.environ.get(MIRROR_VARIABLE)
    if mirror:
        url = mirror.rstrip("/") + urllib.parse.urlsplit(url).path
    if os.path.exists(path):
        try:
            check(path, digest or _recorded(path))
        except ValueError as error:
            raise ValueError(
                f"{error} Delete it to download it again."
            ) from None
        return path

    os.makedirs(os.path.dirname(path), exist_ok=True)
    part = f"{path}.part"
    try:
        _download(url, part, token)
    except (OSError, http.client.HTTPException) as error:
        # An HTTP error's status code says more than its reason.
        is_http = isinstance(error, urllib.error.HTTPError)
        reason = error if is_http else getattr(error, "reason", error)
        raise OSError(
            f"Cannot download {os.path.basename(path)} from {url} ({reason}); "
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
        _write(f"{path}.sha256", f"sha256:{_hash(part, 'sha256')}")
    os.replace(part, path)
    _remove(f"{part}.json")
    return path


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


def _download(url, part, token):
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _append(url, part, token)
            return
        except urllib.error.HTTPError as error:
            error.close()
            raise  # The server answered; asking again would not help.
        except (http.client.HTTPException, OSError) as error:
            # A refused connection will not recover within seconds; one that
            # broke on the way has left bytes to resume from.
            if attempt == ATTEMPTS or not os.path.exists(part):
                raise
            logging.warning(
                "The download of %s was interrupted (%s); resuming.", url, error
            )


class _TokenStaysHome(urllib.request.HTTPRedirectHandler):
    """Does not send a token on to another host."""

    def redirect_request(self, request, *rest):
        redirected = super().redirect_request(request, *rest)
        if redirected is not None and redirected.host != request.host:
            redirected.remove_header("Authorization")
        return redirected


_OPENER = urllib.request.build_opener(_TokenStaysHome)


def _request(url, token):
    request = urllib.request.Request(url)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    return request


def _append(url, part, token):
    """Makes one request and appends its content to `part`."""
    done = os.path.getsize(part) if os.path.exists(part) else 0
    validator = _validator(part) if done else None
    request = _request(url, token)
    if validator:
        # If the file has changed since, the server sends the whole new one.
        request.add_header("Range", f"bytes={done}-")
        request.add_header("If-Range", validator)
    try:
        response = _OPENER.open(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        error.close()
        _remove(part)
        request = _request(url, token)
        response = _OPENER.open(request, timeout=TIMEOUT_SECONDS)
    with response:
        wanted = f"bytes {done}-"
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        if resumed and not response.headers.get("Content-Range", "").startswith(
            wanted
        ):
            raise OSError(f"the server does not resume at byte {done}")
        if not resumed:
            done = 0
            etag = response.headers.get("ETag", "")
            # A weak tag does not guarantee the same bytes.
            etag = "" if etag.startswith("W/") else etag
            validator = etag or response.headers.get("Last-Modified")
            _write(f"{part}.json", json.dumps({"validator": validator}))
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        with open(part, "ab" if resumed else "wb") as file:
            _copy(response, file, done, total)
        size = os.path.getsize(part)
        if total is not None and size < total:
            raise OSError(f"{size} of {total} bytes arrived")


def _copy(response, file, done, total):
    name = os.path.basename(file.name).removesuffix(".part")
    with _progress(name, done, total) as advance:
        while chunk := response.read(CHUNK_BYTES):
            file.write(chunk)
            advance(len(chunk))


class _progress:
    """A progress bar on a terminal, a few lines in the log elsewhere."""

    def __init__(self, name, done, total):
        self._name, self._done, self._total = name, done, total
        self._bar = None
        if sys.stderr.isatty():
            try:
                import tqdm
            except ImportError:
                return
            self._bar = tqdm.tqdm(
                initial=done, total=total, unit="B", unit_scale=True, desc=name
            )

    def __enter__(self):
        return self._advance

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.close()

    def _advance(self, count):
        before, self._done = self._done, self._done + count
        if self._bar is not None:
            self._bar.update(count)
        elif (
            before // LOG_EVERY_BYTES < self._done // LOG_EVERY_BYTES
            or self._done == self._total
        ):
            total = f"{self._total / 1e6:.1f}" if self._total else "?"
            logging.info(
                "%s: %.1f of %s MB.", self._name, self._done / 1e6, total
            )


def _validator(part):
    try:
        with open(f"{part}.json") as file:
            return json.load(file)["validator"]
    except (OSError, ValueError, LookupError):
        return None


def _recorded(path):
    try:
        with open(f"{path}.sha256") as file:
            return file.read().strip()
    except FileNotFoundError:
        digest = f"sha256:{_hash(path, 'sha256')}"
        _write(f"{path}.sha256", digest)  # The user put the file there.
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
