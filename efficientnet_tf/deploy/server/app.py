"""The routes of the server, and one shape for all errors."""

import asyncio
import contextlib
import dataclasses
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np
from absl import logging
from aiohttp import web

from efficientnet_tf.deploy.server import (
    bodies as bodies_lib,
    engine as engine_lib,
    images as images_lib,
    limits as limits_lib,
    metrics,
    open_inference,
    tf_serving,
)
from efficientnet_tf.inference import prediction_files
from efficientnet_tf.utils import configs, untrusted

UPLOAD_PATH = "/predict"
TOP = 5  # Classes that an upload is answered with.

_NAME = "{name:[^/:]+}"
_VERSION = r"/versions/{version:[^/:]+}"


@dataclasses.dataclass(frozen=True)
class Model:
    """What clients call the one model; `server` is the server's version."""

    name: str
    version: str
    server: str


class Server:
    """The handlers, and what they share.

    Args:
      engine: answers images.
      model: the name by which it is asked for.
      measured: its numbers.
    """

    def __init__(
        self, engine: engine_lib.Engine, model: Model, measured: metrics.Metrics
    ):
        self._engine = engine
        self._model = model
        self._measured = measured
        self._bodies = bodies_lib.Bodies(engine.limits)
        self._size = engine.classifier.size
        self._outputs = engine.classifier.outputs
        self._in_flight = 0
        self._changed = asyncio.Event()

    @property
    def limits(self) -> limits_lib.Limits:
        return self._engine.limits

    async def drain(self) -> int:
        """Waits for answers; returns how many there were not in time.

        From now on it is not ready, and each answer ends its connection.
        """
        self._engine.ready = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.limits.timeout_seconds):
                while self._in_flight:
                    self._changed.clear()
                    await self._changed.wait()
        return self._in_flight

    def make_app(self) -> web.Application:
        """Returns the application, whose engine runs while it does."""
        app = web.Application(
            middlewares=[self._answer_errors],
            client_max_size=self._engine.limits.max_bytes,
        )
        app.cleanup_ctx.append(self._run_engine)
        app.add_routes(self._list_routes())
        return app

    def _list_routes(self):
        v1, v2 = f"/v1/models/{_NAME}", f"/v2/models/{_NAME}"
        routes = [
            web.get("/metrics", self._get_metrics),
            web.post(UPLOAD_PATH, self._predict_upload),
            web.get("/v2", self._get_server),
            web.get("/v2/health/live", self._get_live),
            web.get("/v2/health/ready", self._get_ready),
        ]
        for version in ("", _VERSION):
            routes += [
                web.get(f"{v1}{version}", self._get_status),
                web.get(f"{v1}{version}/metadata", self._get_v1_model),
                web.post(f"{v1}{version}:predict", self._predict_v1),
                web.get(f"{v2}{version}", self._get_v2_model),
                web.get(f"{v2}{version}/ready", self._get_ready),
                web.post(f"{v2}{version}/infer", self._predict_v2),
            ]
        return routes

    async def _run_engine(self, _: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self._engine.run())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        self._engine.close()

    @web.middleware
    async def _answer_errors(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """Calls a handler, turns errors into JSON, and counts the answer."""
        begin = time.monotonic()
        # Of unknown paths there is no end.
        resource = request.match_info.route.resource
        route = resource.canonical if resource else "other"
        status = 499  # As nginx has it: the client went away.
        self._in_flight += 1
        try:
            answer = await _answer(request, handler)
            status = answer.status
            if not self._engine.ready:
                answer.force_close()
            return answer
        finally:
            self._in_flight -= 1
            self._changed.set()
            self._measured.requests.labels(route, str(status)).inc()
            self._measured.request_seconds.labels(route).observe(
                time.monotonic() - begin
            )

    def _check_model(self, request):
        """Refuses a request for another model or version."""
        asked = request.match_info
        if "name" in asked and asked["name"] != self._model.name:
            raise limits_lib.Refused(
                404, configs.unknown("model", asked["name"], [self._model.name])
            )
        if asked.get("version", self._model.version) != self._model.version:
            raise limits_lib.Refused(
                404,
                configs.unknown(
                    "version", asked["version"], [self._model.version]
                ),
            )

    async def _predict_v1(self, request):
        self._check_model(request)
        with self._bodies.held(request):
            body = await self._bodies.read(request)
            call = self._engine.call
            asked = await call(tf_serving.parse, body, self._size)
            found = await self._engine.predict(asked.images)
        text = await call(
            lambda: json.dumps(tf_serving.answer(asked, found, self._outputs))
        )
        return web.Response(text=text, content_type="application/json")

    async def _predict_v2(self, request):
        self._check_model(request)
        header = request.headers.get(open_inference.HEADER)
        model = {
            "model_name": self._model.name,
            "model_version": self._model.version,
        }
        with self._bodies.held(request):
            body = await self._bodies.read(request)
            call = self._engine.call
            asked = await call(
                open_inference.parse,
                body,
                header,
                self._size,
                self._outputs.values,
            )
            found = await self._engine.predict(asked.images)
        data, json_bytes = await call(
            open_inference.answer, asked, found, self._outputs, model
        )
        headers = {}
        if json_bytes is not None:
            headers[open_inference.HEADER] = str(json_bytes)
        kind = "application/json" if not headers else "application/octet-stream"
        return web.Response(body=data, content_type=kind, headers=headers)

    async def _predict_upload(self, request):
        top = request.query.get("top", str(TOP))
        if not (top.isdecimal() and 0 < int(top[:9])):
            raise limits_lib.Refused(
                400, f"top={top[:20]} must be a number of classes from 1 on."
            )
        with self._bodies.held(request):
            files = await self._bodies.read_files(request)
            images_lib.check_count(files)
            found = await self._engine.predict(
                list(files.values()), list(files)
            )
        return web.json_response(
            {"predictions": self._make_rows(files, found, int(top[:9]))}
        )

    def _make_rows(self, files, found: np.ndarray, top: int):
        return [
            prediction_files.make_row(name, row, self._outputs, top)
            for name, row in zip(files, found, strict=True)
        ]

    async def _get_metrics(self, _):
        return web.Response(
            body=self._measured.render(),
            headers={"Content-Type": metrics.CONTENT_TYPE},
        )

    async def _get_server(self, _):
        return web.json_response(
            open_inference.describe_server(self._model.server)
        )

    async def _get_live(self, _):
        alive = self._engine.alive
        return web.json_response({"live": alive}, status=200 if alive else 503)

    async def _get_ready(self, request):
        self._check_model(request)
        ready = self._engine.ready
        return web.json_response(
            {"name": self._model.name, "ready": ready},
            status=200 if ready else 503,
        )

    async def _get_status(self, request):
        self._check_model(request)
        return web.json_response(
            tf_serving.describe_status(self._model.version, self._engine.ready)
        )

    async def _get_v1_model(self, request):
        return self._describe(request, tf_serving.describe_model)

    async def _get_v2_model(self, request):
        return self._describe(request, open_inference.describe_model)

    def _describe(self, request, describe: Callable[..., dict[str, Any]]):
        self._check_model(request)
        return web.json_response(
            describe(
                self._model.name,
                self._model.version,
                self._size,
                self._outputs,
            )
        )


async def _answer(request, handler):
    try:
        return await handler(request)
    except limits_lib.Refused as error:
        answer = _make_error(error.status, str(error))
        if error.status == 429:
            answer.headers["Retry-After"] = "1"
        return answer
    except web.HTTPException as error:
        text = f"{request.method} {request.path}: {error.reason}."
        answer = _make_error(error.status, text)
        if "Allow" in error.headers:
            answer.headers["Allow"] = error.headers["Allow"]
        return answer
    except ConnectionError:
        raise  # The client's; there is nobody to answer.
    except Exception as error:  # Any: others must be answered.
        logging.error("A request failed: %s", untrusted.explain(error))
        return _make_error(500, f"The server failed: {type(error).__name__}.")


def _make_error(status, message):
    return web.json_response(
        {"error": untrusted.shorten(message)}, status=status
    )
