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
from efficientnet_tf.weights import catalog, former_names, hub, loading

SETTINGS_FILE = hub.SETTINGS_FILE


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

    A file beside which a run, or a repository on the hub, has its settings
    gets the classes and the image preparation of these.

    Args:
      model: a name, a variant file or a `Variant`.
      weights: a name or a file, see `loading.resolve`; None: random.
      resolution: pixels a side; by default the variant's own.
      reading: `normalization` and `source_family`, see `loading.build`.

    Raises:
      ValueError: the weights have other classes, and nothing names them.
    """
    variant = registry.get_variant(model)
    settings = {
        "class_names": imagenet_classes(),
        "resolution": variant.resolution,
        "interpolation": variant.interpolation,
        **_read_settings_beside(model, weights),
    }
    if resolution is not None:
        settings["resolution"] = resolution
    network = loading.build(
        model,
        weights=weights,
        input_shape=(settings["resolution"], settings["resolution"], 3),
        classes=len(settings["class_names"]),
        keep_head=weights is not None,
        **reading,
    )
    return Classifier(network, **settings)


def _read_settings_beside(model, weights):
    """Returns the settings in the folder of a file with weights, if any."""
    if weights is None or weights in catalog.names(model):
        return {}
    path = pathlib.Path(loading.locate(weights)).with_name(SETTINGS_FILE)
    return _read_settings(path) if path.exists() else {}


def _read_settings(path):
    settings = json.loads(path.read_text())
    settings["class_names"] = tuple(settings["class_names"])
    return settings


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
    settings = _read_settings(workdir / SETTINGS_FILE)
    network = former_names.load_network(workdir / run_folder.MODEL_FILE)
    return Classifier(network, **settings)


@functools.cache
def imagenet_classes() -> tuple[str, ...]:
    """Returns the 1,000 class names in the order of the models' outputs."""
    return imagenet.class_names()
