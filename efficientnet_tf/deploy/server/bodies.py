"""The bodies of requests: within a size, a time, and a memory for all."""

import asyncio
import contextlib
from collections.abc import Iterator

from aiohttp import web

from efficientnet_tf.deploy.server import limits as limits_lib


class Bodies:
    """Reads bodies; counts the bytes of those that are in memory."""

    def __init__(self, limits: limits_lib.Limits):
        self._limits = limits
        self._held = 0

    @contextlib.contextmanager
    def held(self, request: web.Request) -> Iterator[None]:
        """Reserves memory for a body as long as its request is worked on.

        Raises:
          limits.Refused: 413 if it is too large, 429 if there is no room.
        """
        most = self._limits.max_bytes
        size = request.content_length
        if size is not None and size > most:
            raise self._too_large()
        if size is None or "Content-Encoding" in request.headers:
            size = most  # Nobody knows what it unpacks to.
        if self._held + size > limits_lib.LARGEST_REQUESTS * most:
            raise limits_lib.Refused(
                429, "Too many large requests at once; try again."
            )
        self._held += size
        try:
            yield
        finally:
            self._held -= size

    async def read(self, request: web.Request) -> bytes:
        """Returns the whole body.

        Raises:
          limits.Refused: 408 if it does not arrive, 413 if it is too large.
        """
        with self._timed():
            async with asyncio.timeout(self._limits.timeout_seconds):
                return await request.read()

    async def read_files(self, request: web.Request) -> dict[str, bytes]:
        """Returns {name: content} of a form's files, or of the one body.

        Raises:
          limits.Refused: also 400 for a damaged form.
        """
        if request.content_type != "multipart/form-data":
            return {"": await self.read(request)}
        files: dict[str, bytes] = {}
        with self._timed():
            async with asyncio.timeout(self._limits.timeout_seconds):
                await self._read_form(request, files)
        return files

    async def _read_form(self, request, files):
        size = 0
        try:
            async for part in await request.multipart():
                content = bytearray()
                while chunk := await part.read_chunk(2**16):
                    size += len(chunk)
                    if size > self._limits.max_bytes:
                        raise self._too_large()
                    content += chunk
                name = part.filename or part.name or ""
                while name in files:
                    name = f"{name} ({len(files) + 1})"
                files[name] = bytes(content)
                if len(files) > self._limits.max_queue:
                    raise limits_lib.Refused(
                        413,
                        f"The form holds more than {self._limits.max_queue} "
                        "files.",
                    )
        # Whatever aiohttp raises on a stranger's form.
        except (ValueError, AssertionError, RuntimeError, LookupError) as error:
            raise limits_lib.Refused(
                400, f"The form is damaged: {error}."
            ) from None

    @contextlib.contextmanager
    def _timed(self):
        try:
            yield
        except TimeoutError:
            raise limits_lib.Refused(
                408,
                "The request did not arrive within "
                f"{self._limits.timeout_seconds:g} s.",
            ) from None
        except web.HTTPRequestEntityTooLarge:
            raise self._too_large() from None

    def _too_large(self):
        return limits_lib.Refused(
            413,
            f"The request is larger than {self._limits.max_mb:g} MB, the most "
            "that this server takes.",
        )
