"""The peer of each model, and how two of a kind are timed side by side."""

import json
import time

import keras
import numpy as np

from efficientnet_tf.models import builder, layers, variants

KERAS_APPLICATIONS = "keras.applications"
UNFUSED = "the same graph with keras.layers.BatchNormalization"


def make_ours(name, resolution):
    """Our network, with its dropout off so that losses compare."""
    return builder.build(
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
        theirs = keras.models.clone_model(ours, clone_function=unfuse)
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
    """Coloured squares in [0, 255] and labels, always the same ones.

    Not noise: deep in the network one image of noise is like another, and
    batch normalization would then magnify rounding errors into the loss.
    """
    rng = np.random.default_rng(0)
    squares = rng.integers(0, 256, (count, batch_size, 7, 7, 3))
    side = -(-resolution // 7)
    images = squares.astype("float32").repeat(side, 2).repeat(side, 3)
    images = images[:, :, :resolution, :resolution]
    labels = rng.integers(0, classes, (count, batch_size))
    return list(zip(images, labels, strict=True))


def time_interleaved(functions, rounds):
    """Calls {name: function} in turn; returns {name: seconds of each call}.

    In turn, because a machine's speed drifts by more than what is measured.
    """
    seconds = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return {name: np.array(values) for name, values in seconds.items()}


def print_result(seconds, images, result):
    """Prints a table for people, then `result` and the rates as one line."""
    for side in ("ours", "theirs"):
        rate = images / np.median(seconds[side])
        result[f"{side}_images_per_second"] = round(float(rate), 2)
    result["ratio"] = round(
        float(np.median(seconds["theirs"] / seconds["ours"])), 3
    )
    # Beside other work the median is of both; the fastest is of us alone.
    result["ratio_of_fastest"] = round(
        float(seconds["theirs"].min() / seconds["ours"].min()), 3
    )
    width = max(map(len, result))
    for name, value in result.items():
        print(f"{name:{width}}  {value}")
    print(json.dumps(result), flush=True)


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


def unfuse(layer):
    """Returns a copy of a layer; of our batch normalization, Keras's."""
    config = layer.get_config()
    if not isinstance(layer, layers.BatchNormalization):
        return layer.__class__.from_config(config)
    known = keras.layers.BatchNormalization().get_config()
    return keras.layers.BatchNormalization.from_config(
        {name: value for name, value in config.items() if name in known}
    )
