"""Serves a classifier over HTTP, for existing clients and curl.

efficientnet serve --classifier=RUN --port=8000
curl -F image=@cat.jpg http://127.0.0.1:8000/predict

It listens once the network is warm, and runs until it gets SIGTERM or Ctrl-C;
then it answers what it has begun, and ends with 0.
"""

import dataclasses
import logging as stdlib_logging

from absl import flags, logging

import efficientnet_tf
from efficientnet_tf.commands import classifier_flags, program
from efficientnet_tf.utils import addresses, extras, image_sizes, watchdog

CLASSIFIER = classifier_flags.ClassifierFlags()
NAME = flags.DEFINE_string(
    "name", None, "What clients call the model; by default its file's name."
)
HOST = flags.DEFINE_string(
    "host", "127.0.0.1", "Address to listen at; 0.0.0.0: all of this machine."
)
PORT = flags.DEFINE_integer(
    "port", 8000, "Port to listen at; 0: any free one.", 0, addresses.LAST_PORT
)
MAX_BATCH = flags.DEFINE_integer(
    "max_batch", None, "Images that are computed on at once; 1: no batching."
)
MAX_WAIT_MS = flags.DEFINE_float(
    "max_wait_ms", None, "How long an image waits for others being read."
)
MAX_QUEUE = flags.DEFINE_integer(
    "max_queue", None, "Images in work or waiting; beyond it, 429."
)
MAX_MB = flags.DEFINE_float(
    "max_mb", None, "Megabytes of a request; beyond them, 413."
)
MAX_MEGAPIXELS = flags.DEFINE_float(
    "max_megapixels", None, "Megapixels of an image; beyond them, 413."
)
TIMEOUT_SECONDS = flags.DEFINE_float(
    "timeout_seconds", None, "For a request to arrive, and to be answered."
)
ACCESS_LOG = flags.DEFINE_boolean(
    "access_log", False, "Log each request on standard error."
)


def main(_: list[str]) -> None:
    extras.require(
        "The server's connections and metrics", "aiohttp", "prometheus_client"
    )
    from efficientnet_tf.deploy.server import limits as limits_lib, names

    limits = _make_limits(limits_lib.Limits)
    CLASSIFIER.check()
    name, version = names.choose(CLASSIFIER.name)
    name = NAME.value or name
    names.check(name)
    # First: TensorFlow takes long to load, and the port may be taken.
    with addresses.bind(HOST.value, PORT.value) as bound:
        from efficientnet_tf.deploy.server import serving

        service = serving.Service(
            CLASSIFIER.load(),
            name,
            version,
            limits,
            efficientnet_tf.__version__,
        )
        with watchdog.guarded():
            cut = serving.serve(
                service,
                bound,
                lambda url: _announce(service, url),
                _get_access_log(),
            )
    if cut:
        raise RuntimeError(
            f"Stopped; {cut} requests were cut off, because they took longer "
            f"than {limits.timeout_seconds:g} s."
        )
    logging.info("Stopped; all requests were answered.")


def _make_limits(kind):
    """Returns the limits of flags that are set, others by their default."""
    names = [field.name for field in dataclasses.fields(kind)]
    given = {name: flags.FLAGS[name].value for name in names}
    return kind(**{k: v for k, v in given.items() if v is not None})


def _announce(service, url):
    from efficientnet_tf.deploy.server import app

    print(
        f"Serving {service.name} at {url}; try: "
        f"curl -F image=@cat.jpg {url}{app.UPLOAD_PATH}"
    )
    program.print_result(
        {
            "url": url,
            "model": service.name,
            "version": service.version,
            "classes": len(service.classifier.class_names),
            "resolution": service.classifier.resolution,
            "image_size": image_sizes.show(service.classifier.size),
        }
    )


def _get_access_log():
    return (
        stdlib_logging.getLogger("aiohttp.access") if ACCESS_LOG.value else None
    )


if __name__ == "__main__":
    program.run(main)
