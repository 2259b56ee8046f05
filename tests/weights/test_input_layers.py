"""What a Keras model does to pixels, however the network is nested in it.

The network is a stem convolution after its own rescaling: all that counts.
"""

import dataclasses

import keras
import numpy as np
import pytest

from efficientnet_tf.models import variants
from efficientnet_tf.weights import input_layers, readers

SIZE = 8
layers = keras.layers
ADVPROP = variants.NORMALIZATIONS["advprop"]
IMAGENET = variants.NORMALIZATIONS["imagenet"]

# Keras itself advises against .h5.
pytestmark = pytest.mark.filterwarnings("ignore:.*HDF5 file:UserWarning")


@keras.saving.register_keras_serializable("test")
class Blur(layers.Layer):
    def call(self, x):
        return x

    def compute_output_shape(self, shape):
        return shape


@keras.saving.register_keras_serializable("test")
class Rescaling(Blur):
    """Not Keras's."""

    def get_config(self):
        return super().get_config() | {"scale": 2.0, "offset": 3.0}


@keras.saving.register_keras_serializable("test")
class Bare(keras.Model):
    """A class whose config does not hold the network that it holds."""

    def __init__(self, network=None, **options):
        super().__init__(**options)
        self.network = network or make_network()

    def call(self, x):
        return self.network(x)


@keras.saving.register_keras_serializable("test")
class Telling(Bare):
    def get_config(self):
        inner = keras.saving.serialize_keras_object(self.network)
        return super().get_config() | {"parts": {"network": [inner]}}


def make_network(*before, name="net"):
    before = before or (layers.Rescaling(1 / 127.5, -1.0),)
    stem = layers.Conv2D(4, 3, name="stem_conv")
    return keras.Sequential([make_input(), *before, stem], name=name)


def make_input(*frames):
    return keras.Input((*frames, SIZE, SIZE, 3))


def chain(*parts, frames=()):
    x = inputs = make_input(*frames)
    for part in parts:
        x = part(x)
    return keras.Model(inputs, x)


def stack(*parts):
    return keras.Sequential([make_input(), *parts])


def make_statistics(name="normalization"):
    """A layer with ImageNet's, of pixels from 0 to 1."""
    statistics = layers.Normalization(name=name)
    statistics.build((None, SIZE, SIZE, 3))
    mean, std = (np.divide(v, 255) for v in (IMAGENET.mean, IMAGENET.std))
    statistics.load_own_variables({"0": mean, "1": std**2, "2": np.array(0)})
    statistics.finalize_state()
    return statistics


def use_keras_layers():
    """keras.applications' layers, without the second Rescaling."""
    return make_network(layers.Rescaling(1 / 255.0), make_statistics())


def halve():
    return layers.Rescaling(0.5, name="halve")


def join_rescaled():
    inputs = make_input()
    parts = [layers.Rescaling(s, name=f"by{i}") for i, s in enumerate((1, 9))]
    joined = layers.Concatenate(axis=1, name="join")([p(inputs) for p in parts])
    return keras.Model(inputs, make_network()(joined[:, :SIZE]))


def join_grey():
    inputs = keras.Input((SIZE, SIZE, 1))
    return keras.Model(
        inputs, make_network()(layers.Concatenate()([inputs] * 3))
    )


def make_flat(*before):
    x = inputs = make_input()
    for layer in (*before, *make_network().layers):
        x = layer(x)
    return keras.Model(inputs, x)


def flip_channels():
    inputs = make_input()
    return keras.Model(inputs, make_network()(inputs[..., ::-1]))


HALF = variants.Normalization((0.0,) * 3, (2.0,) * 3)
HALVED = variants.Normalization((255.0,) * 3, (255.0,) * 3)
HALVED_IMAGENET = variants.Normalization(
    *(tuple(2 * v for v in row) for row in dataclasses.astuple(IMAGENET))
)
BLUR = "the layer blur (Blur) before the network"

