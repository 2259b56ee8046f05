"""Images and classes as callers of `explain` give them, checked."""

import os
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from absl import logging

from efficientnet_tf.data.images import decoding
from efficientnet_tf.inference import classifier as classifier_lib
from efficientnet_tf.utils import configs

# So many classes are listed in a message; of more, the nearest name is.
_LISTED = 30


def get_network(
    classifier: classifier_lib.Classifier | keras.Model,
) -> Any:
    """Returns the network of a classifier; a network passes through."""
    if isinstance(classifier, keras.Model):
        return classifier
    if not hasattr(classifier, "model"):
        raise ValueError(
            "Activation maps are of a Classifier or a keras.Model, not of a "
            f"{type(classifier).__name__}."
        )
    return classifier.model


def list_images(
    classifier: classifier_lib.Classifier | keras.Model, images: Any
) -> Any:
    """Returns a list of paths, or an array [N, H, W, 3]; checks it."""
    if isinstance(images, str | os.PathLike):
        images = [images]
    if isinstance(images, list | tuple) and images:
        if all(isinstance(image, str | os.PathLike) for image in images):
            if isinstance(classifier, keras.Model):
                raise ValueError(
                    "Files are prepared by a Classifier; give a network the "
                    "images that it takes, [N, H, W, 3]."
                )
            return images
    images = np.asarray(images)
    shape = get_network(classifier).inputs[0].shape
    fits = images.ndim == 4 and len(images) and images.dtype.kind in "fiu"
    if not fits or any(
        side not in (None, found)
        for side, found in zip(shape[1:], images.shape[1:], strict=True)
    ):
        sides = ", ".join(str(side or "any") for side in shape[1:])
        raise ValueError(
            f"images {images.dtype}{list(images.shape)} must be paths, or "
            f"numbers [N, {sides}], which classifier.preprocess makes of one "
            "image."
        )
    if isinstance(classifier, classifier_lib.Classifier):
        _warn_of_scale(images)
    return images


def prepare(
    classifier: classifier_lib.Classifier | keras.Model, images: Any
) -> np.ndarray:
    """Returns float32 [N, size, size, 3] of a part of `list_images`."""
    if isinstance(images, np.ndarray):
        return images.astype("float32")
    return np.stack(
        [
            classifier.preprocess(
                decoding.read_image(path, classifier.deep_pixels)
            )
            for path in images
        ]
    )


def parse_classes(
    classifier: classifier_lib.Classifier | keras.Model,
    classes: Any,
    images: int,
) -> np.ndarray:
    """Returns int [N, K] of classes as `class_activation_map` takes them."""
    names = np.asarray(classes, dtype=object)
    if names.ndim == 0:
        names = np.repeat(names[None], images)
    if names.ndim == 1:
        names = names[:, None]
    if names.ndim != 2 or len(names) != images or not names.size:
        raise ValueError(
            f"classes of shape {np.shape(classes)} must be one class, or one "
            f"or more for each image; there are {images}."
        )
    found = find_classes(classifier, names.flat)
    return np.array(found, "int64").reshape(names.shape)


def find_classes(
    classifier: classifier_lib.Classifier | keras.Model, names: Iterable[Any]
) -> list[int]:
    """Returns the outputs of classes by index or name.

    Raises:
      ValueError: an unknown one, with the nearest.
    """
    known = getattr(classifier, "class_names", None)
    count = get_network(classifier).output_shape[-1]
    return [_find_class(name, known, count) for name in names]


def _warn_of_scale(images):
    if images.dtype.kind == "f" and 0 < images.max() <= 1:
        logging.warning(
            "All pixels are at most 1; the network takes them in [0, 255]."
        )


def _find_class(name, known, count):
    if isinstance(name, str):
        if known is None:
            raise ValueError(
                f"The class {name!r} is a name; of a network without names, "
                "classes are indices."
            )
        if name in known:
            return known.index(name)
        if len(known) <= _LISTED:
            raise ValueError(configs.unknown("class", name, known))
        raise ValueError(
            f"Unknown class {name!r} of {len(known):,}."
            f"{configs.suggest(name, known)}"
        )
    if isinstance(name, bool) or not isinstance(name, int | np.integer):
        raise ValueError(f"The class {name!r} must be an index or a name.")
    if not 0 <= name < count:
        raise ValueError(f"The class {name} must be from 0 to {count - 1}.")
    return int(name)
