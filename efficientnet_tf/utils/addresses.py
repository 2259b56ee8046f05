"""Addresses of other machines, HOST:PORT, checked before anybody waits."""

import re

LAST_PORT = 65535


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
