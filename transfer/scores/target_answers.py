"""What a network said of labels or numbers of each image, as a run's file."""

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from efficientnet_tf.utils import cache_folder, files, target_scores, untrusted

# In a run's folder: of the images that it was scored on.
ANSWERS_FILE = "answers.npz"

_COLUMNS = {
    "truth": cache_folder.Column("float32", ("n", "k")),
    "found": cache_folder.Column("float32", ("n", "k")),
    "names": cache_folder.Column("uint8", ("bytes",)),
}


def write(
    path: str | os.PathLike,
    answers: target_scores.Answers,
    names: Sequence[str],
) -> None:
    """Writes the answers for images of these names as one file, atomically."""
    # Names of old archives may be in no encoding.
    text = np.frombuffer(os.fsencode("\0".join(names)), "uint8")
    arrays = {"truth": answers.truth, "found": answers.found, "names": text}
    arrays = {k: np.ascontiguousarray(v) for k, v in arrays.items()}
    with files.atomic(path) as temporary:
        np.savez(temporary, allow_pickle=False, **arrays)


def read(
    path: str | os.PathLike, outputs: int
) -> tuple[target_scores.Answers, list[str]] | None:
    """Returns the answers in a file and the images' names; None: no file.

    Args:
      path: a file of `write`.
      outputs: how many labels or numbers the run has.

    Raises:
      untrusted.DamagedError: it holds something else.
    """
    path = pathlib.Path(path)
    if not path.exists():
        return None
    with untrusted.reading(path):
        arrays = cache_folder.read_arrays(path, _COLUMNS)
        names = os.fsdecode(arrays["names"].tobytes()).split("\0")
        answers = target_scores.Answers(arrays["truth"], arrays["found"])
        if len(names) != answers.size or answers.truth.shape[1] != outputs:
            raise ValueError(
                f"it has {answers.truth.shape} answers and {len(names)} names"
            )
        for values in (answers.truth, answers.found):
            if not np.isfinite(values).all():
                raise ValueError("a number is not finite")
    return answers, names
