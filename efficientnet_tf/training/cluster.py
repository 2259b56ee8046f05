"""The workers of one run, as the environment variable TF_CONFIG names them."""

import json
import os
import socket
from typing import Any


def list_workers() -> list[str]:
    """Returns the addresses of all workers, [] without TF_CONFIG.

    Raises:
      ValueError: it is invalid.
    """
    config = _read()
    if not config:
        return []
    # The chief is a worker that also writes.
    cluster = config["cluster"]
    return [*cluster.get("chief", []), *cluster.get("worker", [])]


def check_port() -> None:
    """Raises OSError if this worker's own port is taken by another program."""
    config = _read()
    kind, index = config["task"]["type"], int(config["task"]["index"])
    address = config["cluster"][kind][index]
    port = address.rpartition(":")[2]
    try:
        socket.create_server(("", int(port))).close()
    except (OSError, ValueError, OverflowError) as error:
        raise OSError(
            f"Worker {index} cannot listen at {address}, its address in "
            f"TF_CONFIG: {error}"
        ) from None


def _read() -> dict[str, Any]:
    """Returns TF_CONFIG, {} without it; ValueError if it is invalid."""
    text = os.environ.get("TF_CONFIG", "")
    if not text:
        return {}
    try:
        config = json.loads(text)
        task = config["task"]
        config["cluster"].get("chief")
        config["cluster"][task["type"]][int(task["index"])]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise ValueError(
            f"TF_CONFIG={text!r} must be JSON with the addresses of a cluster "
            "and this process's task in it."
        ) from None
    return config
