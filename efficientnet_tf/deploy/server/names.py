"""What clients call a model: a name and a version in the paths of URLs."""

import os
import pathlib
import re

from efficientnet_tf.utils import configs

_LONGEST = 100


def check(name: str) -> None:
    """Raises ValueError for a name that cannot stand in a path."""
    if not re.fullmatch(
        rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{_LONGEST - 1}}}", name
    ):
        raise ValueError(
            f"name={configs.show(name)} must be of letters, digits, '_', '.' "
            f"and '-', at most {_LONGEST}."
        )


def choose(source: str) -> tuple[str, str]:
    """Returns a name and a version for what is served.

    Of NAME/3, a folder as TensorFlow Serving has them, they are NAME and 3; of
    anything else its own name without the ending of a file, and 1.
    """
    path = pathlib.Path(source)
    version = "1"
    number = re.fullmatch(r"0*([1-9]\d{0,17})", path.name, re.ASCII)
    if number and path.parent.name:
        path, version = path.parent, number[1]
    name = path.name if os.path.isdir(path) else path.stem
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_.-")
    return name[:_LONGEST] or "model", version
