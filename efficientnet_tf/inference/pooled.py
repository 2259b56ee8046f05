"""A network's pooled features, beside its probabilities, in one pass."""

from typing import Any, NamedTuple

import keras
import numpy as np

HEAD = "predictions"


class Output(NamedTuple):
    """Features float32 [N, C] and probabilities [N, classes] of images.

    Of one image, [C] and [classes].
    """

    features: np.ndarray
    probabilities: np.ndarray


def find(network: Any) -> keras.KerasTensor:
    """Returns what a network's head takes: its pooled features [N, C].

    Raises:
      ValueError: another runtime than Keras runs it, or it has no such head.
    """
    if not isinstance(network, keras.Model):
        raise ValueError(
            "Features are only to be had of a network of Keras, in a run or a "
            ".keras file: other exported files give probabilities alone."
        )
    names = [layer.name for layer in network.layers]
    # Not the input of `avg_pool`, which a vision transformer lacks.
    if HEAD not in names:
        raise ValueError(
            f"The network has no layer {HEAD!r}, whose input are its features."
        )
    return network.get_layer(HEAD).input


class Pooled:
    """A network that gives its features too.

    Args:
      network: see `find`.
    """

    def __init__(self, network: keras.Model):
        ends = [find(network), network.outputs[0]]
        self._network = keras.Model(network.inputs, ends)

    def __call__(self, images: np.ndarray) -> Output:
        """Returns the `Output` of images [N, size, size, 3]."""
        features, probabilities = self._network.predict_on_batch(images)
        features = np.asarray(features, "float32")
        return Output(features, np.asarray(probabilities))
