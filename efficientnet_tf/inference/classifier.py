"""A network with its class names and image preparation, for image files."""

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from efficientnet_tf.data import imagenet, preprocessing
from efficientnet_tf.models import (
    layers,  # noqa: F401  Registers the layers of saved models.
    registry,
)
from efficientnet_tf.utils import files, run_folder
from efficientnet_tf.weights import former_names, loading

SETTINGS_FILE = "classifier.json"


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A model, its class names, and the settings of image preparation."""

    model: keras.Model
    class_names: tuple[str, ...]
    resolution: int
    interpolation: str
    crop_padding: int | None = preprocessing.CROP_PADDING

    def preprocess(self, image: tf.Tensor) -> tf.Tensor:
        """Maps encoded bytes or [H, W, 3] to float32 [size, size, 3]."""
        return preprocessing.preprocess_for_eval(
            image,
            self.resolution,
            interpolation=self.interpolation,
            crop_padding=self.crop_padding,
        )

    def predict(self, paths: Iterable[str | os.PathLike]) -> np.ndarray:
        """Returns probabilities [N, classes] for image files.

        Raises:
          OSError: a file is not a readable image.
        """
        images = [self.preprocess(preprocessing.read_image(p)) for p in paths]
        return np.asarray(self.model.predict_on_batch(np.stack(images)))

    def save(self, directory: str | os.PathLike) -> None:
        """Writes the model and its settings to a folder."""
        directory = pathlib.Path(directory)
        with files.atomic(directory / run_folder.MODEL_FILE) as temporary:
            self.model.save(temporary)
        settings = {
            "class_names": self.class_names,
            "resolution": self.resolution,
            "interpolation": self.interpolation,
            "crop_padding": self.crop_padding,
        }
        files.write_json(directory / SETTINGS_FILE, settings)


def from_weights(
    model: registry.Model,
    weights: str | os.PathLike,
    resolution: int | None = None,
    **reading: Any,
) -> Classifier:
    """Returns a `Classifier` over ImageNet's classes.

    Args:
      model: a name, a variant file or a `Variant`.
      weights: a name or a file; see `loading.resolve`.
      resolution: pixels a side; by default the variant's own.
      reading: `normalization` and `source_family`, see `loading.build`.
    """
    variant = registry.get_variant(model)
    size = resolution or variant.resolution
    network = loading.build(
        model, weights=weights, input_shape=(size, size, 3), **reading
    )
    return Classifier(network, imagenet_classes(), size, variant.interpolation)


def from_run(workdir: str | os.PathLike) -> Classifier:
    """Returns the `Classifier` that a fine-tuning run saved.

    Raises:
      FileNotFoundError: the run does not exist or has not finished.
    """
    workdir = pathlib.Path(workdir)
    for name in (run_folder.MODEL_FILE, SETTINGS_FILE):
        if not (workdir / name).exists():
            raise FileNotFoundError(
                f"{workdir} holds no finished run: {name} is missing."
            )
    settings = json.loads((workdir / SETTINGS_FILE).read_text())
    settings["class_names"] = tuple(settings["class_names"])
    network = former_names.load_network(workdir / run_folder.MODEL_FILE)
    return Classifier(network, **settings)


@functools.cache
def imagenet_classes() -> tuple[str, ...]:
    """Returns the 1,000 class names in the order of the models' outputs."""
    return imagenet.class_names()
