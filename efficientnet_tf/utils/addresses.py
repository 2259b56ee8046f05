"""Addresses of machines, HOST:PORT: checked, and waited for."""

import contextlib
import os
import re
import socket
import time
from collections.abc import Iterator

from efficientnet_tf.utils import waits

LAST_PORT = 65535
POLL_SECONDS = 0.5


def check(name: str, address: str) -> None:
    """Raises ValueError unless an address is HOST:PORT.

    Args:
      name: of the flag or field, for the message.
      address: a name, IPv4, or [IPv6], and a port.
    """
    host = r"([^\s:/\[\]]+|\[[0-9a-fA-F:.]+\])"
    found = re.fullmatch(host + r":(\d{1,5})", address, re.ASCII)
    if found is None or not 1 <= int(found[2]) <= LAST_PORT:
        raise ValueError(
            f"{name}: {address!r} must be HOST:PORT, with a port from 1 to "
            f"{LAST_PORT}."
        )


def split(address: str) -> tuple[str, int]:
    """Returns host and port, of "host:1" or "[::1]:1"."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def listen(port: int) -> socket.socket:
    """Returns a socket that listens at a port; 0: any free one.

    Raises:
      OSError: it is taken.
    """
    with _explained(port):
        return socket.create_server(("", port))


def bind(host: str, port: int) -> socket.socket:
    """Returns a socket that has a port, but does not listen yet.

    Args:
      host: a name or an address of this machine.
      port: 0: any free one.

    Raises:
      OSError: the port is taken, or the host is another machine.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise OSError(f"Host {host!r} is not known: {error}.") from None
    family, *_, address = found[0]
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A server that has just ended leaves its port for a minute.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with _explained(port, f" of {host}"):
            bound.bind(address)
    except BaseException:
        bound.close()
        raise
    return bound


@contextlib.contextmanager
def explained(bound: socket.socket) -> Iterator[None]:
    """Words errors of what begins to listen at a bound socket."""
    with _explained(bound.getsockname()[1]):
        yield


def to_url(bound: socket.socket) -> str:
    """Returns "http://HOST:PORT" of a bound socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def _explained(port, of=""):
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise OSError(f"Port {port}{of} cannot be used: {reason}.") from None


def wait_for(address: str, who: str) -> None:
    """Returns once something listens at an address.

    TensorFlow waits for others with Python's lock held, so that nobody can say
    what it waits for, nor obey a signal.
    """
    with waits.waiting("No start", f"{who} at {address} does not answer"):
        while not _listens(address):
            time.sleep(POLL_SECONDS)


def _listens(address):
    try:
        socket.create_connection(split(address), POLL_SECONDS).close()
    except OSError:
        return False
    return True
