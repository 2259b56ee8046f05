"""One classifier for many requests: admitted, read, batched, answered."""

import asyncio
import concurrent.futures
import functools
import os
from collections.abc import Callable, Sequence

import numpy as np
from absl import logging

from efficientnet_tf.deploy.server import (
    batching,
    images as images_lib,
    limits as limits_lib,
    metrics,
)
from efficientnet_tf.inference import classifier as classifier_lib

# More would wait for cores, each with an image in memory.
_MOST_READERS = 8


class Engine:
    """Answers images with probabilities, within limits.

    Args:
      classifier: of its model only `predict_on_batch` is called.
      limits: what it takes on.
      measured: its numbers.
    """

    def __init__(
        self,
        classifier: classifier_lib.Classifier,
        limits: limits_lib.Limits,
        measured: metrics.Metrics,
    ):
        self.classifier = classifier
        self.limits = limits
        self.ready = False
        self.alive = True  # False: it must be started anew.
        self._read = images_lib.make_reader(classifier, limits.max_pixels)
        self._reading = 0
        self._readers = concurrent.futures.ThreadPoolExecutor(
            min((os.cpu_count() or 1) + 1, _MOST_READERS), "reader"
        )
        self._batcher = batching.Batcher(
            classifier.model.predict_on_batch,
            limits,
            lambda: self._reading,
            measured,
        )
        measured.in_queue.set_function(self.__len__)

    def __len__(self) -> int:
        """How many images are read, wait or are computed on."""
        return self._reading + len(self._batcher)

    def warm_up(self) -> None:
        """Reads an image and computes each size of batch.

        So that no request waits for graphs. Twice: TensorFlow traces a graph
        for the first shape, and one for all when it meets a second one.

        Raises:
          RuntimeError: the network does not answer as its class names say.
        """
        self._read(images_lib.make_example(), "")
        for count in 2 * self.limits.batch_sizes:
            images = np.zeros((count, *self.classifier.size, 3), "float32")
            found = self.classifier.model.predict_on_batch(images)
            classes = batching.check_output(found, count).shape[1]
            if classes != len(self.classifier.class_names):
                raise RuntimeError(
                    f"The network has {classes} outputs for "
                    f"{len(self.classifier.class_names)} class names."
                )

    async def run(self) -> None:
        """Works for ever; to be cancelled."""
        self.ready = True
        try:
            await self._batcher.run()
        except Exception:  # Any: whoever watches the server is to know.
            self.alive = False
            logging.exception("The server can compute nothing any more.")
        finally:
            self.ready = False

    def close(self) -> None:
        """Ends the threads, after what they are doing."""
        self._readers.shutdown(cancel_futures=True)
        self._batcher.close()

    async def call(self, function: Callable, *arguments):
        """Returns what a function returns that takes long: in a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, function, *arguments)

    async def predict(
        self, images: Sequence[images_lib.Image], names: Sequence[str] = ()
    ) -> np.ndarray:
        """Returns probabilities [N, classes].

        Args:
          images: to answer.
          names: what messages call them, if they have names.

        Raises:
          limits.Refused: 413 or 429 for more images than there is room for, 400
            or 413 for a bad one, 503 after a failure that ended all computing,
            504 if it takes too long.
        """
        if not self.alive:
            raise limits_lib.Refused(503, "The server must be started anew.")
        self._admit(len(images))
        loop = asyncio.get_running_loop()
        answers: list[asyncio.Future] = []
        reads: list[concurrent.futures.Future] = []
        names = names or [""] * len(images)
        for image, name in zip(images, names, strict=True):
            answer = loop.create_future()
            self._reading += 1
            read = self._readers.submit(self._read, image, name)
            read.add_done_callback(
                functools.partial(self._pass_on, loop, answer)
            )
            answers.append(answer)
            reads.append(read)
        try:
            async with asyncio.timeout(self.limits.timeout_seconds):
                return np.stack(await _gather(answers))
        except TimeoutError:
            raise limits_lib.Refused(
                504, f"No answer within {self.limits.timeout_seconds:g} s."
            ) from None
        finally:
            for read in reads:
                read.cancel()
            for answer in answers:
                answer.cancel()
                # Else asyncio logs that nobody has looked at its error.
                _ = answer.cancelled() or answer.exception()

    def _admit(self, count):
        most = self.limits.max_queue
        if count > most:
            raise limits_lib.Refused(
                413,
                f"The request holds {count} images, more than the {most} that "
                "this server queues.",
            )
        if len(self) + count > most:
            raise limits_lib.Refused(
                429, f"The queue of {most} images is full; try again."
            )

    def _pass_on(self, loop, answer, read):
        loop.call_soon_threadsafe(self._put, answer, read)

    def _put(self, answer, read):
        """Queues an image that was read, or answers why it was not."""
        self._reading -= 1
        if read.cancelled() or answer.done():
            self._batcher.wake()
        elif error := read.exception():
            answer.set_exception(error)
            self._batcher.wake()
        else:
            self._batcher.put(read.result(), answer)


async def _gather(answers):
    """Returns the results; the first error says which image it is of."""
    await asyncio.wait(answers, return_when=asyncio.FIRST_EXCEPTION)
    for number, answer in enumerate(answers, start=1):
        error = answer.done() and answer.exception()
        if isinstance(error, limits_lib.Refused) and len(answers) > 1:
            raise limits_lib.Refused(
                error.status, f"Image {number} of {len(answers)}: {error}"
            )
        if error:
            raise error
    return [answer.result() for answer in answers]
