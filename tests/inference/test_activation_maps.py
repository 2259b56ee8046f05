"""Maps checked by what they must add up to, and by gradients done by hand."""

import dataclasses

import keras
import numpy as np
import pytest

from efficientnet_tf.deploy import keras_file
from efficientnet_tf.inference import activation_maps
from efficientnet_tf.models import baselines, builder

SIZE, CLASSES = 32, 5
IMAGES = np.random.default_rng(0).uniform(0, 255, (3, SIZE, SIZE, 3))
IMAGES = IMAGES.astype("float32")
ALL = np.tile(np.arange(CLASSES), (len(IMAGES), 1))


def _everything(probabilities):
    return ALL


def _build(row, **arguments):
    network = builder.build(
        row, classes=CLASSES, input_shape=(SIZE, SIZE, 3), **arguments
    )
    return _spread(network)


def _spread(network):
    """Gives dense layers weights that tell classes apart, and biases."""
    noise = np.random.default_rng(1)
    for layer in network.layers:
        if isinstance(layer, keras.layers.Dense):
            layer.set_weights(
                [noise.normal(size=w.shape) for w in layer.get_weights()]
            )
    return network


@pytest.fixture(scope="module")
def row(tiny_row):
    """One stage: squeeze-and-excitation, a depthwise convolution, a dropout."""
    return dataclasses.replace(tiny_row, stages=tiny_row.stages[:1])


@pytest.fixture(scope="module")
def tiny(row):
    return _build(row)


def _make_chain(*layers, size=8):
    """A network of one convolution and what follows it."""
    first = keras.layers.Conv2D(
        4, 3, activation="relu", padding="same", name="features"
    )
    return _spread(
        keras.Sequential([keras.Input((size, size, 3)), first, *layers])
    )


def _log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@pytest.mark.parametrize(
    "name,activation",
    [("tiny", "softmax"), ("stages", None), ("stock", "softmax")],
)
def test_logits_are_the_means_of_maps_and_the_bias(name, activation, row):
    if name == "stages":  # Without a head convolution.
        row = dataclasses.replace(row, head="none", head_filters=0)
    network = _build(row, classifier_activation=activation)
    if name == "stock":
        network = keras_file.to_keras_layers(network)
    bias = network.get_layer("predictions").bias.numpy()
    exact = activation_maps.ExactMaps(network)
    maps, classes, outputs = exact(IMAGES, _everything)
    assert maps.shape == (len(IMAGES), CLASSES, 16, 16)
    logits = maps.mean((2, 3)) + bias
    assert np.ptp(logits, axis=0).min() > 1e-3  # Images differ.
    expected = _log_softmax(logits) if activation else logits
    found = np.log(outputs) if activation else outputs
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(classes, ALL)

    both = activation_maps.with_activation_map(network)
    second = both.predict_on_batch(IMAGES)
    assert sorted(second) == ["activation_map", "probabilities"]
    np.testing.assert_allclose(second["probabilities"], outputs, atol=1e-6)
    np.testing.assert_allclose(
        second["activation_map"].transpose(0, 3, 1, 2), maps, atol=1e-5
    )


def test_many_batches_give_what_one_does(tiny):
    """The first calls go without a graph, the others share one."""
    exact = activation_maps.ExactMaps(tiny)
    found = [exact(IMAGES, _everything)[0] for _ in range(6)]
    for maps in found[1:]:
        np.testing.assert_allclose(maps, found[0], atol=1e-5)


def test_the_second_output_is_a_layer_of_keras_on_the_same_weights(
    tiny, tmp_path
):
    stock = keras_file.to_keras_layers(tiny)
    both = activation_maps.with_activation_map(stock)
    (added,) = set(both.layers) - set(stock.layers)
    assert type(added) is keras.layers.Conv2D and not added.use_bias
    both.save(tmp_path / "both.keras")
    loaded = keras.models.load_model(tmp_path / "both.keras")
    expected = both.predict_on_batch(IMAGES)
    for name, found in loaded.predict_on_batch(IMAGES).items():
        np.testing.assert_allclose(found, expected[name], atol=1e-6)
    with pytest.raises(ValueError, match="2 outputs"):
        activation_maps.with_activation_map(both)


def test_grad_cam_of_the_last_features_is_the_exact_maps_positive_part(tiny):
    tiny.trainable = False  # Then a tape watches no variable.
    exact, *_ = activation_maps.ExactMaps(tiny)(IMAGES, _everything)
    gradient = activation_maps.GradientMaps(tiny)
    assert gradient.layer == "top_activation"
    found, *_ = gradient(IMAGES, _everything)
    expected = np.maximum(exact, 0) / (16 * 16)
    assert (expected > 0).any() and (exact < 0).any()
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max())
    tiny.trainable = True


