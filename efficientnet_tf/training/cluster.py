"""The workers of one run, as the environment variable TF_CONFIG names them."""

import json
import os
from typing import Any

from efficientnet_tf.utils import addresses


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
    workers = [*cluster.get("chief", []), *cluster.get("worker", [])]
    for address in workers:
        addresses.check("TF_CONFIG", address)
    return workers


def is_chief() -> bool:
    """Whether this process writes on behalf of all workers; also if alone.

    `distribution.is_chief` tells it of a strategy that is at work.
    """
    config = _read()
    if not config:
        return True
    task, cluster = config["task"], config["cluster"]
    if cluster.get("chief"):
        return task["type"] == "chief"
    return task["type"] == "worker" and int(task["index"]) == 0


def meet() -> None:
    """Waits until all workers listen at their ports, this one included.

    TensorFlow waits for them as well, but deaf, see `addresses.wait_for`, and
    with a handler of SIGTERM of its own that does not end it.

    Raises:
      OSError: this worker's own port is taken by another program.
    """
    config = _read()
    kind, index = config["task"]["type"], int(config["task"]["index"])
    own = config["cluster"][kind][index]
    with addresses.listen(addresses.split(own)[1]):
        for other in list_workers():
            if other != own:
                addresses.wait_for(other, "a worker")


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
