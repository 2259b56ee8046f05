"""One file over HTTP: whole, resumed only where that is safe, or an error."""

import http.client
import json
import os
import re
import shutil
import sys
import time
import urllib.error
import urllib.request
from typing import IO, Any

from absl import logging

ATTEMPTS = 4
TIMEOUT_SECONDS = 30
CHUNK_BYTES = 1 << 20
LOG_EVERY_BYTES = 32 << 20
# A server that sends less than so much in so long is given up.
SLOW_SECONDS = 60
SLOW_BYTES = 64 << 10
# Of what comes in chunks, and might never end; the largest weights have 2 GB.
MOST_BYTES = 16 << 30


def download(
    url: str, part: str, token: str | None, *, needs_length: bool
) -> None:
    """Downloads a file to the path `part`, or the rest of it.

    Args:
      url: where it is.
      part: where to; what an earlier call left there is resumed, if it is
        of the same version of the file.
      token: sent to the URL's host, and to no other that it redirects to.
      needs_length: whether a file whose end cannot be told is refused.

    Raises:
      OSError, HTTPException: what failed.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _append(url, part, token, needs_length)
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


class Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects that a secret and a file may follow.

    No token goes to another host, and nothing that came by HTTPS comes by less.
    """

    def redirect_request(
        self, request: urllib.request.Request, answer: IO[bytes], *rest: Any
    ) -> urllib.request.Request | None:
        redirected = super().redirect_request(request, answer, *rest)
        if redirected is None:
            return None
        if redirected.type not in {request.type, "https"}:
            answer.close()
            raise urllib.error.URLError(
                f"the server redirects from {request.type} to "
                f"{redirected.type}, which is not safe"
            )
        if redirected.host != request.host:
            redirected.remove_header("Authorization")
        return redirected


_OPENER = urllib.request.build_opener(Redirects)


def _append(url, part, token, needs_length):
    """Makes one request and appends its content to `part`."""
    done, known = _read_part(part)
    with _open(url, token, done, known) as response:
        if response.status != http.HTTPStatus.OK:
            total = done + _length(response, needs_length)
            with open(part, "ab") as file:
                _copy(response, file, done, total)
            return
        total = _length(response, needs_length)
        _write(f"{part}.json", json.dumps({"validator": _tag(response)}))
        with open(part, "wb") as file:
            _copy(response, file, 0, total)


def _open(url, token, done, validator):
    """Returns an answer with the whole file, or with all of it after `done`."""
    request = urllib.request.Request(url)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    if done:
        # If the file has changed since, the server sends the whole new one.
        request.add_header("Range", f"bytes={done}-")
        request.add_header("If-Range", validator)
    try:
        response = _OPENER.open(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        refused = http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        if error.code != refused or not done:
            raise
        error.close()
        return _open(url, token, 0, None)
    if response.status == http.HTTPStatus.OK:
        return response
    if done and _resumes(response, done, validator):
        return response
    response.close()
    if not done:
        raise OSError(f"the server answers HTTP {response.status}")
    # Not every server looks at the conditions.
    return _open(url, token, 0, None)


def _resumes(response, done, validator):
    """Whether an answer is the rest of the same file, to its end."""
    found = re.fullmatch(
        r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", "")
    )
    if not found or response.status != http.HTTPStatus.PARTIAL_CONTENT:
        return False
    begin, end, total = map(int, found.groups())
    return (begin, end + 1) == (done, total) and _tag(response) == validator


def _tag(response):
    """Returns what tells a file from another version of it, or None."""
    etag = response.headers.get("ETag", "")
    # A weak tag does not guarantee the same bytes.
    etag = "" if etag.startswith("W/") else etag
    return etag or response.headers.get("Last-Modified")


def _length(response, needs_length):
    """Returns how many bytes an answer has; None if it comes in chunks.

    Raises:
      OSError: that is not to be known, or it is no usable answer.
    """
    headers = response.headers
    encoding = headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise OSError(f"the server sends it as {encoding}, unasked")
    length = headers.get("Content-Length")
    if length is None:
        # A connection that breaks looks like the end of such a file.
        chunked = headers.get("Transfer-Encoding", "").lower() == "chunked"
        if needs_length and not chunked:
            raise OSError("the server does not say its length")
        return None
    if not re.fullmatch(r"\d{1,18}", length) or int(length) == 0:
        raise OSError(f"the server says that it has {length[:40]!r} bytes")
    return int(length)


def _copy(response, file, done, total):
    free = shutil.disk_usage(os.path.dirname(file.name)).free
    if total is not None and total - done > free:
        raise OSError(f"it has {total:,} bytes, but {free:,} are free")
    name = os.path.basename(file.name).removesuffix(".part")
    arrived, begin, before = done, time.monotonic(), done
    with _progress(name, done, total) as advance:
        while chunk := response.read1(CHUNK_BYTES):
            file.write(chunk)
            arrived += len(chunk)
            advance(len(chunk))
            if arrived > MOST_BYTES:
                raise OSError(f"more than {MOST_BYTES:,} bytes arrived")
            if time.monotonic() - begin > SLOW_SECONDS:
                if arrived - before < SLOW_BYTES:
                    raise OSError(
                        f"{arrived - before:,} bytes arrived in "
                        f"{SLOW_SECONDS} s"
                    )
                begin, before = time.monotonic(), arrived
    if not arrived or (total is not None and arrived != total):
        raise OSError(f"{arrived:,} of {total or '?'} bytes arrived")


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


def _read_part(part):
    """Returns the size and validator of what may be resumed, or (0, None)."""
    try:
        with open(f"{part}.json") as file:
            validator = json.load(file)["validator"]
        done = os.path.getsize(part)
    except (OSError, ValueError, LookupError, TypeError):
        return 0, None
    usable = isinstance(validator, str) and validator.isprintable()
    return (done, validator) if usable else (0, None)


def _write(path, text):
    with open(path, "w") as file:
        file.write(text)
