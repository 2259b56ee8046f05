"""Where downloads and what is costly to compute are kept between runs."""

from __future__ import annotations

import os
import typing
import zipfile
from collections.abc import Sequence

from absl import logging

if typing.TYPE_CHECKING:
    import numpy as np

CACHE_VARIABLE = "EFFICIENTNET_TF_CACHE"


def cache_dir() -> str:
    """Returns $EFFICIENTNET_TF_CACHE, or a folder in the user's cache."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return os.path.expanduser(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return os.path.join(os.path.expanduser(base), "efficientnet_tf")


def load_arrays(
    path: str | os.PathLike, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Returns arrays of an .npz file; {} if it is missing or damaged.

    A damaged one is logged: what it held has to be computed again.
    """
    import numpy as np  # Here, since commands ask for the folder at once.

    try:
        # NumPy reads past no check sum if a damaged header says fewer bytes.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"wrong check sum of {damaged}")
        with np.load(path) as arrays:
            return {name: arrays[name] for name in names}
    except FileNotFoundError:
        return {}
    # Both raise a dozen kinds on damaged files.
    except Exception as error:
        logging.warning("Cannot read %s, computing it again: %s", path, error)
        return {}
