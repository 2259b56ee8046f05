"""Images that two sets have in common, exactly or nearly."""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tqdm

from efficientnet_tf.data import examples as examples_lib
from efficientnet_tf.data.images import decoding

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


@dataclasses.dataclass(frozen=True)
class Sketch:
    """What is compared of one image: its pixels' digest, dHash, thumbnail."""

    digest: bytes
    bits: int
    thumbnail: np.ndarray  # uint8 [THUMBNAIL, THUMBNAIL, 3]


def find(
    train: examples_lib.Examples, test: examples_lib.Examples
) -> list[Pair]:
    """Compares each test image with all training images; see `match`.

    Returns:
      A `Pair` for each test image with a duplicate, the exact ones first.
    """
    ours, labels = _describe(test, "test")
    theirs, train_labels = _describe(train, "training")
    pairs = [
        Pair(
            _name(test, number, labels),
            _name(train, other, train_labels),
            bool(labels[number] == train_labels[other]),
            exact,
        )
        for number, other, exact in match(ours, theirs)
    ]
    return sorted(pairs, key=lambda pair: not pair.exact)


def count_kinds(pairs: Sequence[Pair]) -> dict[str, int]:
    """Returns how many pairs are equal, nearly so, and of two labels."""
    exact = sum(pair.exact for pair in pairs)
    return {
        "exact_duplicates": exact,
        "near_duplicates": len(pairs) - exact,
        "of_other_labels": sum(not pair.same_label for pair in pairs),
    }


def match(
    ours: Sequence[Sketch], theirs: Sequence[Sketch]
) -> list[tuple[int, int, bool]]:
    """Returns (number in ours, in theirs, whether they are equal).

    Exact duplicates agree in all decoded pixels; near ones in Krawetz' dHash,
    an 8 x 8 sketch of brightness, and in their colours. Of several, the nearest
    counts.
    """
    digests: dict[bytes, int] = {}
    for number, sketch in enumerate(theirs):
        digests.setdefault(sketch.digest, number)
    bits = np.array([sketch.bits for sketch in theirs], "uint64")
    found = []
    for number, sketch in enumerate(ours):
        if sketch.digest in digests:
            found.append((number, digests[sketch.digest], True))
            continue
        near = _nearest(sketch, theirs, bits)
        if near is not None:
            found.append((number, near, False))
    return found


def sketch(pixels: np.ndarray | tf.Tensor) -> Sketch:
    """Describes one image, uint8 [H, W, 3]."""
    pixels, coarse, thumbnail = _shrink(tf.convert_to_tensor(pixels))
    # As an array, the pixels would be there twice.
    return _make_sketch(memoryview(pixels), coarse.numpy(), thumbnail.numpy())


def _make_sketch(image, coarse, thumbnail):
    digest = hashlib.sha256(f"{image.shape}".encode())
    digest.update(image)
    rising = np.packbits(coarse[:, 1:] > coarse[:, :-1])
    return Sketch(digest.digest(), int(rising.view("uint64")[0]), thumbnail)


def _describe(examples, what):
    """Returns the sketches and labels of all images."""
    rows = examples.dataset.map(
        lambda image, label: (*_shrink(decoding.decode(image)), label),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    rows = rows.prefetch(tf.data.AUTOTUNE).as_numpy_iterator()
    bar = tqdm.tqdm(rows, f"Reading {what}", examples.size, disable=None)
    sketches, labels = [], []
    for *parts, label in bar:
        sketches.append(_make_sketch(*parts))
        labels.append(label)
    return sketches, labels


def _shrink(image):
    # As it is, since a large image as floating-point numbers fills the memory.
    coarse = tf.image.resize(image, (8, 9), method="area")
    coarse = tf.image.rgb_to_grayscale(coarse)[..., 0]
    thumbnail = tf.image.resize(image, (THUMBNAIL, THUMBNAIL), method="area")
    return image, coarse, tf.cast(tf.round(thumbnail), "uint8")


def _nearest(sketch, theirs, bits):
    """Returns the number of the nearest image; None if none is near enough."""
    differing = np.bitwise_count(bits ^ np.uint64(sketch.bits))
    (close,) = np.nonzero(differing <= NEAR_BITS)
    if not len(close):
        return None
    thumbnails = np.stack([theirs[i].thumbnail for i in close])
    difference = thumbnails - sketch.thumbnail.astype("float32")
    difference = np.abs(difference).mean(axis=(1, 2, 3))
    best = difference.argmin()
    return int(close[best]) if difference[best] <= NEAR_PIXELS else None


def _name(examples, number, labels):
    place = examples.source.name(int(number))
    return f"{place} ({examples.class_names[labels[number]]})"
