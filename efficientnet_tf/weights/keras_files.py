"""Reads Keras's weight files: .h5 of any version, .weights.h5 and .keras.

A weight is named by its place, "<models around it>/<layer>/<weight>", so that
a network that is a layer of another one can be told from what is around it.
"""

import dataclasses
import io
import os
import re
from typing import Any

import numpy as np

from efficientnet_tf.utils import run_folder, untrusted, zip_files
from efficientnet_tf.weights import hdf5_files, keras_configs, keras_graphs

# Attribute that `loading.save` writes on the root of a .weights.h5.
NORMALIZATION_ATTRIBUTE = "efficientnet_tf_normalization"

# Inside a .keras file.
CONFIG_FILE = "config.json"
METADATA_FILE = "metadata.json"
WEIGHTS_FILE = "model.weights.h5"
_MEMBERS = sorted((CONFIG_FILE, METADATA_FILE, WEIGHTS_FILE))
# What our exports have in addition: classes and image preparation.
SETTINGS_FILE = run_folder.SETTINGS_FILE
_OURS = {SETTINGS_FILE, run_folder.UNKNOWN_FILE}

# Groups in the layout of Keras 3 that are no layers; the second is that of its
# first release and of late tf.keras.
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies", "_functional")
# State of training beside the layers.
_TRAINING = re.compile(r"^(optimizer|_?trainer|metrics|compile_metrics)\b")

# Group of Keras 3, without its number -> weights in the order of their numbers.
_WEIGHTS = {
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "class_token": ("token", "token_position", "positions"),
    "layer_normalization": ("gamma", "beta"),
    "normalization": ("mean", "variance", "count"),
    "seed_generator": ("seed_generator_state",),
}
_KERNEL = ("kernel", "bias")


@dataclasses.dataclass(frozen=True)
class Saved:
    """The content of a Keras file.

    `layers` names all layers of the saved model by their place, as far as the
    file does, those without weights included; `numbered` says that it is in
    the layout of Keras 3; `config` is the model's, where the file has it;
    `normalization` is the (mean, std) that our own weight files state.
    """

    arrays: dict[str, np.ndarray]
    layers: tuple[str, ...]
    numbered: bool = False
    config: dict[str, Any] | None = None
    normalization: tuple | None = None


def read_archive(path: str | os.PathLike) -> Saved | None:
    """Reads a `.keras` file; returns None for another kind of archive.

    Raises:
      ValueError: the file is damaged.
    """
    with zip_files.open_zip(path) as archive:
        if WEIGHTS_FILE not in archive.namelist():
            return None
        with untrusted.reading(path):
            weights = io.BytesIO(archive.read(WEIGHTS_FILE))
            text = archive.read(CONFIG_FILE)
    config = keras_configs.parse(text, path)
    return dataclasses.replace(read_hdf5(weights, path), config=config)


def read_loadable(path: str | os.PathLike) -> tuple[dict[str, Any], bytes]:
    """Returns the config and the weights of a `.keras` file for Keras to load.

    Raises:
      OSError: there is no such file.
      ValueError: it is damaged, or holds more than a network of ours.
    """
    with zip_files.open_zip(path) as archive:
        found = archive.namelist()
        if sorted({*found} - _OURS) != _MEMBERS:
            raise untrusted.DamagedError(
                f"{os.fspath(path)} holds "
                f"{untrusted.shorten(', '.join(found)) or 'nothing'}, not the "
                "three files of a Keras model; refused."
            )
        with untrusted.reading(path):
            weights = archive.read(WEIGHTS_FILE)
            text = archive.read(CONFIG_FILE)
    config = keras_configs.parse(text, path)
    keras_configs.check_loadable(config, path, os.path.getsize(path))
    with hdf5_files.open_items(io.BytesIO(weights), path):
        pass  # It has checked what the file claims.
    return config, weights


