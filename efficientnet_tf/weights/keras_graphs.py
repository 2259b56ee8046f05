"""The layers in a Keras model's config, and those that an image meets first.

A layer or model is {"class_name": ..., "config": {...}}; models, wrappers and
classes of the user's hold others somewhere in their "config".
"""

from collections.abc import Iterator, Mapping
from typing import Any

STEM = "stem_conv"

# Models that apply one layer after the other.
_CHAINS = ("Sequential", "Pipeline")
# Layers that apply another one to parts of their input.
_WRAPPERS = ("TimeDistributed",)

Layer = Mapping[str, Any]


def list_parts(value: Any) -> list[Layer]:
    """Returns the layers in a value from a config, but not those in them."""
    if isinstance(value, dict):
        named = isinstance(value.get("class_name"), str)
        if named and isinstance(value.get("config"), dict):
            return [value]
        value = list(value.values())
    if not isinstance(value, list | tuple):
        return []
    return [part for inner in value for part in list_parts(inner)]


def list_inner(layer: Layer) -> list[Layer]:
    """Returns the layers, or other objects, in one layer itself."""
    config = layer["config"]
    return list_parts([v for k, v in config.items() if k != "dtype"])


def get_name(layer: Layer) -> str | None:
    """Returns a layer's name, which not every class of the user's has."""
    name = layer.get("name") or layer["config"].get("name")
    return name if isinstance(name, str) else None


def find_before(
    model: Layer, place: str
) -> tuple[list[tuple[str, Layer]], bool]:
    """Finds what images meet on their way to a network's stem.

    Args:
      model: the config of a Keras model.
      place: the names of the models and layers around the stem, by "/".

    Returns:
      ("<models around it>", layer) of each layer, the input first, and whether
      the stem is in the config. If not, the last layer is the one whose code
      builds the network.
    """
    stems = [
        (around.split("/"), before) for around, before in _list_stems(model, "")
    ]
    outer, inner = place.partition("/")[0], place.rpartition("/")[2]
    names = {get_name(part) for part in list_inner(model)}
    for fits in (
        lambda around: "/".join(around) == place,
        # An .h5 has the models that a layer was built in around it.
        lambda around: around[-1] == inner,
        # Early files of Keras 3 have classes and numbers in place of names.
        lambda around: around[0] == outer or outer not in names,
    ):
        fitting = [before for around, before in stems if fits(around)]
        if len(fitting) == 1:
            return fitting[0], True
    return _list_before_builder(model, place), False


def list_sources(layer: Layer) -> list[str]:
    """Returns the names of the layers that a layer's first call gets."""
    nodes = layer.get("inbound_nodes")
    return _list_sources(nodes[0]) if nodes and isinstance(nodes, list) else []


def _list_stems(model, around) -> Iterator[tuple[str, list]]:
    """Yields (place, layers before the stem) of each network."""
    for part in list_inner(model):
        if get_name(part) == STEM:
            yield around, list(_list_upstream(model, part, around))
            continue
        for place, inner in _list_stems(part, _join(around, part)):
            yield place, [*_list_upstream(model, part, around), *inner]


def _list_before_builder(model, place):
    around, before = "", []
    for name in place.split("/"):
        named = [x for x in list_inner(model) if get_name(x) == name]
        if not named:
            break
        before += _list_upstream(model, named[0], around)
        model, around = named[0], _join(around, named[0])
    return [*before, (around, model)]


def _list_upstream(model, layer, around) -> Iterator[tuple[str, Layer]]:
    """Yields the layers in a model before one, models as their layers.

    Where a layer has several inputs it is followed to the first. A class of
    the user's stands for whatever it does.
    """
    config, before = model["config"], []
    layers = list_parts(config.get("layers"))
    if model["class_name"] in _CHAINS:
        before = layers[: layers.index(layer)] if layer in layers else layers
    elif "output_layers" in config:
        by_name = {get_name(x): x for x in layers}
        while (name := next(iter(list_sources(layer)), None)) in by_name:
            # Each once: a file may name them in a circle.
            layer = by_name.pop(name)
            before.append(layer)
        before.reverse()
    elif model["class_name"] not in _WRAPPERS:
        yield around, model
    for each in before:
        yield from _flatten(each, around)


def _flatten(layer, around):
    config, inside = layer["config"], _join(around, layer)
    if layer["class_name"] in (*_CHAINS, *_WRAPPERS):
        for part in list_parts([config.get("layers"), config.get("layer")]):
            yield from _flatten(part, inside)
    elif "output_layers" in config:
        end = {"inbound_nodes": [config["output_layers"]]}
        yield from _list_upstream(layer, end, inside)
    else:
        yield around, layer


def _join(around, layer):
    return f"{around}/{get_name(layer)}".lstrip("/")


def _list_sources(nodes):
    """Returns the names of layers in a node's inputs, in their order.

    Keras 3 writes them in "keras_history", Keras 2 in nested lists; both as
    [name, node, tensor, ...].
    """
    if isinstance(nodes, dict):
        nodes = list(nodes.values())
    if not isinstance(nodes, list | tuple):
        return []
    if len(nodes) >= 3 and isinstance(nodes[0], str) and nodes[1] in range(999):
        return [nodes[0]]
    return [name for inner in nodes for name in _list_sources(inner)]
