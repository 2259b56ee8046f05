"""Numbers to predict, scaled to mean 0 and deviation 1 while training.

A loss, a learning rate and a penalty then suit years as well as millimetres.
The head of a trained network is changed to give the numbers themselves, so
nothing that loads or exports it needs to know. Checkpoints keep what was
trained, so that a resumed run changes it once.
"""

import dataclasses

import keras
import numpy as np

from efficientnet_tf.data import examples as examples_lib
from efficientnet_tf.utils import targets


@dataclasses.dataclass(frozen=True)
class Scale:
    """Mean and deviation [K] of numbers in the images that are trained on."""

    mean: np.ndarray
    deviation: np.ndarray

    def apply(self, numbers: np.ndarray) -> np.ndarray:
        """Returns scaled numbers [..., K]; of a tensor, a tensor."""
        return (numbers - self.mean) / self.deviation

    def undo_in(self, head: keras.layers.Layer) -> None:
        """Changes a dense layer for scaled numbers to one for these."""
        kernel, bias = head.get_weights()
        head.set_weights(
            [kernel * self.deviation, bias * self.deviation + self.mean]
        )


# Of labels: as they are.
NONE = Scale(np.zeros(1, "float32"), np.ones(1, "float32"))


def find(examples: examples_lib.Examples) -> Scale | None:
    """Returns the scale of images to train on; None: they have no numbers."""
    if examples.target != targets.NUMBERS:
        return None
    return of_numbers(examples.read_labels())


def of_numbers(numbers: np.ndarray) -> Scale:
    """Returns the scale of numbers [N, K]."""
    numbers = numbers.astype("float64")
    deviation = numbers.std(axis=0)
    # A column that is the same in all these images is predicted as it is.
    deviation = np.where(deviation > 0, deviation, 1.0)
    return Scale(
        numbers.mean(axis=0).astype("float32"), deviation.astype("float32")
    )