def read_hdf5(file: str | os.PathLike | io.BytesIO, path: Any) -> Saved:
    """Reads an `.h5` or `.weights.h5`; `path` is its name in messages.

    Raises:
      ValueError: the file is damaged, or points at other files.
    """
    with hdf5_files.open_items(file, path) as (root, items):
        if any(re.search(r"(^|/)vars(/|$)", name) for name in items):
            return _read_keras3(root, items, path)
        return _read_legacy(root, items, path)


def _read_legacy(root, items, path):
    """Reads <outermost layer>/<models>/<layer>/<weight>, as Keras 2 wrote it.

    The models are those that the layer was built in, which need not be those
    that it is in.
    """
    # `model.save` puts the layers one level deeper, beside the optimizer.
    prefix = "model_weights/" if "model_weights" in items else ""
    arrays, layers = {}, []
    for place, item in items.items():
        if not place.startswith(prefix):
            continue
        outer, *inner = place.removeprefix(prefix).split("/")
        if not inner:
            layers.append(outer)
        elif hdf5_files.is_dataset(item):
            inner[-1] = inner[-1].removesuffix(":0")
            # A layer is in the group of its name, a model's layer is not.
            while outer in inner:
                inner = inner[inner.index(outer) + 1 :]
            arrays["/".join([outer, *inner])] = hdf5_files.read_array(item)
    config = hdf5_files.read_text(root, "model_config")
    if config is not None:
        config = keras_configs.parse(config, path)
        layers = list(_list_layers(config))
    return Saved(arrays, tuple(layers), config=config)


def _list_layers(model, around=""):
    """Yields the places of the layers in a model's config."""
    for layer in keras_graphs.list_inner(model):
        place = f"{around}{keras_graphs.get_name(layer)}"
        yield place
        yield from _list_layers(layer, f"{place}/")


def _read_keras3(root, items, path):
    """Reads layers/<class>_<n>/vars/<i>, nested in the same way."""
    arrays, layers = {}, []
    for name, item in items.items():
        match = re.fullmatch(r"(?:(.+)/)?vars(?:/(\d{1,9}))?", name)
        if not match or _TRAINING.match(name):
            continue
        groups = (match[1] or "").split("/")
        place = _name_place(items, groups)
        if match[2] is None:
            layers.append(place)
        else:
            weight = _name_weight(place, groups[-1], int(match[2]))
            if not hdf5_files.is_dataset(item):
                raise untrusted.DamagedError(
                    f"{path} is damaged: {name} is not an array."
                )
            arrays[f"{place}/{weight}"] = hdf5_files.read_array(item)
    return Saved(
        arrays,
        tuple(layers),
        numbered=True,
        normalization=_read_normalization(root, path),
    )


def _read_normalization(root, path):
    """Returns the (mean, std) that our own files state, or None."""
    stated = hdf5_files.read_numbers(root, NORMALIZATION_ATTRIBUTE)
    if stated is None:
        return None
    if (
        stated.shape != (2, 3)
        or not np.isfinite(stated).all()
        or not (stated[1] > 0).all()
    ):
        raise untrusted.DamagedError(
            f"{path} is damaged: its normalization is not three means and "
            "three deviations above 0."
        )
    mean, std = stated.astype(np.float64)
    return tuple(mean.tolist()), tuple(std.tolist())


def _name_place(items, groups):
    """Returns the names of the layers that a path of groups stands for."""
    names = []
    for depth, group in enumerate(groups, start=1):
        if group in _CONTAINERS:
            continue
        # The group is named by the layer's class and a count; the layer's name
        # is an attribute, which early releases of Keras 3 did not write.
        variables = items.get("/".join([*groups[:depth], "vars"]))
        name = variables and hdf5_files.read_text(variables, "name")
        names.append(name or group)
    return "/".join(names)


def _name_weight(place, group, index):
    kind = re.sub(r"_\d+$", "", group)
    layer = place.rsplit("/", 1)[-1]
    # In a class of the user's a group has the name of an attribute.
    if kind not in _WEIGHTS and layer.endswith("_bn"):
        kind = "batch_normalization"
    names = _WEIGHTS.get(kind, _KERNEL)
    return names[index] if index < len(names) else str(index)
