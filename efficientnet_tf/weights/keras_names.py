"""Finds a network among the layers of a Keras model, under our layer names."""

import re
from collections.abc import Mapping

import numpy as np
from absl import logging

from efficientnet_tf.models import plan as plan_lib
from efficientnet_tf.utils import untrusted
from efficientnet_tf.weights import former_names

STEM_LAYER = "stem_conv"
STEM = f"{STEM_LAYER}/kernel"
# qubvel's name of the classifier, beside that of keras.applications.
HEADS = ("predictions", "probs")
# Of networks in one file: each is compared with the plan.
_MAX_PLACES = 100

_BACKBONE = re.compile(r"(stem|block\d+[a-z]+|top)_")
# Of the network's input: see `input_layers`.
_NORMALIZATION = re.compile(r"normalization(_\d+)?/")


def find_network(
    arrays: Mapping[str, np.ndarray], plan: plan_lib.Plan, path: object
) -> tuple[dict[str, np.ndarray], str, tuple[str, ...]]:
    """Finds the network that a plan describes, whatever is around it.

    Args:
      arrays: {"<models around it>/<layer>/<weight>": array}.
      plan: of the network that is wanted.
      path: the file's name in messages.

    Returns:
      The arrays under our names "layer/weight"; the place of the network in
      the file, "" where it is the whole model; and the layers with weights
      that are left out. The classifier is left out, too, where other layers
      than the network may stand before it.

    Raises:
      ValueError: there is no such network, or there are several.
    """
    arrays = _rename_former(arrays, path)
    places = _find_places(arrays, STEM)
    table = None
    if not places:
        places = _find_places(arrays, "conv2d/kernel")
        table = _numbered_names(plan.blocks)
    if not places:
        raise ValueError(describe_other(path, arrays))
    if len(places) > _MAX_PLACES:
        raise untrusted.DamagedError(
            f"{path} holds {len(places):,} networks; refused."
        )
    found = {place: _take(arrays, place, table) for place in places}
    place = _choose(found, plan, path)
    network, others = _split(found[place])
    start = f"{place}/" if place else ""
    left_out = [
        _name_part(name, places)
        for name, value in arrays.items()
        if not name.startswith(start) and _is_trained(value)
    ] + [f"{start}{name}".rpartition("/")[0] for name in others]
    return network, place, tuple(dict.fromkeys(left_out))


def _name_part(name, places):
    """Returns the layer of a weight, or the whole network that it is in."""
    for place in places:
        if place and name.startswith(f"{place}/"):
            return place
    return name.rpartition("/")[0]


def describe_other(path: object, arrays: Mapping[str, np.ndarray]) -> str:
    """Returns the message for a file that holds something else."""
    some = untrusted.shorten(", ".join(sorted(arrays)[:3]) or "nothing")
    return (
        f"{path} is not an EfficientNet: it has no stem convolution, only "
        f"{some}..."
    )


def _rename_former(arrays, path):
    """Gives arrays from an early version's file the present layer names."""
    renamed = {}
    for name, value in arrays.items():
        *layers, weight = name.split("/")
        layers = map(former_names.current_name, layers)
        renamed["/".join([*layers, weight])] = value
    if set(renamed) != set(arrays):
        logging.info(former_names.NOTE, path)
    return renamed


def _find_places(arrays, end):
    return [
        name.removesuffix(end).removesuffix("/")
        for name in arrays
        if name == end or name.endswith(f"/{end}")
    ]


def _take(arrays, place, table):
    """Returns the arrays at a place, named from there, kernels as "kernel"."""
    start = f"{place}/" if place else ""
    taken = {}
    for name, value in arrays.items():
        if not name.startswith(start):
            continue
        layer, _, weight = name.removeprefix(start).rpartition("/")
        if table is not None:
            layer = table.get(layer, layer)
        weight = "kernel" if weight.endswith("kernel") else weight
        taken[f"{layer}/{weight}"] = value
    return taken


def _choose(found, plan, path):
    """Returns the place whose shapes fit; of one alone it is not asked."""
    if len(found) == 1:
        return next(iter(found))
    fitting = [p for p, arrays in found.items() if _fits(arrays, plan)]
    if len(fitting) == 1:
        return fitting[0]
    raise ValueError(
        f"{path} holds {len(found)} networks, of which {len(fitting)} fit: "
        f"{', '.join(p or 'the whole model' for p in found)}. Save the one "
        "that is meant alone."
    )


def _fits(arrays, plan):
    filters = {"stem_conv": plan.stem_filters}
    for block in plan.blocks:
        filters[f"{block.name}_project_conv"] = block.filters
    if plan.head_filters:
        filters["top_conv"] = plan.head_filters
    return all(
        np.shape(arrays.get(f"{layer}/kernel"))[-1:] == (count,)
        for layer, count in filters.items()
    )


def _split(arrays):
    """Returns the network with its classifier, and the other weights."""
    network, head, others = {}, {}, []
    for name, value in arrays.items():
        layer, weight = name.split("/", 1)
        if _BACKBONE.match(name):
            network[name] = value
        elif layer in HEADS:
            head[f"{HEADS[0]}/{weight}"] = value
        elif _is_trained(value) and not _NORMALIZATION.match(name):
            others.append(name)
    if others:
        return network, [*others, *head]
    return {**network, **head}, []


def _is_trained(value):
    # Integers are seeds and counts of layers that augment or normalize.
    return np.asarray(value).dtype.kind == "f"


def _numbered_names(blocks):
    """Returns {class and count: layer}, the names in files of early Keras 3."""
    counts = {}
    table = {}
    for name in _layer_names(blocks):
        kind = "conv2d"
        if name.endswith("_bn"):
            kind = "batch_normalization"
        elif name.rpartition("_")[2] in plan_lib.DEPTHWISE_NAMES:
            kind = "depthwise_conv2d"
        elif name == HEADS[0]:
            kind = "dense"
        count = counts.setdefault(kind, 0)
        table[f"{kind}_{count}" if count else kind] = name
        counts[kind] += 1
    return table


def _layer_names(blocks):
    """Returns the names of the layers with weights, in the network's order."""
    names = ["stem_conv", "stem_bn"]
    for block in blocks:
        parts = [block.depthwise, "bn"]
        if block.block == "fused_mbconv":
            parts = []
        if block.expand_ratio > 1:
            parts = ["expand_conv", "expand_bn", *parts]
        if block.squeezed_filters:
            parts += ["se_reduce", "se_expand"]
        parts += ["project_conv", "project_bn"]
        names += [f"{block.name}_{part}" for part in parts]
    return [*names, "top_conv", "top_bn", HEADS[0]]
