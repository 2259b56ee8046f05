"""Code that people have for keras.applications' B0, run on it and on ours.

Each case is a function of a constructor; what it returns must be the same.
"""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import efficientnet_tf

SIZE, CLASSES = 32, 4
THEIRS = keras.applications.EfficientNetB0
OURS = efficientnet_tf.EfficientNetB0

# In their graph only: padding that "same" does here, and a shape that ours
# keeps; in ours only: one layer for their normalization of the input.
THEIRS_ALONE = ("_pad", "_se_reshape")
INPUT_LAYERS = {"images", "preprocessing"}


def make_images(count=2):
    pixels = np.random.default_rng(0).integers(
        0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8
    )
    return pixels.astype("float32")


def call(network):
    """Returns the outputs on two images, without tracing a graph."""
    return keras.tree.map_structure(
        np.asarray, network(make_images(), training=False)
    )


def unet(constructor):
    """A U-Net decoder on the layers that segmentation code asks for."""
    encoder = constructor(
        include_top=False, weights=None, input_shape=(SIZE, SIZE, 3)
    )
    skips = [
        encoder.get_layer(name).output
        for name in (
            "block6a_expand_activation",
            "block4a_expand_activation",
            "block3a_expand_activation",
            "block2a_expand_activation",
        )
    ]
    x = encoder.get_layer("top_activation").output
    for skip, filters in zip(skips, (64, 32, 16, 8), strict=True):
        x = layers.UpSampling2D()(x)
        x = layers.Concatenate()([x, skip])
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    x = layers.UpSampling2D()(x)
    x = layers.Conv2D(CLASSES, 1, activation="softmax")(x)
    network = keras.Model(encoder.input, x)
    masks = call(network)
    weights = sum(map(_size, network.trainable_weights))
    return masks.shape, [tuple(s.shape) for s in skips], weights


def grad_cam(constructor):
    """As in the Keras example, on the layer before the pooling."""
    network = constructor(
        weights=None, input_shape=(SIZE, SIZE, 3), classes=CLASSES
    )
    shapes = []
    for name in ("top_conv", "top_activation"):
        grads_model = keras.Model(
            network.inputs, [network.get_layer(name).output, network.output]
        )
        with tf.GradientTape() as tape:
            maps, predictions = grads_model(make_images())
            score = predictions[:, 1]
        gradients = tape.gradient(score, maps)
        weights = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
        cam = tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1))
        assert np.isfinite(cam.numpy()).all()
        shapes.append((tuple(maps.shape), tuple(cam.shape)))
    return shapes


def bifpn(constructor):
    """A layer of EfficientDet's BiFPN on the last maps of strides 8 to 32."""
    backbone = constructor(
        include_top=False, weights=None, input_shape=(SIZE, SIZE, 3)
    )
    names = ("block3b_add", "block5c_add", "block7a_project_bn")
    p3, p4, p5 = (
        layers.Conv2D(16, 1, padding="same")(backbone.get_layer(n).output)
        for n in names
    )
    p4_td = layers.Add()([p4, layers.UpSampling2D()(p5)])
    p3_out = layers.Add()([p3, layers.UpSampling2D()(p4_td)])
    down = layers.MaxPooling2D(3, strides=2, padding="same")
    p4_out = layers.Add()([p4, p4_td, down(p3_out)])
    p5_out = layers.Add()([p5, layers.MaxPooling2D(2)(p4_out)])
    network = keras.Model(backbone.inputs, [p3_out, p4_out, p5_out])
    return [x.shape for x in call(network)]


def unfreeze_top(constructor):
    """As in the Keras guide: the last 20 layers except batch normalization."""
    network = constructor(weights=None, classes=CLASSES)
    network.trainable = False
    for layer in network.layers[-20:]:
        if not isinstance(layer, layers.BatchNormalization):
            layer.trainable = True
    return [
        (variable.path.split("/")[-2], tuple(variable.shape))
        for variable in network.trainable_weights
    ]


def load_other_classes(constructor, folder):
    """Loads a network's weights into one with another head."""
    source = constructor(weights=None, classes=CLASSES + 1)
    path = folder / "source.weights.h5"
    source.save_weights(path)
    target = constructor(weights=None, classes=CLASSES)
    before = target.get_layer("predictions").get_weights()[0]
    with _without_warnings():
        target.load_weights(path, skip_mismatch=True)
    loaded = {
        layer.name
        for layer in target.layers
        if layer.weights
        and not layer.name.startswith(("normalization", "predictions"))
        and all(
            np.array_equal(mine, theirs)
            for mine, theirs in zip(
                layer.get_weights(),
                source.get_layer(layer.name).get_weights(),
                strict=True,
            )
        )
    }
    after = target.get_layer("predictions").get_weights()[0]
    return loaded, np.array_equal(before, after)


def tune(constructor):
    """Rebuilds as by a tuner, each with other hyperparameters."""
    found = []
    for pooling, units, trainable in (("avg", 8, False), ("max", 16, True)):
        keras.backend.clear_session()
        base = constructor(
            include_top=False,
            weights=None,
            input_shape=(SIZE, SIZE, 3),
            pooling=pooling,
        )
        base.trainable = trainable
        network = keras.Sequential(
            [base, layers.Dense(units, "relu"), layers.Dense(CLASSES)]
        )
        network.compile("adam", "mse")
        found.append(
            (network.output_shape, sum(map(_size, network.trainable_weights)))
        )
    return found