def test_grad_cam_goes_through_a_head_of_two_layers():
    network = _make_chain(
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(6, activation="relu", name="hidden"),
        keras.layers.Dense(3, activation="softmax", name="classes"),
    )
    images = IMAGES[:, :8, :8]
    classes = np.array([[0, 1, 2]] * 3)
    found, *_ = activation_maps.GradientMaps(network)(images, lambda _: classes)
    features = np.asarray(network.layers[0](images))
    first, bias = network.get_layer("hidden").get_weights()
    second, _ = network.get_layer("classes").get_weights()
    active = features.mean((1, 2)) @ first + bias > 0
    assert active.any() and not active.all()
    # d logit / d feature, the same at all places but for their number.
    weights = np.einsum("nh,ch,hk->nkc", active, first, second) / 64
    expected = np.einsum("nkc,nyxc->nkyx", weights, features)
    np.testing.assert_allclose(found, np.maximum(expected, 0), rtol=1e-4)


def test_grad_cam_of_an_early_layer_counts_every_way_to_the_class():
    inputs = keras.Input((8, 8, 3))
    early = keras.layers.Conv2D(4, 3, padding="same", name="early")(inputs)
    twice = keras.layers.Rescaling(2.0)(early)
    x = keras.layers.Add()([early, twice])
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(3, activation="softmax", name="classes")(x)
    network = _spread(keras.Model(inputs, x))
    images, classes = IMAGES[:, :8, :8], np.array([[2], [0], [1]])
    gradient = activation_maps.GradientMaps(network, "early")
    found, *_ = gradient(images, lambda _: classes)
    kernel = network.get_layer("classes").get_weights()[0]
    features = np.asarray(network.get_layer("early")(images))
    weights = 3 * kernel.T[classes[:, 0]] / 64
    expected = np.einsum("nc,nyxc->nyx", weights, features)
    np.testing.assert_allclose(
        found[:, 0], np.maximum(expected, 0), atol=1e-5 * expected.max()
    )


