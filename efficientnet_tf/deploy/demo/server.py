"""Serves the page's folder on this machine, with the headers for threads."""

import errno
import functools
import http.server
import os
from typing import Any

from absl import logging

HOST = "127.0.0.1"

# What a browser asks for before a page's threads may share memory.
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    # A page that was written anew is seen anew.
    "Cache-Control": "no-cache",
}


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Gives out files of one folder."""

    # The machine's own table of types may lack these, or have others.
    extensions_map = {
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".wasm": "application/wasm",
        ".json": "application/json",
        ".tflite": "application/octet-stream",
    }
    timeout = 60  # Of a connection on which nothing comes.

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def list_directory(self, path: Any) -> None:
        self.send_error(http.HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *args: Any) -> None:
        logging.debug(format, *args)


def bind(
    folder: str | os.PathLike, port: int
) -> http.server.ThreadingHTTPServer:
    """Returns a server of a folder that listens on 127.0.0.1.

    Args:
      folder: need not be there yet.
      port: 0 for any free one; see `server_port` of what is returned.

    Raises:
      OSError: the port cannot be had.
    """
    handler = functools.partial(_Handler, directory=os.fspath(folder))
    try:
        return http.server.ThreadingHTTPServer((HOST, port), handler)
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno == errno.EADDRINUSE:
            reason = "another program listens there"
        raise OSError(
            f"Cannot serve at {HOST}:{port} ({reason}); choose another --port, "
            "or 0 for any free one."
        ) from None