def clone(constructor):
    network = constructor(
        weights=None, input_shape=(SIZE, SIZE, 3), classes=CLASSES
    )
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    same = np.array_equal(call(copy), call(network))
    rebuilt = type(network).from_config(network.get_config())
    return same, len(copy.layers) == len(rebuilt.layers)


def part_of_a_larger_graph(constructor):
    inputs = keras.Input((SIZE, SIZE, 3), name="photo")
    x = layers.RandomFlip("horizontal")(inputs)
    base = constructor(include_top=False, weights=None, input_tensor=x)
    x = layers.GlobalAveragePooling2D()(base.output)
    network = keras.Model(inputs, layers.Dense(CLASSES)(x))
    names = [x.name for x in network.layers[-5:-2]]
    return call(network).shape, names


def mixed_precision(constructor):
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        base = constructor(
            include_top=False,
            weights=None,
            input_shape=(SIZE, SIZE, 3),
            pooling="avg",
        )
        outputs = layers.Dense(CLASSES, dtype="float32")(base.output)
        network = keras.Model(base.inputs, outputs)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    found = call(network)
    conv = network.get_layer("block4a_expand_conv")
    assert np.isfinite(found).all()
    return found.dtype, conv.compute_dtype, conv.kernel.dtype


def weighted_fit(constructor):
    """`fit` with class weights, sample weights, callbacks and a history."""
    network = constructor(
        weights=None, input_shape=(SIZE, SIZE, 3), classes=CLASSES
    )
    network.compile(
        keras.optimizers.Adam(1e-4),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        weighted_metrics=["accuracy"],
        run_eagerly=True,  # A graph of B0 takes a minute to trace.
    )
    images, labels = make_images(4), np.arange(4) % CLASSES
    histories = [
        network.fit(
            images,
            labels,
            batch_size=4,
            epochs=1,
            verbose=0,
            callbacks=[keras.callbacks.TerminateOnNaN()],
            **options,
        ).history
        for options in (
            {"class_weight": dict(enumerate((1.0, 2.0, 0.5, 1.0)))},
            {"sample_weight": np.float32([1, 0, 2, 1])},
        )
    ]
    assert all(np.isfinite(h["loss"]).all() for h in histories)
    return [sorted(history) for history in histories]


def _without_warnings():
    """Keras warns about its formats and what it skips."""
    return warnings.catch_warnings(action="ignore")


def _size(weight):
    return int(np.prod(weight.shape))


CASES = (
    unet,
    grad_cam,
    bifpn,
    unfreeze_top,
    tune,
    clone,
    part_of_a_larger_graph,
    mixed_precision,
    # `tune` fits as well.
    pytest.param(weighted_fit, marks=pytest.mark.slow),
)


# A list of inputs called with one tensor, as the Keras example does it.
@pytest.mark.filterwarnings("ignore:.*structure of `inputs`:UserWarning")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_what_works_on_keras_applications_works_here_alike(case):
    assert case(OURS) == case(THEIRS)


def test_a_head_of_other_classes_is_skipped_alike(tmp_path):
    for folder in ("ours", "theirs"):
        (tmp_path / folder).mkdir()
    ours = load_other_classes(OURS, tmp_path / "ours")
    assert ours == load_other_classes(THEIRS, tmp_path / "theirs")
    assert "top_conv" in ours[0] and ours[1]


def test_layers_have_keras_applications_names_in_its_order():
    def names(network):
        return [
            layer.name
            for layer in network.layers
            if layer.name.startswith(("stem", "block", "top", "avg", "pred"))
        ]

    ours, theirs = (
        names(constructor(weights=None)) for constructor in (OURS, THEIRS)
    )
    theirs = [name for name in theirs if not name.endswith(THEIRS_ALONE)]
    assert ours == theirs


@pytest.mark.parametrize("name", ["EfficientNetLite0", "EfficientNetB2"])
def test_the_other_variants_layers_have_such_names_too(name):
    network = getattr(efficientnet_tf, name)(weights=None)
    names = {layer.name for layer in network.layers} - INPUT_LAYERS
    theirs = {
        layer.name
        for layer in keras.applications.EfficientNetB2(weights=None).layers
    }
    assert names <= theirs


def test_a_file_of_keras_applications_loads_by_name(tmp_path):
    """The legacy way: `load_weights(h5, by_name=True)`."""
    theirs = THEIRS(weights=None)
    ours = OURS(weights=None, classes=CLASSES)
    for weight in theirs.weights:  # All different from ours, zeros included.
        if weight.dtype == "float32":
            weight.assign_add(np.full(weight.shape, 0.125, "float32"))
    path = tmp_path / "theirs.h5"
    with _without_warnings():
        theirs.save(path)
        ours.load_weights(path, by_name=True, skip_mismatch=True)
    loaded = 0
    for layer in ours.layers:
        if layer.weights and layer.name != "predictions":
            for mine, other in zip(
                layer.get_weights(),
                theirs.get_layer(layer.name).get_weights(),
                strict=True,
            ):
                np.testing.assert_array_equal(mine, other)
                loaded += 1
    # All of B0's but the head's two.
    assert loaded == len(ours.weights) - 2 == 309
