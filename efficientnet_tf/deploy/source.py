"""What the exporters take: a classifier's network in Keras's own layers."""

import dataclasses
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from efficientnet_tf.deploy import (
    int8 as int8_lib,
    keras_file,
    metadata,
    network as network_lib,
)
from efficientnet_tf.inference import (
    activation_maps,
    classifier as classifier_lib,
    settings as settings_lib,
)
from efficientnet_tf.utils import targets


@dataclasses.dataclass(frozen=True)
class Source:
    """A network to export.

    Attributes:
      network: from images float32 [N, H, W, 3] in [0, 255] to
        {"probabilities": [N, classes]}, or "numbers", and "activation_map"
        where that is asked for; preprocessing is inside.
      settings: the classifier's.
      batch_size: the only N that the exported network takes; None: any.
      calibration: images [M, H, W, 3] whose activations set the ranges
        of int8; none where it is not asked for.
      int8: how int8 is made.
    """

    network: keras.Model
    settings: settings_lib.Settings
    batch_size: int | None = None
    calibration: np.ndarray | Sequence[np.ndarray] = ()
    int8: int8_lib.Int8 = int8_lib.STANDARD

    def batches(self) -> Iterator[np.ndarray]:
        """Returns the calibration images, as many at a time as it takes."""
        return network_lib.split(
            np.asarray(self.calibration), self.batch_size or 1
        )

    @property
    def signature(self) -> Sequence[keras.InputSpec]:
        """What `keras.Model.export` is to take."""
        shape = (self.batch_size, *self.settings.size, 3)
        return [
            keras.InputSpec(shape=shape, dtype="float32", name=metadata.INPUT)
        ]


def prepare(
    classifier: classifier_lib.Classifier,
    calibration: np.ndarray | Sequence[np.ndarray] = (),
    *,
    activation_map: bool = False,
    int8: int8_lib.Int8 = int8_lib.STANDARD,
) -> Source:
    """Returns the source of all exports of a classifier of Keras.

    Args:
      classifier: with a functional network.
      calibration: see `Source`.
      activation_map: whether the network also gives the maps of all classes,
        see `activation_maps.with_activation_map`.
      int8: see `Source`.

    Raises:
      ValueError: a map is asked for, and the network's head has none; or what
        is to stay float is not there.
    """
    if len(calibration):
        int8_lib.find_layers(classifier.model, int8.keep_float)
    network = keras_file.to_keras_layers(classifier.model)
    if activation_map:
        if classifier.target == targets.NUMBERS:
            raise ValueError("Numbers have no activation map of a class.")
        network = activation_maps.with_activation_map(network)
    else:
        network = keras.Model(
            network.inputs[0], {classifier.outputs.values: network.outputs[0]}
        )
    # Keras exports to ONNX only what was called.
    network(np.zeros((1, *classifier.size, 3), "float32"))
    return Source(
        network, classifier.settings, calibration=calibration, int8=int8
    )
