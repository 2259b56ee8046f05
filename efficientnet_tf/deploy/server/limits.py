"""What a server takes on, and how it refuses the rest."""

import dataclasses
from typing import Annotated

from efficientnet_tf.utils import configs

# So many requests of the largest size may be in memory at once.
LARGEST_REQUESTS = 8


@dataclasses.dataclass(frozen=True)
class Limits:
    """The flags of `efficientnet serve` by the same names; defaults are ours.

    Attributes:
      max_batch: images that the network computes on at once; 1: no batching.
      max_wait_ms: how long an image waits for others that are being read.
      max_queue: images that are read, wait or are computed on, in all.
      max_mb: megabytes of a request, unpacked.
      max_megapixels: of an image.
      timeout_seconds: for the body of a request to arrive, for its answer, and
        at the end for all that are in flight.
    """

    max_batch: Annotated[int, configs.AtLeast(1, 1024)] = 32
    max_wait_ms: Annotated[float, configs.AtLeast(0, 60_000)] = 5.0
    max_queue: Annotated[int, configs.AtLeast(1, 100_000)] = 256
    max_mb: Annotated[float, configs.Above(0, 1024)] = 32.0
    # The decoder has a limit of its own, `formats.MOST_PIXELS`.
    max_megapixels: Annotated[float, configs.Above(0, 1000)] = 50.0
    timeout_seconds: Annotated[float, configs.Above(0, 3600)] = 30.0

    def __post_init__(self):
        configs.check(self)
        if self.max_queue < self.max_batch:
            raise ValueError(
                f"max_queue={self.max_queue} must be at least "
                f"max_batch={self.max_batch}."
            )

    @property
    def max_bytes(self) -> int:
        return int(self.max_mb * 1e6)

    @property
    def max_pixels(self) -> int:
        return int(self.max_megapixels * 1e6)

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Powers of two, and the largest batch: no other one is computed."""
        sizes = []
        size = 1
        while size < self.max_batch:
            sizes.append(size)
            size *= 2
        return (*sizes, self.max_batch)


class Refused(Exception):
    """A request that gets an error for an answer.

    Args:
      status: of HTTP.
      message: one line for whoever sent it.
    """

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status