# What makes the model, its normalization and what the line says.
CASES = {
    # Known, however nested.
    "pipeline": (
        lambda: stack(
            layers.Pipeline([layers.RandomFlip(), halve()]), make_network()
        ),
        HALVED,
        "",
    ),
    "pipeline in a function": (
        lambda: chain(layers.Pipeline([layers.RandomFlip()]), make_network()),
        ADVPROP,
        "",
    ),
    "the network in a pipeline": (
        lambda: chain(layers.Pipeline([halve(), make_network()])),
        HALVED,
        "",
    ),
    "frames": (
        lambda: chain(layers.TimeDistributed(make_network()), frames=(2,)),
        ADVPROP,
        "",
    ),
    "frames of models": (
        lambda: chain(
            layers.TimeDistributed(stack(layers.RandomZoom(0.1))),
            layers.TimeDistributed(chain(halve(), make_network())),
            frames=(2,),
        ),
        HALVED,
        "",
    ),
    "rescaled frames": (
        lambda: chain(
            layers.TimeDistributed(halve()),
            layers.TimeDistributed(use_keras_layers()),
            frames=(2,),
        ),
        HALVED_IMAGENET,
        "",
    ),
    "inverse": (
        lambda: chain(
            layers.Normalization(mean=0.0, variance=0.25, invert=True),
            make_network(),
        ),
        HALVED,
        "",
    ),
    "statistics of the same name": (
        lambda: chain(
            layers.Normalization(
                name="normalization", mean=[0.0] * 3, variance=[4.0] * 3
            ),
            make_network(),
        ),
        HALVED,
        "",
    ),
    "grey": (join_grey, ADVPROP, ""),
    # Others are left out, and the network's own are kept.
    "custom": (lambda: chain(Blur(name="blur"), make_network()), ADVPROP, BLUR),
    "custom in a stack": (
        lambda: stack(stack(Blur(name="blur")), halve(), make_network()),
        HALVED,
        BLUR,
    ),
    "flat": (lambda: make_flat(Blur(name="blur")), ADVPROP, BLUR),
    "lambda": (
        lambda: chain(layers.Lambda(lambda x: x, name="f"), make_network()),
        ADVPROP,
        "the layer f (Lambda) before",
    ),
    "slice": (flip_channels, ADVPROP, "(GetItem) before"),
    "two": (
        lambda: chain(
            Blur(name="a"), layers.LayerNormalization(name="b"), make_network()
        ),
        ADVPROP,
        "the layers a (Blur), b (LayerNormalization) before",
    ),
    "called as a known one": (
        lambda: chain(Rescaling(name="trap"), make_network()),
        ADVPROP,
        "the layer trap (Rescaling) before",
    ),
    "branches": (join_rescaled, ADVPROP, "join (Concatenate)"),
    "custom frames": (
        lambda: chain(
            layers.TimeDistributed(Blur(name="blur")),
            layers.TimeDistributed(make_network()),
            frames=(2,),
        ),
        ADVPROP,
        BLUR,
    ),
    # Classes of the user's around the network.
    "telling class": (
        lambda: Telling(name="outer"),
        ADVPROP,
        "outer (Telling)",
    ),
    "telling class within": (
        lambda: chain(halve(), Telling(name="outer")),
        HALVED,
        "outer (Telling)",
    ),
    "bare class": (
        lambda: Bare(use_keras_layers()),
        IMAGENET,
        "the layer without a name (Bare)",
    ),
    "bare class within": (
        lambda: chain(halve(), Bare(use_keras_layers(), name="outer")),
        HALVED_IMAGENET,
        "outer (Bare)",
    ),
    "bare class of ours": (
        lambda: chain(halve(), Bare(name="outer")),
        None,
        "left out the layer halve (Rescaling) before the stem: the network's "
        "own is not in the file",
    ),
    # It must have divided by 255.
    "lambda that rescales": (
        lambda: chain(
            layers.Lambda(lambda x: x / 255, name="f"),
            make_network(make_statistics("scale")),
        ),
        None,
        "f (Lambda) before the network, as if pixels passed unchanged: what "
        "happens to them there is not known here; left out the layer scale "
        "(Normalization) before the stem: that alone would take pixels to "
        "1,1",
    ),
    "nothing": (lambda: make_network(layers.RandomFlip()), None, ""),
}


