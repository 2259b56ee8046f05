"""What a classifier looks at: class activation maps of images and files."""

import concurrent.futures
import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from efficientnet_tf.data import frames
from efficientnet_tf.data.images import decoding
from efficientnet_tf.inference import (
    activation_maps,
    classifier as classifier_lib,
    map_arguments,
)

# Pixels of the longer side of a picture that is kept for drawing.
SHOWN_SIDE = 384
# Of files: besides the prepared images, as many pictures are in memory, twice.
BATCH_SIZE = 8

Maps = activation_maps.ExactMaps | activation_maps.GradientMaps


class ActivationMaps(NamedTuple):
    """Maps float32 [N, h, w], and of which classes they are.

    `classes` is int [N], or [N, K] for maps [N, K, h, w]; `probabilities` has
    those of all classes, [N, classes].
    """

    maps: np.ndarray
    classes: np.ndarray
    probabilities: np.ndarray


@dataclasses.dataclass(frozen=True)
class Explained:
    """An image with its maps [K, h, w] of the classes int [K].

    `picture` is uint8 [H, W, 3], upright and whole, but no larger than
    `SHOWN_SIDE`; `box` is the part of it that the network saw: left, top,
    right, bottom in its pixels, outside it where the network saw bars.
    `probabilities` has those of the K classes.
    """

    picture: np.ndarray
    box: tuple[float, float, float, float]
    maps: np.ndarray
    classes: np.ndarray
    probabilities: np.ndarray


def class_activation_map(
    classifier: classifier_lib.Classifier | keras.Model,
    images: Any,
    classes: Any = None,
) -> ActivationMaps:
    """Returns the exact class activation maps of images, without gradients.

    For networks that end in average pooling and one dense layer: a class's map
    is the sum of the last features, each by its weight for the class; the mean
    of the map over its places, plus the class's bias, is the logit
    (https://arxiv.org/abs/1512.04150). For others there is `grad_cam`, for many
    calls `make_maps`.

        maps, classes, _ = class_activation_map(classifier, "cat.jpg")
        heat = resize_maps(scale_maps(maps), (224, 224))

    Args:
      classifier: a `Classifier`, or a network that takes arrays.
      images: a file's path, a list of paths, which the classifier prepares; or
        what the network takes, [N, H, W, 3].
      classes: an index or a name, for all images; a list of one for each image,
        or a list of K for each; None: each image's most probable class.

    Returns:
      `ActivationMaps`, at the resolution of the last features.

    Raises:
      OSError: a file is not a readable image.
      ValueError: an unknown class, images of another shape, or a network with
        another end.
    """
    return explain(classifier, make_maps(classifier), images, classes)


def grad_cam(
    classifier: classifier_lib.Classifier | keras.Model,
    images: Any,
    classes: Any = None,
    *,
    layer: str | None = None,
) -> ActivationMaps:
    """Returns Grad-CAM's maps of any layer and head, by gradients of logits.

    Of the features before average pooling and one dense layer they are the
    positive part of `class_activation_map`, divided by the number of places.

    Args:
      classifier: as for `class_activation_map`.
      images: as there.
      classes: as there.
      layer: the name of a layer with an output [N, h, w, C]; None: the last.
    """
    network = map_arguments.get_network(classifier)
    compute = activation_maps.GradientMaps(network, layer)
    return explain(classifier, compute, images, classes)


def make_maps(
    classifier: classifier_lib.Classifier | keras.Model,
    layer: str | None = None,
) -> Maps:
    """Returns exact maps or, of a layer that is named, Grad-CAM's.

    They go to `explain` and `explain_each`, whose calls then share one graph.
    """
    network = map_arguments.get_network(classifier)
    if layer is None:
        return activation_maps.ExactMaps(network)
    return activation_maps.GradientMaps(network, layer)


def explain(
    classifier: classifier_lib.Classifier | keras.Model,
    compute: Maps,
    images: Any,
    classes: Any = None,
) -> ActivationMaps:
    """Returns `ActivationMaps` of images by maps of `make_maps`."""
    parts = []
    wanted = None
    images = map_arguments.list_images(classifier, images)
    if classes is not None:
        wanted = map_arguments.parse_classes(classifier, classes, len(images))
    for start in range(0, len(images), classifier_lib.BATCH_SIZE):
        rows = slice(start, start + classifier_lib.BATCH_SIZE)
        chosen = None if wanted is None else wanted[rows]
        parts.append(
            compute(
                map_arguments.prepare(classifier, images[rows]),
                _choose(chosen, 1),
            )
        )
    maps, found, probabilities = (
        np.concatenate(part) for part in zip(*parts, strict=True)
    )
    if np.ndim(classes) < 2:
        maps, found = maps[:, 0], found[:, 0]
    return ActivationMaps(maps, found, probabilities)


