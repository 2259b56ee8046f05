"""Runs the server until a signal, and lets it finish what it has begun."""

import asyncio
import contextlib
import dataclasses
import logging
import signal
import socket
from collections.abc import Callable

from aiohttp import web
from PIL import Image

from efficientnet_tf.deploy.server import (
    app as app_lib,
    engine as engine_lib,
    limits as limits_lib,
    metrics,
)
from efficientnet_tf.inference import classifier as classifier_lib
from efficientnet_tf.utils import addresses

# Connections without a request, or with half of its headers, are closed then.
IDLE_SECONDS = 75.0
# For an answer that is being written, once all requests have one.
END_SECONDS = 2.0
_BACKLOG = 128

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclasses.dataclass(frozen=True)
class Service:
    """A classifier, the name that clients ask for, and its limits.

    `server` is the version of the server that is said to those who ask.
    """

    classifier: classifier_lib.Classifier
    name: str
    version: str = "1"
    limits: limits_lib.Limits = limits_lib.Limits()
    server: str = "0"


def serve(
    service: Service,
    bound: socket.socket,
    on_ready: Callable[[str], object],
    access_log: logging.Logger | None = None,
) -> int:
    """Serves until SIGTERM or SIGINT; call it in the main thread.

    It listens only once the network is warm: until then connections are
    refused. At a signal it stops to listen, and answers what it has begun.

    Args:
      service: what is served.
      bound: a socket of `addresses.bind`.
      on_ready: called with "http://HOST:PORT".
      access_log: gets a line for each request; None: there is no log.

    Returns:
      How many requests were cut off, because they took longer than
      `timeout_seconds` at the end.

    Raises:
      OSError: somebody else has begun to listen at the port.
      RuntimeError: the network does not go with its class names.
    """
    # An icon may hold a larger image than its header says, and Pillow compares
    # with twice this number.
    Image.MAX_IMAGE_PIXELS = service.limits.max_pixels // 2
    measured = metrics.Metrics()
    engine = engine_lib.Engine(service.classifier, service.limits, measured)
    engine.warm_up()
    model = app_lib.Model(service.name, service.version, service.server)
    server = app_lib.Server(engine, model, measured)
    return asyncio.run(_serve(server, bound, on_ready, access_log))


async def _serve(server, bound, on_ready, access_log):
    runner = web.AppRunner(
        server.make_app(),
        access_log=access_log,
        shutdown_timeout=END_SECONDS,
        keepalive_timeout=IDLE_SECONDS,
        # Nobody waits for the answer of a client that went away.
        handler_cancellation=True,
    )
    with _caught_signals() as stop:
        try:
            await runner.setup()
            site = web.SockSite(runner, bound, backlog=_BACKLOG)
            with addresses.explained(bound):
                await site.start()
            on_ready(addresses.to_url(bound))
            await stop.wait()
            await site.stop()
            # Not by the runner, which drops bodies that are still arriving.
            return await server.drain()
        finally:
            await runner.cleanup()


@contextlib.contextmanager
def _caught_signals():
    """Yields an event that a signal sets.

    Not by the loop's own means, which would take the signals away from
    `watchdog`: it ends a process that gets a second one.
    """
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def catch(*_):
        loop.call_soon_threadsafe(stop.set)

    before = {
        number: signal.signal(number, catch)
        for number in SIGNALS
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
