"""Where downloads and what is costly to compute are kept between runs."""

import os

CACHE_VARIABLE = "EFFICIENTNET_TF_CACHE"


def cache_dir() -> str:
    """Returns $EFFICIENTNET_TF_CACHE, or a folder in the user's cache."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return os.path.expanduser(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return os.path.join(os.path.expanduser(base), "efficientnet_tf")
