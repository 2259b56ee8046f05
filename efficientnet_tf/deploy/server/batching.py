"""Dynamic batching: images of many requests, one call of the network."""

import asyncio
import collections
import concurrent.futures
import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np

from efficientnet_tf.deploy.server import limits as limits_lib, metrics


@dataclasses.dataclass
class _Waiting:
    image: np.ndarray
    answer: asyncio.Future
    since: float


class Batcher:
    """Computes on images that were put into it, in their order.

    All but the network runs in the event loop's thread, so that there is
    nothing to lock.

    Args:
      network: maps float32 [N, size, size, 3] to probabilities [N, classes].
      limits: its `batch_sizes` and `max_wait_ms`.
      count_coming: returns how many images are being read at the moment; while
        there are none, nothing is waited for.
      measured: gets sizes and seconds of batches.
    """

    def __init__(
        self,
        network: Callable[[np.ndarray], np.ndarray],
        limits: limits_lib.Limits,
        count_coming: Callable[[], int],
        measured: metrics.Metrics,
    ):
        self._network = network
        self._limits = limits
        self._count_coming = count_coming
        self._measured = measured
        self._waiting: collections.deque[_Waiting] = collections.deque()
        self._computing = 0
        self._changed = asyncio.Event()
        self._thread = concurrent.futures.ThreadPoolExecutor(1)

    def __len__(self) -> int:
        """How many images wait or are computed on."""
        return len(self._waiting) + self._computing

    def put(self, image: np.ndarray, answer: asyncio.Future) -> None:
        """Queues an image; its answer becomes probabilities [classes]."""
        self._waiting.append(_Waiting(image, answer, time.monotonic()))
        self.wake()

    def wake(self) -> None:
        """Lets it look again at what has come, and what is still coming."""
        self._changed.set()

    async def run(self) -> None:
        """Computes for ever; to be cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._wait_for_batch()
            batch = self._take()
            if not batch:
                continue
            self._computing = len(batch)
            try:
                found = await loop.run_in_executor(
                    self._thread, self._compute, batch
                )
            finally:
                self._computing = 0
            for row, answer in zip(found, batch, strict=True):
                _set(answer.answer, row)

    def close(self) -> None:
        """Ends the network's thread, after what it is computing."""
        self._thread.shutdown()

    async def _wait_for_batch(self):
        while not self._waiting:
            await self._wait(None)
        until = self._waiting[0].since + self._limits.max_wait_ms / 1000
        while len(self._waiting) < self._limits.max_batch:
            rest = until - time.monotonic()
            if rest <= 0 or not self._count_coming():
                return
            await self._wait(rest)

    async def _wait(self, seconds):
        self._changed.clear()
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            pass

    def _take(self):
        """Returns the next images that are still asked for."""
        alive = collections.deque(
            each for each in self._waiting if not each.answer.done()
        )
        count = choose_size(len(alive), self._limits.batch_sizes)
        batch = [alive.popleft() for _ in range(count)]
        self._waiting = alive
        return batch

    def _compute(self, batch):
        """Returns probabilities, or errors, one for each image."""
        begin = time.monotonic()
        try:
            images = np.stack([each.image for each in batch])
            found = check_output(self._network(images), len(batch))
        except Exception as error:  # Any: the server must go on.
            return [error] * len(batch)
        self._measured.batch_seconds.observe(time.monotonic() - begin)
        self._measured.batch_images.observe(len(batch))
        return list(found)


def choose_size(waiting: int, sizes: Sequence[int]) -> int:
    """Returns how many images to compute on; the others stay for the next call.

    Never more, by padding: on a CPU it costs as much as images do.

    Args:
      waiting: how many images there are.
      sizes: the batches that may be computed, ascending from 1 on.
    """
    return max((size for size in sizes if size <= waiting), default=0)


def check_output(found: np.ndarray, size: int) -> np.ndarray:
    """Returns float32 [N, classes] of a network, or raises RuntimeError."""
    found = np.asarray(found, "float32")
    if found.ndim != 2 or len(found) != size:
        raise RuntimeError(
            f"The network answered {size} images with {list(found.shape)}."
        )
    return found


def _set(answer, found):
    if answer.done():  # Nobody waits for it any longer.
        return
    if isinstance(found, Exception):
        answer.set_exception(found)
    elif not np.isfinite(found).all():
        answer.set_exception(
            limits_lib.Refused(
                500, "The network's probabilities are not finite numbers."
            )
        )
    else:
        answer.set_result(found)