def explain_each(
    classifier: classifier_lib.Classifier,
    compute: Maps,
    paths: Iterable[str | os.PathLike],
    *,
    classes: Sequence[int] | None = None,
    top: int = 1,
) -> Iterator[tuple[str | os.PathLike, Explained | OSError]]:
    """Yields (path, `Explained`) of files, in their order.

    In place of a file that is not a readable image stands the error. Memory is
    bounded by the size of a batch.

    Args:
      classifier: prepares the images.
      compute: from `make_maps`.
      paths: any number of them.
      classes: of each image; None: its `top` most probable ones.
      top: how many; it may be more than there are.
    """
    choose = _choose(None if classes is None else np.array([classes]), top)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for batch in classifier_lib.batched(paths, BATCH_SIZE):
            read = pool.map(lambda path: _read(classifier, path), batch)
            found = _explain_read(compute, read, choose)
            yield from zip(batch, found, strict=True)


def explain_pixels(
    classifier: classifier_lib.Classifier,
    compute: Maps,
    examples: Iterable[tuple[np.ndarray, Sequence[int]]],
) -> Iterator[Explained]:
    """Yields `Explained` of upright images, in their order, in small batches.

    Args:
      classifier: prepares the images.
      compute: from `make_maps`.
      examples: of uint8 [H, W, 3] of any size, and K classes.
    """
    for batch in classifier_lib.batched(
        ((_keep(classifier, pixels), row) for pixels, row in examples),
        BATCH_SIZE,
    ):
        read, classes = zip(*batch, strict=True)
        choose = _choose(np.array(classes, "int64"), 1)
        yield from _explain_read(compute, read, choose)


def scale_maps(maps: np.ndarray) -> np.ndarray:
    """Scales maps [..., h, w] to [0, 1], each by its own maximum.

    What is negative, evidence against the class, becomes 0; so does all of a
    map that is nowhere positive.
    """
    maps = np.maximum(maps, 0)
    highest = maps.max(axis=(-2, -1), keepdims=True, initial=0)
    return maps / np.where(highest > 0, highest, 1)


def resize_maps(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes maps [..., h, w] to (height, width) pixels, bilinearly.

    The pixels are those that the network saw: of a whole image the crop.
    """
    maps = np.asarray(maps, "float32")
    flat = maps.reshape(-1, *maps.shape[-2:], 1)
    return tf.image.resize(flat, size).numpy().reshape(*maps.shape[:-2], *size)


def _choose(classes, top):
    """Returns a function from probabilities to classes, given or the best."""

    def choose(probabilities):
        if classes is not None:
            return np.repeat(classes, len(probabilities) // len(classes), 0)
        order = np.argsort(-probabilities, axis=1, kind="stable")
        return order[:, :top].astype("int64")

    return choose


def _read(classifier, path):
    try:
        pixels = decoding.read_image(path, classifier.deep_pixels)
    except OSError as error:
        return error
    return _keep(classifier, pixels)


def _keep(classifier, pixels):
    """Returns (prepared image, small picture, what the network saw of it)."""
    height, width = pixels.shape[:2]
    top, left, rows, columns = frames.find_seen(
        (height, width), classifier.preparation
    )
    scale = min(1, SHOWN_SIDE / max(height, width))
    size = [max(1, round(side * scale)) for side in (height, width)]
    picture = tf.image.resize(pixels, size, "area")
    across, down = size[1] / width, size[0] / height
    box = (
        left * across,
        top * down,
        (left + columns) * across,
        (top + rows) * down,
    )
    prepared = np.asarray(classifier.preprocess(pixels))
    return prepared, np.rint(picture).astype("uint8"), box


def _explain_read(compute, read, choose):
    """Yields `Explained` or the error of each item of `_read`."""
    read = list(read)
    good = [item for item in read if not isinstance(item, OSError)]
    found = iter(())
    if good:
        images = np.stack([image for image, _, _ in good])
        found = _zip_explained(good, *compute(images, choose))
    for item in read:
        yield item if isinstance(item, OSError) else next(found)


def _zip_explained(read, maps, classes, probabilities):
    rows = zip(read, maps, classes, probabilities, strict=True)
    for (_, picture, box), own, places, row in rows:
        yield Explained(picture, box, own, places, row[places])
