"""Progress bars of work that is usually over before one is read."""

from collections.abc import Iterable

import tqdm

# Shown only if it takes longer, in seconds.
DELAY = 2


def show(
    what: str,
    unit: str,
    items: Iterable | None = None,
    total: int | None = None,
) -> tqdm.tqdm:
    """Returns a bar, on a terminal alone, once the work takes `DELAY`.

    Args:
      what: is done, e.g. "Checking images".
      unit: of the count, e.g. "image".
      items: counted as they are iterated; None: by `update`.
      total: of the items; None: their length, if it is known.
    """
    return tqdm.tqdm(items, what, total, unit=unit, disable=None, delay=DELAY)
