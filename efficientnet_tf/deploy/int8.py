"""How a network becomes int8: the grain of its scales, what stays float."""

import dataclasses
import re
import typing
from collections.abc import Iterable
from typing import Annotated

from efficientnet_tf.utils import configs, words

if typing.TYPE_CHECKING:
    import keras

# Parts of a network, by how the names of their layers begin or go on.
PARTS = {
    "first": r"preprocessing|stem_",
    "gates": r".*_se_",
    "head": r"top_|avg_pool|predictions",
    "last": r"predictions",
}
SCALES = ("channel", "tensor")
PRESETS = ("performance", "mixed")


@dataclasses.dataclass(frozen=True)
class Int8:
    """What a writer of int8 is to do.

    Attributes:
      weights: a scale for each output "channel" of a kernel, or one for the
        "tensor".
      keep_float: which of `PARTS` stay float32: the first convolution, the
        gates of squeeze-and-excitation, the head (last convolution, pooling and
        dense layer), or the last (dense) layer alone. The first one costs no
        time, and wins back half of the predictions that change.
      preset: nncf's, of OpenVINO alone: activations from -a to a
        ("performance"), or from a to b where they have both signs ("mixed").
    """

    weights: Annotated[str, configs.OneOf(*SCALES)] = "channel"
    keep_float: tuple[str, ...] = ("first",)
    preset: Annotated[str, configs.OneOf(*PRESETS)] = "performance"

    def __post_init__(self):
        configs.check(self)
        for part in self.keep_float:
            if part not in PARTS:
                raise ValueError(configs.unknown("part", part, PARTS))


STANDARD = Int8()


@dataclasses.dataclass(frozen=True)
class Node:
    """Of an exported graph: a name, and all names, between ";", that tell what
    it came from."""

    name: str
    text: str
    has_kernel: bool


def find_layers(network: "keras.Model", parts: Iterable[str]) -> set[str]:
    """Returns the names of a network's layers that belong to `PARTS`.

    Raises:
      ValueError: it has no such part.
    """
    found: set[str] = set()
    for part in parts:
        names = {
            layer.name
            for layer in network.layers
            if re.match(PARTS[part], layer.name)
        }
        if not any(hasattr(network.get_layer(n), "kernel") for n in names):
            raise ValueError(f"The network has no {part} to keep in float.")
        found |= names
    return found


def find_nodes(
    network: "keras.Model", parts: Iterable[str], nodes: Iterable[Node]
) -> list[str]:
    """Returns the names of the nodes that came from a network's `PARTS`.

    Raises:
      RuntimeError: these have not as many kernels as the layers, so that what
        is found is not what is meant.
      ValueError: the network has no such part.
    """
    layers = find_layers(network, parts)
    found = [node for node in nodes if _is_of(node.text, layers)]
    check_kernels(network, parts, sum(node.has_kernel for node in found))
    return [node.name for node in found]


def check_kernels(
    network: "keras.Model", parts: Iterable[str], found: int
) -> None:
    """Raises RuntimeError if the layers of parts have not so many kernels."""
    layers = find_layers(network, parts)
    kernels = [n for n in layers if hasattr(network.get_layer(n), "kernel")]
    if len(kernels) != found:
        raise RuntimeError(
            f"{', '.join(parts)}: the network has "
            f"{words.count(len(kernels), 'layer')} with weights there, but "
            f"the exported graph {found}; keep nothing in float."
        )


def _is_of(text, layers):
    """Whether a node's text names one of some layers.

    It is such as "functional_1/stem_conv_1/convolution": TensorFlow has
    numbered the layer.
    """
    steps = {
        numbered
        for step in re.split("[/;]", text)
        for numbered in (step, re.sub(r"_\d+$", "", step))
    }
    return not steps.isdisjoint(layers)
