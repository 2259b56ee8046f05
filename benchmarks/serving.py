"""Load on `efficientnet serve`: with batching and without, and its memory.

taskset -c 0 python benchmarks/serving.py --model=efficientnet_lite0

Two servers, one of them with --max_batch=1, are asked in turn by 1 and by 32
connections, each of which sends one small JPEG after the other. The client is a
process of its own, on the same cores. The network alone, at batch 1 and 16, is
the bound for what batching can give.
"""

import asyncio
import contextlib
import io
import json
import pathlib
import resource
import subprocess
import sys
import time

import aiohttp
import numpy as np
import peers
from absl import app, flags
from PIL import Image

from efficientnet_tf.utils import tables

CLASSIFIER = flags.DEFINE_string("classifier", None, "See `serve`.")
MODEL = flags.DEFINE_string("model", None, "See `serve`.")
WEIGHTS = flags.DEFINE_string("weights", "imagenet", "See `serve`.")
CONNECTIONS = flags.DEFINE_list("connections", ["1", "32"], "How many at once.")
MAX_BATCH = flags.DEFINE_integer("max_batch", 32, "Of the one server.", 2)
ROUNDS = flags.DEFINE_integer("rounds", 3, "Of each server and number.", 1)
SECONDS = flags.DEFINE_float("seconds", 8.0, "Of a round.", 0.1)
REQUESTS = flags.DEFINE_integer(
    "requests", 10_000, "For the memory of the server with batching; 0: none."
)
MOST_SECONDS = flags.DEFINE_float(
    "most_seconds", 420.0, "These requests end then, however many they were."
)
SIDE = flags.DEFINE_integer("side", 128, "Pixels a side of the JPEGs.", 8)

_SERVE = [sys.executable, "-m", "efficientnet_tf", "serve", "--port=0"]
_ROOT = pathlib.Path(__file__).resolve().parents[1]
# Not one image again and again.
_IMAGES = 16


def main(_):
    source = (
        [f"--classifier={CLASSIFIER.value}"]
        if CLASSIFIER.value
        else [f"--model={MODEL.value}", f"--weights={WEIGHTS.value}"]
    )
    result = {"benchmark": "serving", **time_network()}
    with contextlib.ExitStack() as stack:
        servers = {
            name: stack.enter_context(started(source, size))
            for name, size in (("batched", MAX_BATCH.value), ("alone", 1))
        }
        found = asyncio.run(measure(servers))
    rows = [
        [name, str(count), *(f"{v:.1f}" for v in summarize(seconds, cell))]
        + [str(cell["errors"])]
        for (name, count), (seconds, cell) in found.items()
        if name in servers
    ]
    print(
        tables.to_text(
            ("server", "connections", "images/s", "p50 ms", "p99 ms", "errors"),
            rows,
            left=(0,),
        )
    )
    for (name, count), (seconds, cell) in found.items():
        keys = ("images_per_second", "p50_ms", "p99_ms")
        values = summarize(seconds, cell)
        for key, value in zip(keys, values, strict=True):
            result[f"{name}_{count}_{key}"] = round(value, 2)
        result[f"{name}_{count}_errors"] = cell["errors"]
    for count in CONNECTIONS.value:
        rates = [result[f"{n}_{count}_images_per_second"] for n in servers]
        result[f"ratio_{count}"] = round(rates[0] / rates[1], 3)
    result |= found_memory(found)
    width = max(map(len, result))
    for name, value in result.items():
        print(f"{name:{width}}  {value}")
    print(json.dumps(result), flush=True)


def time_network():
    """Returns the images a second of the network alone."""
    from efficientnet_tf.deploy import runtimes
    from efficientnet_tf.inference import classifier

    served = (
        runtimes.load_classifier(CLASSIFIER.value)
        if CLASSIFIER.value
        else classifier.from_weights(MODEL.value, WEIGHTS.value)
    )
    size = served.resolution
    calls = {}
    for count in (1, 16):
        images = np.full((count, size, size, 3), 99, "float32")
        calls[count] = lambda images=images: served.model.predict_on_batch(
            images
        )
    for call in (*calls.values(), *calls.values()):
        call()  # Traces.
    seconds = peers.time_interleaved(calls, 20)
    rates = {
        f"network_{count}_images_per_second": round(
            float(count / np.median(values)), 2
        )
        for count, values in seconds.items()
    }
    first, last = rates.values()
    return {**rates, "network_ratio": round(last / first, 3)}


@contextlib.contextmanager
def started(source, max_batch):
    """Yields (process id, URL) of a server."""
    command = [*_SERVE, *source, f"--max_batch={max_batch}"]
    with subprocess.Popen(
        command, cwd=_ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            process.stdout.readline()
            yield process.pid, json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()
            process.wait(60)


async def measure(servers):
    """Returns {(server, connections): (seconds, latencies and errors)}."""
    images = make_images()
    found = {}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        for _ in range(ROUNDS.value):
            for name, (_, url) in servers.items():
                for count in map(int, CONNECTIONS.value):
                    cell = found.setdefault(
                        (name, count), [0.0, {"latencies": [], "errors": 0}]
                    )
                    cell[0] += await load(
                        session, url, images, count, SECONDS.value, cell[1]
                    )
        if REQUESTS.value:
            process, url = servers["batched"]
            cell = {"latencies": [], "errors": 0, "before": read_rss(process)}
            seconds = await load(
                session,
                url,
                images,
                32,
                MOST_SECONDS.value,
                cell,
                REQUESTS.value,
            )
            cell["after"] = read_rss(process)
            found["memory", 32] = [seconds, cell]
    return found


async def load(session, url, images, connections, seconds, cell, most=None):
    """Sends images for so long, or so many; returns the seconds it took."""
    end = time.perf_counter() + seconds
    begun = 0

    async def ask():
        nonlocal begun
        while time.perf_counter() < end and (most is None or begun < most):
            begun += 1
            begin = time.perf_counter()
            data = images[begun % len(images)]
            try:
                async with session.post(f"{url}/predict", data=data) as answer:
                    await answer.read()
                    cell["errors"] += answer.status != 200
            except aiohttp.ClientError:
                cell["errors"] += 1
            cell["latencies"].append(time.perf_counter() - begin)

    begin = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(connections)))
    return time.perf_counter() - begin


def summarize(seconds, cell):
    """Returns images a second, and the median and 99th percentile in ms."""
    p50, p99 = np.percentile(cell["latencies"], (50, 99)) * 1000
    return len(cell["latencies"]) / seconds, p50, p99


def found_memory(found):
    if ("memory", 32) not in found:
        return {}
    _, cell = found["memory", 32]
    return {
        "memory_requests": len(cell["latencies"]),
        "memory_mb_before": round(cell["before"] / 1e6, 1),
        "memory_mb_after": round(cell["after"] / 1e6, 1),
    }


def read_rss(process):
    """Returns the bytes of a process in memory."""
    pages = pathlib.Path(f"/proc/{process}/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


def make_images():
    """Returns small JPEGs of smooth colours."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(_IMAGES):
        squares = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        side = (SIDE.value, SIDE.value)
        buffer = io.BytesIO()
        Image.fromarray(squares).resize(side, Image.Resampling.BICUBIC).save(
            buffer, "JPEG", quality=85
        )
        made.append(buffer.getvalue())
    return made


if __name__ == "__main__":
    app.run(main)
