"""What the images of a set are called in a run's files."""

import os

import numpy as np

from efficientnet_tf.data import examples as examples_lib
from transfer.scores import predictions


def list_paths(examples: examples_lib.Examples) -> tuple[str, ...]:
    """Returns the paths of files, or what else a set calls its images."""
    return tuple(examples.source.name(i) for i in range(examples.size))


def describe(examples: examples_lib.Examples) -> predictions.Images:
    """Returns the names, hashes and fingerprint of a set's images.

    Files are named from the folder on that all of them have in common.
    """
    source = examples.source
    names = list(list_paths(examples))
    paths = getattr(source, "names", None)
    if paths and len(names) > 1:
        root = os.path.commonpath(map(os.path.dirname, paths))
        names = [os.path.relpath(name, root) for name in names]
    hashes = np.zeros((0, 32), "uint8")
    known = getattr(source, "sha256", None)
    if known:
        digests = bytes.fromhex("".join(known))
        hashes = np.frombuffer(digests, "uint8").reshape(-1, 32)
    return predictions.Images(tuple(names), hashes, examples.fingerprint)
