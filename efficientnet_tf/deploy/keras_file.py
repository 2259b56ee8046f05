"""A classifier as a `.keras` file of Keras's own layers, without this package.

Ours are Keras's layers made faster; see `models/layers.py`. The file has the
same layer names and weights.
"""

import json
import math
import os
import pathlib
import zipfile

import keras
import numpy as np

from efficientnet_tf.deploy import metadata
from efficientnet_tf.inference import (
    classifier as classifier_lib,
    network_shapes,
    pooled,
    unknown,
)
from efficientnet_tf.models import class_token, layers
from efficientnet_tf.utils import files, untrusted, zip_files
from efficientnet_tf.weights import former_names, keras_files

SUFFIX = ".keras"

# The largest difference allowed between probabilities before and after export.
TOLERANCE = 1e-5

_PACKAGE = __name__.split(".")[0]


def check_output(path: str | os.PathLike) -> None:
    """Raises ValueError if `export_keras` cannot write to a path."""
    if not os.fspath(path).endswith(SUFFIX) or os.path.isdir(path):
        raise ValueError(
            f"{os.fspath(path)!r} must be a file that ends in {SUFFIX!r}."
        )


def export_keras(
    classifier: classifier_lib.Classifier, path: str | os.PathLike
) -> float:
    """Writes a `.keras` file that Keras loads alone, and checks its outputs.

    The network takes images [N, H, W, 3] in [0, 255] and is not compiled.

    Returns:
      The largest difference from the classifier's probabilities.

    Raises:
      ValueError: the path has another ending.
      RuntimeError: the file needs this package, or the difference is above
        1e-5; nothing is written.
    """
    check_output(path)
    with files.atomic(pathlib.Path(path)) as temporary:
        to_keras_layers(classifier.model).save(temporary)
        _check_config(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(
                keras_files.SETTINGS_FILE,
                metadata.to_text(classifier.settings, "float32"),
            )
            if classifier.unknown is not None:
                unknown.append_to(archive, classifier.unknown)
        difference = _largest_difference(classifier, temporary)
        if not difference <= TOLERANCE:
            raise RuntimeError(
                f"The file's network differs from the Keras model by "
                f"{difference:.2g}, more than {TOLERANCE:g}."
            )
    return difference


def write(
    classifier: classifier_lib.Classifier,
    source: object,
    path: pathlib.Path,
    precision: str,
) -> None:
    """Does `export_keras`, which needs no other source."""
    export_keras(classifier, path)


def load(path: str | os.PathLike) -> classifier_lib.Classifier | None:
    """Returns the classifier of a file, or None if it does not name classes.

    Raises:
      OSError: there is no such file.
      untrusted.DamagedError: it is damaged, or holds what no network of ours
        has.
    """
    path = pathlib.Path(path)
    with zip_files.open_zip(path) as archive:
        if keras_files.SETTINGS_FILE not in archive.namelist():
            return None
        with untrusted.reading(path):
            text = archive.read(keras_files.SETTINGS_FILE)
    settings = metadata.parse(text, path).settings
    network = former_names.load_network(path)
    network_shapes.check(path, network, settings)
    found = _read_detector(path, network)
    return classifier_lib.Classifier(network, **settings, unknown=found)


def _read_detector(path, network):
    """Returns what tells unknown images; None: the file has nothing to."""
    with zip_files.open_zip(path) as archive:
        if unknown.UNKNOWN_FILE not in archive.namelist():
            return None
        with untrusted.reading(path):
            features = pooled.find(network).shape[-1]
            classes = network.output_shape[-1]
            return unknown.read_member(archive, features, classes)


def to_keras_layers(network: keras.Model) -> keras.Model:
    """Returns a copy of a functional network with Keras's own layers."""
    copy = keras.models.clone_model(network, clone_function=_replace)
    for ours, theirs in zip(network.layers, copy.layers, strict=True):
        if isinstance(ours, class_token.ClassToken):
            theirs.set_weights(_class_token_weights(ours))
        else:
            theirs.set_weights(ours.get_weights())
    return copy


def _replace(layer):
    config = layer.get_config()
    if isinstance(layer, class_token.ClassToken):
        return _class_token(layer)
    if getattr(layer, "activation", None) is layers.silu:
        config["activation"] = "silu"
    if isinstance(layer, layers.BatchNormalization):
        del config["grouped"]
        config["synchronized"] = False
        return keras.layers.BatchNormalization.from_config(config)
    if isinstance(layer, layers.Dropout):
        return keras.layers.Dropout.from_config(config)
    return type(layer).from_config(config)


def _class_token(layer):
    """Returns a `ClassToken` of Keras's layers.

    A zero is prepended, and a dense layer with the identity as its kernel adds
    the token and the positions as a bias of each place: Keras has no layer that
    adds a weight alone.
    """
    *grid, filters = layer.positions.shape
    places = math.prod(grid) + 1
    return keras.Sequential(
        [
            keras.Input((*grid, filters)),
            keras.layers.Reshape(
                (places - 1, filters), dtype=layer.dtype_policy
            ),
            keras.layers.ZeroPadding1D((1, 0), dtype=layer.dtype_policy),
            keras.layers.EinsumDense(
                "abc,cd->abd",
                (places, filters),
                bias_axes="bd",
                dtype=layer.dtype_policy,
            ),
        ],
        name=layer.name,
    )


def _class_token_weights(layer):
    token, own, positions = layer.get_weights()
    places = [token + own, *positions.reshape(-1, len(token))]
    return [np.eye(len(token), dtype=token.dtype), np.stack(places)]


def _check_config(path):
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    own = sorted(_find_own_classes(config))
    if own:
        raise RuntimeError(
            f"The network has {', '.join(own)} of {_PACKAGE}, which the "
            "export does not replace."
        )


def _find_own_classes(config):
    """Yields the names of this package's classes in a config."""
    if isinstance(config, dict):
        name = config.get("registered_name") or ""
        if name.startswith(f"{_PACKAGE}>"):
            yield config["class_name"]
        config = list(config.values())
    if isinstance(config, list):
        for value in config:
            yield from _find_own_classes(value)


def _largest_difference(classifier, path):
    """Compares the file's network with the classifier's on two images."""
    shape = (2, *classifier.size, 3)
    images = np.random.default_rng(0).uniform(0, 255, shape)
    images[1] = images[1].mean()  # Another input than noise alone.
    loaded = keras.models.load_model(path)
    # Not `predict`, which would trace a graph of each for one batch.
    expected, found = (
        np.asarray(network(images.astype("float32"), training=False))
        for network in (classifier.model, loaded)
    )
    return float(np.abs(found - expected).max())
