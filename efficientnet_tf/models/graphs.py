"""Walks over a functional network: rebuilding it layer by layer."""

from collections.abc import Callable
from typing import Any

import keras

# Makes the output of a layer's replacement from its inputs: one, or a list of
# them where the layer takes a list.
Apply = Callable[[keras.Layer, Any], Any]


def rebuild(network: keras.Model, apply: Apply) -> keras.Model:
    """Returns a new network, of what a function makes of each layer.

    Args:
      network: a functional one, each of whose layers is used once.
      apply: called with the layers in the order of computation, the inputs
        among them; these get an empty list.

    Raises:
      ValueError: a layer is used more than once.
    """
    made: dict[int, Any] = {}
    for layer in network.layers:
        if len(layer._inbound_nodes) > 1:
            raise ValueError(f"The layer {layer.name} is used more than once.")
        inputs: Any = []
        if not isinstance(layer, keras.layers.InputLayer):
            inputs = keras.tree.map_structure(
                lambda tensor: made[id(tensor)], layer.input
            )
        made[id(layer.output)] = apply(layer, inputs)
    (source,), (end,) = network.inputs, network.outputs
    return keras.Model(
        keras.utils.get_source_inputs(made[id(source)])[0],
        made[id(end)],
        name=network.name,
    )


def copy(layer: keras.Layer, **changes: Any) -> keras.Layer:
    """Returns a new layer of the same configuration, without weights."""
    return type(layer).from_config({**layer.get_config(), **changes})


def find_consumers(network: keras.Model) -> dict[str, list[keras.Layer]]:
    """Returns {name of a layer: layers that take its output}."""
    found: dict[str, list] = {layer.name: [] for layer in network.layers}
    for layer in network.layers:
        if not isinstance(layer, keras.layers.InputLayer):
            for tensor in keras.tree.flatten(layer.input):
                found[tensor._keras_history.operation.name].append(layer)
    return found
