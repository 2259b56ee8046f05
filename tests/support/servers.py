"""A server in a thread, and requests to it."""

import asyncio
import concurrent.futures
import contextlib
import json
import queue
import threading
import urllib.error
import urllib.request

import numpy as np
from aiohttp import web

from efficientnet_tf.deploy.server import (
    app,
    engine as engine_lib,
    limits as limits_lib,
    metrics,
)
from efficientnet_tf.inference import classifier

NAMES = ("red", "green", "blue")


class Stub:
    """A network whose probabilities are the mean colours of an image.

    It computes only while `gate` is set, and fails on an image whose first
    value is in `bad`.
    """

    def __init__(self):
        self.gate = threading.Event()
        self.gate.set()
        self.batches = []
        self.bad = {}

    def predict_on_batch(self, images):
        assert self.gate.wait(20)
        self.batches.append(len(images))
        found = images.mean(axis=(1, 2)) / 255
        for row, image in zip(found, images, strict=True):
            effect = self.bad.get(float(image[0, 0, 0]))
            if effect is RuntimeError:
                raise RuntimeError("out of\nmemory")
            if effect is not None:
                row[:] = effect
        return found


def make_classifier(model, size=8):
    """A classifier of `NAMES` around a network."""
    return classifier.Classifier(model, NAMES, size, "bilinear", None)


class Running:
    """A server that listens at `port`."""

    def __init__(self, port, engine=None, server=None, loop=None):
        self.port, self.engine, self.server = port, engine, server
        self.loop = loop

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def get(self, path):
        """Returns (status, body, headers)."""
        return self._open(urllib.request.Request(self.url + path))

    def post(self, path, body, headers=()):
        """Returns (status, JSON, headers)."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, body, dict(headers), method="POST"
        )
        status, body, headers = self._open(request)
        return status, json.loads(body), headers

    def post_all(self, path, bodies):
        """Posts all at once; returns their answers in order."""
        with concurrent.futures.ThreadPoolExecutor(len(bodies)) as pool:
            return list(pool.map(lambda body: self.post(path, body), bodies))

    def _open(self, request):
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(), error.headers


@contextlib.contextmanager
def running(served, **limits):
    """Serves a classifier as the model "net" of version 1."""
    started, loops = queue.Queue(), queue.Queue()

    async def run():
        measured = metrics.Metrics()
        engine = engine_lib.Engine(
            served, limits_lib.Limits(**limits), measured
        )
        engine.warm_up()
        server = app.Server(engine, app.Model("net", "1", "0.0"), measured)
        runner = web.AppRunner(
            server.make_app(),
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=2,
        )
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loops.put((loop, ended))
        started.put(Running(runner.addresses[0][1], engine, server, loop))
        await ended.wait()
        await runner.cleanup()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        done = pool.submit(asyncio.run, run())
        done.add_done_callback(lambda _: started.put(None))
        found = started.get(timeout=60)
        if found is None:
            done.result()
        try:
            yield found
        finally:
            loop, ended = loops.get()
            loop.call_soon_threadsafe(ended.set)
            done.result(timeout=30)


def make_form(files, boundary="b0undary"):
    """Returns (body, headers) of a form as curl -F sends it."""
    parts = []
    for field, name, content in files:
        parts += [
            f"--{boundary}\r\nContent-Disposition: form-data; "
            f'name="{field}"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n".encode(),
            content,
            b"\r\n",
        ]
    parts.append(f"--{boundary}--\r\n".encode())
    kind = f"multipart/form-data; boundary={boundary}"
    return b"".join(parts), {"Content-Type": kind}


def make_pixels(size, *colours):
    """Returns images of one colour each, float32 [N, size, size, 3]."""
    rows = np.array(colours, "float32")[:, None, None]
    return np.broadcast_to(rows, (len(colours), size, size, 3)).copy()
