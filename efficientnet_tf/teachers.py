"""The network that a student learns from, by name or from a file."""

import pathlib

import keras
from absl import logging

from efficientnet_tf import classifier, model, variants


def load(teacher, classes):
    """Returns a network that is not trained any more, or None for "".

    Args:
      teacher: "MODEL:WEIGHTS", such as "efficientnet_lite2:imagenet"; a run's
        workdir; or a SavedModel whose serving signature maps images
        [N, H, W, 3] in [0, 255] to probabilities.
      classes: of the student.

    Raises:
      ValueError: an unknown teacher, or one with other classes.
    """
    if not teacher:
        return None
    path = pathlib.Path(teacher).expanduser()
    if (path / classifier.MODEL_FILE).exists():
        network = classifier.from_run(path).model
    elif (path / "saved_model.pb").exists():
        network = _from_saved_model(path)
    else:
        network = _from_name(teacher, classes)
    network.trainable = False
    found = network.output_shape[-1]
    if found != classes:
        raise ValueError(
            f"The teacher {teacher!r} knows {found} classes and the data set "
            f"has {classes}."
        )
    logging.info("Teacher: %s.", teacher)
    return network


def _from_name(teacher, classes):
    name, separator, weights = teacher.partition(":")
    if not separator or name not in variants.VARIANTS:
        raise ValueError(
            f"Unknown teacher {teacher!r}; give MODEL:WEIGHTS, such as "
            "efficientnet_lite2:imagenet, a run's workdir or a SavedModel."
        )
    # Any size: the student's images are the teacher's as well.
    return model.build(
        name, weights=weights, input_shape=(None, None, 3), classes=classes
    )


def _from_saved_model(path):
    layer = keras.layers.TFSMLayer(path, call_endpoint="serving_default")
    signature = layer.callable
    shape = next(iter(signature.structured_input_signature[1].values())).shape
    inputs = keras.Input(tuple(shape)[1:])
    x = inputs
    outputs = layer(x)
    if isinstance(outputs, dict):
        outputs = outputs.get("probabilities", next(iter(outputs.values())))
    return keras.Model(inputs, outputs)
