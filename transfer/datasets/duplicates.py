"""Test images that are also training images, exactly or nearly."""

import collections
import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tqdm

from efficientnet_tf.data import decoding, examples as examples_lib

# Ours: limits on differing bits of the 64-bit difference hash, and on the mean
# absolute difference of thumbnails, in 0 to 255. CIFAR's known near duplicates
# stay within both; different objects on a white background within one at most.
NEAR_BITS = 12
NEAR_PIXELS = 12.0
THUMBNAIL = 16


@dataclasses.dataclass(frozen=True)
class Pair:
    """A test image and a training image, described for a reader."""

    test: str
    train: str
    same_label: bool
    exact: bool


def find(
    train: examples_lib.Examples, test: examples_lib.Examples
) -> list[Pair]:
    """Compares each test image with all training images.

    Exact duplicates agree in all decoded pixels; near ones in Krawetz' dHash,
    an 8 x 8 sketch of brightness, and in their colours.

    Returns:
      A `Pair` for each test image with a duplicate, the exact ones first.
    """
    ours, theirs = _describe(test, "test"), _describe(train, "training")
    digests = collections.defaultdict(list)
    for number, digest in enumerate(theirs.digests):
        digests[digest].append(number)
    pairs = []
    for number, digest in enumerate(ours.digests):
        exact = digest in digests
        if exact:
            match = digests[digest][0]
        else:
            match = _nearest(ours, number, theirs)
        if match is not None:
            pairs.append(
                Pair(
                    _name(test, number, ours.labels),
                    _name(train, match, theirs.labels),
                    bool(ours.labels[number] == theirs.labels[match]),
                    exact,
                )
            )
    return sorted(pairs, key=lambda pair: not pair.exact)


@dataclasses.dataclass(frozen=True)
class _Description:
    digests: list[bytes]
    hashes: np.ndarray  # uint64 [N]
    thumbnails: np.ndarray  # uint8 [N, THUMBNAIL, THUMBNAIL, 3]
    labels: np.ndarray


def count_kinds(pairs: Sequence[Pair]) -> dict[str, int]:
    """Returns how many pairs are equal, nearly so, and of two labels."""
    exact = sum(pair.exact for pair in pairs)
    return {
        "exact_duplicates": exact,
        "near_duplicates": len(pairs) - exact,
        "of_other_labels": sum(not pair.same_label for pair in pairs),
    }


def _describe(examples, what):
    rows = examples.dataset.map(_shrink, num_parallel_calls=tf.data.AUTOTUNE)
    rows = rows.prefetch(tf.data.AUTOTUNE).as_numpy_iterator()
    bar = tqdm.tqdm(rows, f"Reading {what}", examples.size, disable=None)
    digests, hashes, thumbnails, labels = [], [], [], []
    for image, sketch, thumbnail, label in bar:
        digest = hashlib.sha256(f"{image.shape}".encode())
        digest.update(image.tobytes())
        digests.append(digest.digest())
        rising = np.packbits(sketch[:, 1:] > sketch[:, :-1])
        hashes.append(rising.view("uint64")[0])
        thumbnails.append(thumbnail)
        labels.append(label)
    return _Description(
        digests, np.array(hashes), np.array(thumbnails), np.array(labels)
    )


def _shrink(image, label):
    image = decoding.decode(image)
    pixels = tf.cast(image, "float32")
    grey = tf.image.rgb_to_grayscale(pixels)
    sketch = tf.image.resize(grey, (8, 9), method="area")[..., 0]
    thumbnail = tf.image.resize(pixels, (THUMBNAIL, THUMBNAIL), method="area")
    return image, sketch, tf.cast(tf.round(thumbnail), "uint8"), label


def _nearest(ours, number, theirs):
    """Returns the number of the nearest image; None if none is near enough."""
    bits = np.bitwise_count(theirs.hashes ^ ours.hashes[number])
    (close,) = np.nonzero(bits <= NEAR_BITS)
    if not len(close):
        return None
    difference = theirs.thumbnails[close] - ours.thumbnails[number].astype(
        "float32"
    )
    difference = np.abs(difference).mean(axis=(1, 2, 3))
    best = difference.argmin()
    return close[best] if difference[best] <= NEAR_PIXELS else None


def _name(examples, number, labels):
    place = examples.source.name(int(number))
    return f"{place} ({examples.class_names[labels[number]]})"
