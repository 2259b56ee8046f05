"""Addresses of machines, HOST:PORT: checked, and waited for."""

import os
import re
import socket
import time

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
    try:
        return socket.create_server(("", port))
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise OSError(f"Port {port} cannot be used: {reason}.") from None


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
