"""Parts of a built network: feature maps by stride, frozen stages."""

import re
from collections.abc import Sequence

import keras

# The levels of a feature pyramid: level k has stride 2**k.
LEVELS = (1, 2, 3, 4, 5)

_BLOCK = re.compile(r"block(\d+)[a-z]+_")


def feature_pyramid(
    network: keras.Model, levels: Sequence[int] = LEVELS
) -> keras.Model:
    """Returns a model with the feature maps of `network` at several strides.

    Args:
      network: a model from `build`, with or without its top.
      levels: which levels, from 1 to 5; level k has stride 2**k.

    Returns:
      A `keras.Model` that shares layers and weights; its output is a dict
      {"P3": [N, H / 8, W / 8, C], ...} of the last map at each stride.

    Raises:
      ValueError: an unknown level, or a network without such maps.
    """
    unknown = sorted(set(levels) - set(LEVELS))
    if unknown or not levels:
        raise ValueError(
            f"levels={tuple(levels)!r} must be chosen from {LEVELS}."
        )
    names = endpoints(network)
    return keras.Model(
        network.inputs,
        {f"P{k}": network.get_layer(names[k]).output for k in levels},
        name=f"{network.name}_features",
    )


def freeze_stages(network: keras.Model, stages: int) -> None:
    """Freezes the stem and the first stages, batch statistics included.

    Sets `trainable` to False on their layers and to True on all others.

    Args:
      network: a model from `build`.
      stages: how many stages to freeze; 0 freezes nothing, not even the stem.
    """
    numbers = list_stages(network)
    # What follows the blocks trains however many are asked for.
    blocks = [stage for name, stage in numbers.items() if _BLOCK.match(name)]
    frozen = min(stages, max(blocks, default=0))
    for layer in network.layers:
        layer.trainable = stages == 0 or numbers[layer.name] > frozen


def list_stages(network: keras.Model) -> dict[str, int]:
    """Returns {name of a layer: its stage}, from 0 for the stem on.

    What follows the last block is one more stage, and the classifier another.

    Args:
      network: a model from `build`.
    """
    found, stage = {}, 0
    blocks = [_BLOCK.match(layer.name) for layer in network.layers]
    last = max((int(block[1]) for block in blocks if block), default=0)
    for layer, block in zip(network.layers, blocks, strict=True):
        if block:
            stage = int(block[1])
        # Networks without a head convolution go from the blocks to the pool.
        elif layer.name.startswith(("top_", "avg_pool")):
            stage = last + 1
        elif layer.name == "predictions":
            stage = last + 2
        found[layer.name] = stage
    return found


def endpoints(network: keras.Model) -> dict[int, str]:
    """Returns {level: name of the last layer of the last block at its stride}.

    Raises:
      ValueError: the network lacks a map at one of the strides 2 to 32.
    """
    parts: dict[str, list[keras.Layer]] = {}
    for layer in network.layers:
        block = _BLOCK.match(layer.name)
        part = block[0] if block else layer.name
        if part.startswith(("stem_", "block")):
            parts.setdefault(part, []).append(layer)
    names, level = {}, 0
    for group in parts.values():
        # A block strides at most once, in any of its layers, and may begin with
        # a convolution at the old stride: only its output counts.
        level += any(
            getattr(layer, "strides", (1, 1))[0] == 2 for layer in group
        )
        if level:  # Symmetric padding comes before the first stride.
            names[level] = group[-1].name
    if sorted(names) != list(LEVELS):
        raise ValueError(
            f"{network.name!r} has no feature map at each stride from 2 to 32."
        )
    return names
