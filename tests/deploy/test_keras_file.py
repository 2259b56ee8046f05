"""Files of Keras's own layers, loaded where this package cannot be imported."""

import dataclasses
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import paths
from efficientnet_tf.deploy import keras_file
from efficientnet_tf.inference import classifier
from efficientnet_tf.models import baselines, builder

SIZE = 32

# Another process: first without the package, then, for the file with our own
# layers, with no more than its import, and after Keras's.
READER = """
import sys
import numpy as np


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "efficientnet_tf":
            raise ImportError("blocked")


sys.meta_path.insert(0, Blocker())
import keras

folder, *names = sys.argv[1:]
images = np.load(folder + "/images.npy")


def call(file):
    return np.asarray(keras.models.load_model(file)(images, training=False))


found = {name: call(f"{folder}/{name}.keras") for name in names}
assert "efficientnet_tf" not in sys.modules
sys.meta_path.pop(0)
import efficientnet_tf

found["own"] = call(folder + "/own.keras")
np.savez(folder + "/found.npz", **found)
"""


@pytest.fixture(scope="module")
def networks(tiny_row):
    """With every layer of ours, and outputs that tell images apart."""
    rows = {
        "tiny": tiny_row,
        "vit": dataclasses.replace(
            baselines.VIT, depth=1 / 12, width=1 / 6, resolution=SIZE
        ),
    }
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    networks = {}
    for name, row in rows.items():
        network = builder.build(row, classes=3, input_shape=(SIZE, SIZE, 3))
        for variable in network.trainable_variables:
            noise = rng.normal(0, 0.1, variable.shape)
            variable.assign_add(noise.astype("float32"))
        networks[name] = network
    return networks


def make_classifier(network):
    return classifier.Classifier(network, ("a", "b", "c"), SIZE, "bilinear", 4)


def test_a_file_loads_without_the_package_and_ours_with_its_import(
    networks, tmp_path
):
    images = np.random.default_rng(1).uniform(0, 255, (2, SIZE, SIZE, 3))
    np.save(tmp_path / "images.npy", images)
    for name, network in networks.items():
        path = tmp_path / f"{name}.keras"
        difference = keras_file.export_keras(make_classifier(network), path)
        assert difference <= 1e-5
    networks["tiny"].save(tmp_path / "own.keras")
    subprocess.run(
        [sys.executable, "-c", READER, str(tmp_path), *networks],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(paths.ROOT)},
        stderr=subprocess.DEVNULL,
    )
    found = np.load(tmp_path / "found.npz")
    for name in (*networks, "own"):
        network = networks["tiny" if name == "own" else name]
        wanted = np.asarray(network(images, training=False))
        assert np.abs(wanted[0] - wanted[1]).max() > 0.01, name
        np.testing.assert_allclose(found[name], wanted, atol=1e-5)


def test_layers_keep_their_names_and_weights(networks):
    ours = networks["tiny"]
    theirs = keras_file.to_keras_layers(ours)
    assert [x.name for x in theirs.layers] == [x.name for x in ours.layers]
    assert {type(x).__module__.split(".")[0] for x in theirs.layers} == {
        "keras"
    }
    for mine, other in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_array_equal(mine, other)


@keras.saving.register_keras_serializable(package="efficientnet_tf")
class Unknown(keras.layers.Identity):
    """A layer of this package that the export knows nothing of."""


def test_a_layer_that_is_not_replaced_is_named(tmp_path):
    inputs = keras.Input((SIZE, SIZE, 3))
    network = keras.Model(inputs, Unknown()(inputs))
    with pytest.raises(RuntimeError, match="has Unknown of efficientnet_tf"):
        keras_file.export_keras(make_classifier(network), tmp_path / "x.keras")
    assert os.listdir(tmp_path) == []


def test_a_file_that_differs_is_not_left_behind(
    networks, tmp_path, monkeypatch
):
    untrained = keras.models.clone_model(
        keras_file.to_keras_layers(networks["tiny"])
    )
    monkeypatch.setattr(keras_file, "to_keras_layers", lambda _: untrained)
    with pytest.raises(RuntimeError, match="differs .* more than 1e-05"):
        keras_file.export_keras(
            make_classifier(networks["tiny"]), tmp_path / "x.keras"
        )
    assert os.listdir(tmp_path) == []


def test_the_file_must_end_in_keras(networks, tmp_path):
    with pytest.raises(ValueError, match="must be a file that ends in '.keras"):
        keras_file.export_keras(
            make_classifier(networks["tiny"]), tmp_path / "x.h5"
        )
