"""Prepares images on other machines: a tf.data service.

One machine, the dispatcher, hands out work to any number of workers:

efficientnet data-service --role=dispatcher --port=5050
efficientnet data-service --role=worker --dispatcher=HOST:5050 --port=5051

Train with `--data_service=grpc://HOST:5050`. Workers read the images
themselves, by the same paths. Both run until they get SIGTERM or Ctrl-C; a
worker waits for its dispatcher.
"""

import signal
import threading

from absl import flags, logging

from efficientnet_tf.commands import program
from efficientnet_tf.utils import addresses, watchdog

ROLE = flags.DEFINE_enum(
    "role", None, ["dispatcher", "worker"], "What this process does."
)
PORT = flags.DEFINE_integer(
    "port",
    0,
    "Port to listen on; 0: any free one.",
    0,
    addresses.LAST_PORT,
)
DISPATCHER = flags.DEFINE_string(
    "dispatcher", None, "HOST:PORT of the dispatcher, for a worker."
)
HOST = flags.DEFINE_string(
    "host", "localhost", "Name by which other machines reach this worker."
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder where a dispatcher keeps its state for a restart."
)


def main(_: list[str]) -> None:
    if ROLE.value is None:
        raise ValueError(
            "Pass --role=dispatcher or --role=worker; --role is not set."
        )
    if (ROLE.value == "worker") == (DISPATCHER.value is None):
        given = (
            f"--dispatcher={DISPATCHER.value}"
            if DISPATCHER.value is not None
            else "no --dispatcher"
        )
        raise ValueError(
            "A worker needs --dispatcher=HOST:PORT, and only it; got "
            f"--role={ROLE.value} and {given}."
        )
    if DISPATCHER.value is not None:
        addresses.check("--dispatcher", DISPATCHER.value)
    addresses.listen(PORT.value).close()  # TensorFlow does not name the port.
    if DISPATCHER.value is not None:
        addresses.wait_for(DISPATCHER.value, "a dispatcher")
    server = _start()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    result = {"role": ROLE.value}
    if ROLE.value == "dispatcher":
        result["address"] = server.target
    logging.info("Ready: %s", result)
    program.print_result(result)
    # It may take its time to end; a second signal does not wait for it.
    with watchdog.guarded():
        ended.wait()
        del server  # It ends with its last reference.


def _start():
    """Returns the running server."""
    import tensorflow as tf

    service = tf.data.experimental.service
    if ROLE.value == "dispatcher":
        return service.DispatchServer(
            service.DispatcherConfig(
                port=PORT.value,
                work_dir=WORKDIR.value,
                fault_tolerant_mode=WORKDIR.value is not None,
            )
        )
    return service.WorkerServer(
        service.WorkerConfig(
            dispatcher_address=DISPATCHER.value,
            # Only the server knows which free port "%port%" becomes.
            worker_address=f"{HOST.value}:{PORT.value or '%port%'}",
            port=PORT.value,
        )
    )


if __name__ == "__main__":
    program.run(main)