def find(model, path, caplog):
    if not model.built:
        model(np.zeros((1, SIZE, SIZE, 3)))
    model.save(path)
    tensors = readers.read(path)
    (kernel,) = [x for x in tensors.arrays if x.endswith("stem_conv/kernel")]
    place = kernel.removesuffix("stem_conv/kernel").removesuffix("/")
    caplog.clear()
    found = input_layers.find_normalization(tensors, place, path)
    return found, [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("case", CASES)
def test_what_a_model_does_to_pixels_is_read(tmp_path, caplog, case):
    make, wanted, message = CASES[case]
    found, lines = find(make(), tmp_path / "x.keras", caplog)
    if wanted is None:
        assert found is None
    else:
        np.testing.assert_allclose(
            (found.mean, found.std), (wanted.mean, wanted.std), rtol=1e-5
        )
    assert len(lines) == bool(message)
    assert message in "".join(lines)


def test_of_several_networks_the_one_that_is_taken_counts(tmp_path, caplog):
    inputs = make_input()
    other = make_network(halve(), name="other")
    model = keras.Model(inputs, [other(inputs), make_network()(inputs)])
    for file in ("x.keras", "x.h5"):
        model.save(tmp_path / file)
        tensors = readers.read(tmp_path / file)
        for place, wanted in (("net", ADVPROP), ("other", HALF)):
            found = input_layers.find_normalization(tensors, place, file)
            np.testing.assert_allclose(
                (found.mean, found.std), (wanted.mean, wanted.std), rtol=1e-5
            )
    assert "left out" not in caplog.text
    # Of a class that does not tell, not its neighbour's.
    hidden = Bare(make_network(halve(), name="hidden"), name="b")
    model = keras.Model(inputs, [hidden(inputs), make_network()(inputs)])
    model.save(tmp_path / "x.keras")
    tensors = readers.read(tmp_path / "x.keras")
    assert "b/hidden/stem_conv/kernel" in tensors.arrays
    found = input_layers.find_normalization(tensors, "b/hidden", "x")
    assert found is None and "left out the layer b (Bare)" in caplog.text


def test_tf_keras_nests_in_the_same_way():
    def layer(kind, name, config, *sources):
        nodes = [[[source, 0, 0, {}] for source in sources]] if sources else []
        config = {"name": name, **config}
        return {
            "class_name": kind,
            "name": name,
            "config": config,
            "inbound_nodes": nodes,
        }

    def model(name, *parts):
        return {
            "name": name,
            "layers": list(parts),
            "input_layers": [[parts[0]["name"], 0, 0]],
            "output_layers": [[parts[-1]["name"], 0, 0]],
        }

    net = model(
        "net",
        layer("InputLayer", "in", {}),
        layer("TFOpLambda", "tf.cast", {"function": "cast"}, "in"),
        layer("Rescaling", "r", {"scale": 1 / 127.5, "offset": -1}, "tf.cast"),
        layer("Conv2D", "stem_conv", {}, "r"),
    )
    inner = {"class_name": "Functional", "config": net}
    frames = layer("TimeDistributed", "frames", {"layer": inner}, "a")
    half = layer("Rescaling", "a", {"scale": 0.5, "offset": 0.0}, "video")
    outer = model("outer", layer("InputLayer", "video", {}), half, frames)
    tensors = readers.Tensors(
        "keras", {}, config={"class_name": "Model", "config": outer}
    )
    # A layer's models in an .h5 are those that it was built in.
    for place in ("frames/net", "net", "frames", "elsewhere"):
        found = input_layers.find_normalization(tensors, place, "x.h5")
        assert found == HALVED
