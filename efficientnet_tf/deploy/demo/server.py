"""Serves the page's folder on this machine, with the headers for threads."""

import functools
import http.server
import os
import signal
import threading
from typing import Any

from absl import logging

from efficientnet_tf.utils import addresses

HOST = "127.0.0.1"
SIGNALS = (signal.SIGTERM, signal.SIGINT)

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
    """Returns a server of a folder that has a port of 127.0.0.1.

    Nobody can connect before `listen`, and wait for a page being made.

    Args:
      folder: need not be there yet.
      port: 0 for any free one; see `server_port` of what is returned.

    Raises:
      OSError: the port cannot be had.
    """
    handler = functools.partial(_Handler, directory=os.fspath(folder))
    made = http.server.ThreadingHTTPServer(
        (HOST, port), handler, bind_and_activate=False
    )
    made.socket.close()
    made.socket = addresses.bind(HOST, port)
    made.server_name, made.server_port = made.socket.getsockname()
    return made


def listen(server: http.server.ThreadingHTTPServer) -> None:
    """Lets people connect to a server of `bind`.

    Raises:
      OSError: somebody else listens at its port by now.
    """
    with addresses.explained(server.socket):
        server.server_activate()


def serve(server: http.server.ThreadingHTTPServer) -> None:
    """Serves until SIGTERM or SIGINT; call it in the main thread.

    Args:
      server: one that listens, see `listen`.
    """

    def stop(*_):
        # In another thread, since it waits for `serve_forever` to end.
        threading.Thread(target=server.shutdown).start()

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        with server:
            server.serve_forever()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