POOL = keras.layers.GlobalAveragePooling2D
HEADS = {
    "activation apart": lambda: (
        POOL(),
        keras.layers.Dense(3),
        keras.layers.Activation("softmax"),
    ),
    "softmax layer": lambda: (
        POOL(),
        keras.layers.Dense(3),
        keras.layers.Softmax(),
    ),
    "kept axes": lambda: (
        POOL(keepdims=True),
        keras.layers.Dropout(0.5),
        keras.layers.Flatten(),
        keras.layers.Dense(3, activation="softmax"),
    ),
    "no bias": lambda: (
        POOL(),
        keras.layers.Dense(3, "softmax", use_bias=False),
    ),
    "sigmoid": lambda: (POOL(), keras.layers.Dense(3, "sigmoid")),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_head_is_found_however_it_is_written(name):
    network = _make_chain(*HEADS[name]())
    images, classes = IMAGES[:, :8, :8], np.array([[0, 1, 2]] * 3)
    exact, _, found = activation_maps.ExactMaps(network)(
        images, lambda _: classes
    )
    dense = activation_maps.find_head(network).dense
    bias = 0 if dense.bias is None else dense.bias.numpy()
    logits = keras.ops.convert_to_tensor(exact.mean((2, 3)) + bias)
    if name == "sigmoid":
        expected = keras.ops.sigmoid(logits)
    else:
        expected = keras.ops.softmax(logits)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    gradient = activation_maps.GradientMaps(network)
    assert gradient.layer == "features"
    positive, *_ = gradient(images, lambda _: classes)
    np.testing.assert_allclose(
        positive, np.maximum(exact, 0) / 64, atol=1e-5 * exact.max() / 64
    )


def test_features_of_half_precision_give_maps_in_float32():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        dense = keras.layers.Dense(3, "softmax", dtype="float32")
        network = _make_chain(POOL(), dense)
    finally:
        keras.config.set_dtype_policy(policy)
    images, classes = IMAGES[:, :8, :8] / 255, np.array([[0, 1, 2]] * 3)
    exact, _, found = activation_maps.ExactMaps(network)(
        images, lambda _: classes
    )
    assert exact.dtype == "float32"
    # The pooled features are rounded to 8 bits.
    logits = exact.mean((2, 3)) + dense.bias.numpy()
    np.testing.assert_allclose(np.log(found), _log_softmax(logits), atol=0.1)
    gradient = activation_maps.GradientMaps(network)
    positive, *_ = gradient(images, lambda _: classes)
    expected = np.maximum(exact, 0) / 64
    np.testing.assert_allclose(positive, expected, atol=0.02 * expected.max())


def test_a_nested_backbone_has_maps_if_its_pooling_is_outside(row):
    backbone = builder.build(
        row, include_top=False, input_shape=(SIZE, SIZE, 3), name="inner"
    )
    dense = keras.layers.Dense(CLASSES, "softmax")
    network = _spread(
        keras.Sequential(
            [keras.Input((SIZE, SIZE, 3)), backbone, POOL(), dense]
        )
    )
    exact, _, found = activation_maps.ExactMaps(network)(IMAGES, _everything)
    expected = _log_softmax(exact.mean((2, 3)) + dense.bias.numpy())
    np.testing.assert_allclose(np.log(found), expected, atol=1e-5)


def _make_vit():
    row = dataclasses.replace(
        baselines.VIT, depth=1 / 12, width=1 / 6, resolution=SIZE
    )
    return _build(row)


class SavedModel:
    """What a `Classifier` may have in place of a Keras network."""

    def predict_on_batch(self, images):
        return images


REFUSED = {
    "a vit": (_make_vit, r"dense layer follows .*GetItem.*'stem_conv'"),
    "max pooling": (
        lambda: _make_chain(
            keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(2)
        ),
        "GlobalMaxPooling2D.*Grad-CAM works: name a layer, such as 'features'",
    ),
    "two dense layers": (
        lambda: _make_chain(
            POOL(), keras.layers.Dense(2, name="one"), keras.layers.Dense(2)
        ),
        r"its dense layer follows one \(Dense\)",
    ),
    "all places in the dense layer": (
        lambda: _make_chain(keras.layers.Flatten(), keras.layers.Dense(2)),
        r"follows features \(Conv2D\)",
    ),
    "a convolution": (
        lambda: _make_chain(
            keras.layers.Conv2D(2, 1, name="end"), keras.layers.Reshape((128,))
        ),
        r"it ends in reshape\w* \(Reshape\)",
    ),
    "pooling inside": (
        lambda: keras.Sequential(
            [
                keras.Input((8, 8, 3)),
                keras.Sequential(
                    [keras.Input((8, 8, 3)), POOL()], name="inner"
                ),
                keras.layers.Dense(2),
            ],
            name="outer",
        ),
        r"outer has no .* follows inner \(Sequential\); no layer .* either",
    ),
    "no keras network": (
        SavedModel,
        "an exported file or another model is not; take a run or a .keras",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_networks_without_exact_maps_are_refused_with_what_to_do(name):
    make, message = REFUSED[name]
    network = make()
    for function in (
        activation_maps.ExactMaps,
        activation_maps.with_activation_map,
    ):
        with pytest.raises(ValueError, match=message):
            function(network)
    if name == "a vit":
        gradient = activation_maps.GradientMaps(network)
        found, *_ = gradient(IMAGES, _everything)
        assert gradient.layer == "stem_conv"
        assert found.shape == (3, CLASSES, 2, 2) and found.max() > 0


@pytest.mark.parametrize(
    "layer,message",
    [
        ("top_activatoin", "no layer.*from 'prep.*mean 'top_activation'"),
        ("predictions", "'predictions' has no map"),
        ("", "no layer ''"),
    ],
)
def test_an_unknown_layer_is_named_with_the_nearest(tiny, layer, message):
    with pytest.raises(ValueError, match=message):
        activation_maps.GradientMaps(tiny, layer)


def test_a_layer_without_gradients_is_named():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(2, 1)(inputs)
    beside = keras.layers.Conv2D(2, 1, name="beside")(inputs)
    x = keras.layers.Add()([x, keras.ops.stop_gradient(beside)])
    network = keras.Model(inputs, keras.layers.Dense(2)(POOL()(x)))
    gradient = activation_maps.GradientMaps(network, "beside")
    with pytest.raises(ValueError, match="^The layer 'beside' does not lead"):
        gradient(IMAGES[:, :8, :8], lambda _: np.zeros((3, 1), "int64"))


def test_outputs_that_are_no_numbers_are_an_error():
    dense = keras.layers.Dense(2)
    network = _make_chain(POOL(), dense)
    dense.set_weights([np.full_like(w, np.nan) for w in dense.get_weights()])
    for maps in (activation_maps.ExactMaps, activation_maps.GradientMaps):
        with pytest.raises(FloatingPointError, match="not finite"):
            maps(network)(IMAGES[:, :8, :8], _everything)
