"""Files of early versions, with other layer names, still load.

tests/legacy was written by the last version with those names.
"""

import pathlib
import shutil

import keras
import numpy as np
import pytest

import efficientnet_tf
import paths
from efficientnet_tf.inference import classifier
from efficientnet_tf.weights import former_names, loading

LEGACY = paths.ROOT / "tests" / "legacy"

NAMES = [
    ("block1_1_depthwise_conv", "block1a_dwconv"),
    ("block1_1_depthwise_bn", "block1a_bn"),
    ("block4_3_depthwise_activation", "block4c_activation"),
    ("block2_1_expand_conv", "block2a_expand_conv"),
    ("block6_27_se_reduce", "block6aa_se_reduce"),
    ("block7_1_add", "block7a_add"),
    ("head_conv", "top_conv"),
    ("head_activation", "top_activation"),
    ("head_norm", "head_norm"),
    ("stem_conv", "stem_conv"),
    ("block1a_dwconv", "block1a_dwconv"),
    ("predictions", "predictions"),
]


@pytest.mark.parametrize(("old", "new"), NAMES)
def test_a_layer_has_one_present_name(old, new):
    assert former_names.current_name(old) == new


def load_outputs(name):
    """Returns images, and what the old network made of them."""
    arrays = np.load(LEGACY / f"{name}_outputs.npz")
    return arrays["images"], arrays["outputs"]


def check(network, images, outputs):
    names = {layer.name for layer in network.layers}
    assert {"top_conv", "block1a_dwconv"} <= names
    assert not {"head_conv", "block1_1_depthwise_conv"} & names
    found = network.predict(images, verbose=0)
    np.testing.assert_allclose(found, outputs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("file", ["b0.keras", "lite0.weights.h5"])
def test_old_weights_load_and_one_line_says_so(file, caplog):
    name = file.split(".")[0]
    with caplog.at_level("INFO", logger="absl"):
        network = loading.build(
            LEGACY / f"{name}.json", weights=LEGACY / file, classes=3
        )
    lines = [r.message for r in caplog.records if "renamed" in r.message]
    assert len(lines) == 1 and file in lines[0]
    check(network, *load_outputs(name))


def test_an_old_network_is_rebuilt_with_the_present_names(caplog):
    with caplog.at_level("INFO", logger="absl"):
        network = former_names.load_network(LEGACY / "b0.keras")
    assert sum("renamed" in r.message for r in caplog.records) == 1
    check(network, *load_outputs("b0"))


def test_keras_alone_loads_an_old_network_as_it_was():
    file = LEGACY / "b0.keras"
    network = keras.models.load_model(file, compile=False)
    assert network.get_layer("block1_1_depthwise_conv") is not None
    images, outputs = load_outputs("b0")
    found = network.predict(images, verbose=0)
    np.testing.assert_allclose(found, outputs, rtol=1e-5, atol=1e-6)


def test_an_old_run_is_a_classifier(tmp_path):
    shutil.copytree(LEGACY / "run", tmp_path / "run")
    shutil.copy(LEGACY / "b0.keras", tmp_path / "run" / "model.keras")
    settings = tmp_path / "run" / "classifier.json"
    text = settings.read_text().replace('"resolution": 64', '"resolution": 32')
    text = text.replace('"b"', '"b", "c"')
    settings.write_text(text)
    run = classifier.from_run(tmp_path / "run")
    assert run.class_names == ("a", "b", "c") and run.resolution == 32
    assert run.model.get_layer("top_conv") is not None


def test_new_files_are_loaded_without_a_word(tmp_path, caplog):
    network = efficientnet_tf.build(LEGACY / "b0.json", classes=3)
    path = pathlib.Path(tmp_path, "new.keras")
    network.save(path)
    with caplog.at_level("INFO", logger="absl"):
        again = former_names.load_network(path)
    assert not [r for r in caplog.records if "renamed" in r.message]
    assert [x.name for x in again.layers] == [x.name for x in network.layers]
