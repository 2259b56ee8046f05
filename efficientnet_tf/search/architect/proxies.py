"""NASWOT: a network's score without training.

https://arxiv.org/abs/2006.04647: images that switch other units of a network on
are easier to tell apart. One batch, random weights. Made for ReLU; of
other activations the sign of the input counts as well, which is unproven.
"""

from collections.abc import Sequence

import keras
import numpy as np

IMAGES = 32


def naswot(network: keras.Model, images: np.ndarray) -> float:
    """Returns the logarithm of the determinant of the images' likeness.

    Args:
      network: a functional one, whose activations are layers of their own.
      images: float32 [N, H, W, 3] as the network takes them.

    Raises:
      ValueError: it has no activations.
      FloatingPointError: two images are alike to it.
    """
    inputs = [
        layer.input
        for layer in network.layers
        if isinstance(layer, keras.layers.Activation)
    ]
    if not inputs:
        raise ValueError(f"{network.name} has no activations to look at.")
    # By batch statistics, as in the paper: with the initial averages the later
    # layers' inputs vanish.
    values = keras.Model(network.inputs, {"all": inputs})(
        [images], training=True
    )
    return score_codes(
        [keras.ops.convert_to_numpy(value) > 0 for value in values["all"]]
    )


def score_codes(codes: Sequence[np.ndarray]) -> float:
    """Returns the score of units' states, bool [N, ...] for each layer.

    Raises:
      FloatingPointError: two images have the same states.
    """
    number = len(codes[0])
    alike = np.zeros((number, number))
    for code in codes:
        flat = code.reshape(number, -1).astype("float32")
        both = (flat @ flat.T).astype(float)
        on = both.diagonal()
        # Units on in both, and units off in both.
        alike += 2 * both + flat.shape[1] - on[:, None] - on[None, :]
    sign, value = np.linalg.slogdet(alike)
    if sign <= 0:
        raise FloatingPointError("NASWOT: two images are alike to the network.")
    return float(value)
