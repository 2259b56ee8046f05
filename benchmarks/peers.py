"""The peer of each model, with the same weights and the same input."""

import keras
import numpy as np

from efficientnet_tf import layers, model, variants

KERAS_APPLICATIONS = "keras.applications"
UNFUSED = "the same graph with keras.layers.BatchNormalization"


def make_ours(name, resolution):
    """Our network, with its dropout off so that losses compare."""
    return model.build(
        name,
        input_shape=(resolution, resolution, 3),
        dropout_rate=0.0,
        drop_path_rate=0.0,
        classifier_activation=None,
    )


def make_theirs(ours, resolution):
    """Returns the peer of `ours`, with its weights, and what the peer is.

    keras.applications has B0 to B7 only. The peer of any other model is its
    own graph on Keras's batch normalization, which is the larger part of the
    difference; that peer pads inside its convolutions, as ours does.
    """
    public_name = "EfficientNetB" + ours.name.removeprefix("efficientnet_b")
    constructor = getattr(keras.applications, public_name, None)
    if constructor is None:
        theirs = keras.models.clone_model(ours, clone_function=_unfuse)
        theirs.set_weights(ours.get_weights())
        return theirs, UNFUSED
    theirs = constructor(
        weights=None,
        input_shape=(resolution, resolution, 3),
        classifier_activation=None,
    )
    for layer in theirs.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    _set_normalization(theirs, variants.VARIANTS[ours.name].normalization)
    copy_weights(ours, theirs)
    return theirs, KERAS_APPLICATIONS


def copy_weights(source, target):
    """Copies weights between two spellings of one network, layer by layer."""
    pairs = zip(_weighted(source), _weighted(target), strict=True)
    for from_layer, to_layer in pairs:
        to_layer.set_weights(from_layer.get_weights())


def make_batches(count, batch_size, resolution, classes=1000):
    """Random images in [0, 255] and labels, always the same ones."""
    rng = np.random.default_rng(0)
    shape = (count, batch_size, resolution, resolution, 3)
    images = rng.integers(0, 256, shape).astype("float32")
    return list(zip(images, rng.integers(0, classes, shape[:2]), strict=True))


def _weighted(network):
    # Keras's Normalization counts its constants as weights; ours has none.
    return [
        layer
        for layer in network.layers
        if layer.weights and not isinstance(layer, keras.layers.Normalization)
    ]


def _set_normalization(network, name):
    normalization = variants.get_normalization(name)
    mean = np.array(normalization.mean) / 255
    variance = (np.array(normalization.std) / 255) ** 2
    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.set_weights([mean, variance, np.array(0)])
            layer.finalize_state()


def _unfuse(layer):
    kind = layer.__class__
    if kind is layers.BatchNormalization:
        kind = keras.layers.BatchNormalization
    return kind.from_config(layer.get_config())
