"""One list of properties that hold for every network by name or file."""

import dataclasses
import json
import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

import efficientnet_tf
import paths
from efficientnet_tf.deploy import metadata, saved_model
from efficientnet_tf.inference import classifier
from efficientnet_tf.models import (
    builder,
    costs,
    fake_quantization,
    features,
    outputs,
    plan,
    profile,
    registry,
)
from efficientnet_tf.weights import loading

NAMES = registry.list_models()
# Of what these are made, the other rows are at other scales.
STRUCTURES = (
    "efficientnet_b0",
    "efficientnet_lite0",
    "efficientnet_v2_b0",
    "mobilenet_v1",
    "mobilenet_v2",
    "resnet50",
    "vit",
    "symmetric",  # B0 as PyTorch's libraries pad it.
)
# V2's larger rows differ from its B0 in numbers alone, which test_v2.py has.
BUILT = [
    pytest.param(name, marks=pytest.mark.slow)
    if "_v2_" in name and name not in STRUCTURES
    else name
    for name in (*NAMES, "symmetric")
]
SIZE, CLASSES = 32, 5


def shrink(name):
    """Returns the row at a scale that builds within a second."""
    padding = {}
    if name == "symmetric":
        name, padding = "efficientnet_b0", {"padding": name}
    row = registry.get_variant(name, **padding)
    return dataclasses.replace(
        row, width=0.25, depth=0.3 * row.depth, resolution=SIZE
    )


def make_images(count=3):
    pixels = np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3))
    return pixels.astype("float32")


def settle(network):
    """Gives batch normalization statistics that are not those of its start."""
    rng = np.random.default_rng(1)
    for weight in network.non_trainable_weights:
        if weight.name == "moving_mean":
            weight.assign(rng.normal(0, 0.1, weight.shape))
        elif weight.name == "moving_variance":
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return network


@pytest.fixture(scope="module")
def built():
    """{name: small network}, each built once."""
    return {
        name: settle(builder.build(shrink(name), classes=CLASSES))
        for name in STRUCTURES
    }


def test_the_structures_are_all_that_there_are():
    def structure(name):
        row = shrink(name)
        return {
            (stage.block, stage.se_ratio > 0) for stage in row.stages
        }, row.head

    known = [structure(name) for name in STRUCTURES]
    assert all(structure(name) in known for name in NAMES)
    assert set(builder.BLOCKS) == {b for s, _ in known for b, _ in s}


@pytest.mark.parametrize("name", BUILT)
def test_costs_counted_from_the_plan_equal_the_built_network(name):
    variant = shrink(name)
    network = builder.build(variant, classes=CLASSES)
    found = costs.count_costs(variant, classes=CLASSES)
    measured = profile.profile(network)
    for what in ("params", "multiply_adds", "activations"):
        assert getattr(found, what) == getattr(measured, what), what
    assert outputs.count_outputs(variant, classes=CLASSES) == measured.outputs
    trainable = sum(int(np.prod(w.shape)) for w in network.trainable_weights)
    assert found.params == trainable


@pytest.mark.parametrize("name", [*NAMES, "symmetric"])
def test_a_file_of_a_whole_variant_gives_it_back(name, tmp_path):
    variant = shrink(name)
    registry.write_file(tmp_path / "network.json", variant)
    assert registry.get_variant(tmp_path / "network.json") == variant


@pytest.mark.parametrize("name", BUILT)
def test_layers_are_named_after_the_plans_blocks(name):
    variant = shrink(name)
    blocks = {block.name for block in plan.plan_network(variant).blocks}
    names = [
        layer.name for layer in builder.build(variant, classes=CLASSES).layers
    ]
    found = {n.split("_")[0] for n in names if n.startswith("block")}
    assert found == blocks
    assert names[-1] == "predictions"


@pytest.mark.parametrize("name", STRUCTURES)
def test_it_gives_probabilities(name, built):
    found = built[name].predict(make_images(), verbose=0)
    assert found.shape == (3, CLASSES)
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-5)
    assert np.ptp(found, axis=0).max() > 0  # It looks at the image.


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_saved_network_loads(name, built, tmp_path):
    built[name].save(tmp_path / "network.keras")
    images = make_images()
    again = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_allclose(
        again.predict(images, verbose=0),
        built[name].predict(images, verbose=0),
        atol=1e-6,
    )


def test_importing_the_package_registers_its_layers(built, tmp_path):
    saved = [tmp_path / "network.keras", tmp_path / "quantized.keras"]
    built["vit"].save(saved[0])
    inputs = keras.Input((2,))
    outputs = fake_quantization.FakeQuant(0, 1)(inputs)
    keras.Model(inputs, outputs).save(saved[1])
    for first, second in (
        ("efficientnet_tf", "keras"),
        ("keras", "efficientnet_tf"),
    ):
        program = (
            f"import {first}\nimport {second}\nimport sys, keras\n"
            "[keras.models.load_model(path) for path in sys.argv[1:]]\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, *saved],
            cwd=paths.ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr


# A transformer's layers have weights that the file's reader has no names for.
@pytest.mark.parametrize("name", [n for n in STRUCTURES if n != "vit"])
def test_its_file_of_weights_loads_into_another(name, built, tmp_path):
    file = tmp_path / "own.weights.h5"
    loading.save(built[name], file)
    again = loading.build(shrink(name), weights=file, classes=CLASSES)
    images = make_images()
    np.testing.assert_allclose(
        again.predict(images, verbose=0),
        built[name].predict(images, verbose=0),
        atol=1e-6,
    )


@pytest.mark.parametrize("name", [n for n in STRUCTURES if n != "vit"])
def test_it_has_a_feature_map_at_each_stride(name, built):
    pyramid = features.feature_pyramid(built[name])
    sides = [pyramid.output[f"P{k}"].shape[1] for k in features.LEVELS]
    assert sides == [SIZE // 2**k for k in features.LEVELS]


@pytest.mark.parametrize("name", ["vit"])
def test_a_transformer_has_none_and_wants_a_fixed_size(name, built):
    with pytest.raises(ValueError, match="no feature map at each stride"):
        features.feature_pyramid(built[name])
    with pytest.raises(ValueError, match="needs a fixed image size"):
        efficientnet_tf.build(name, include_top=False)


@pytest.mark.parametrize("name", [n for n in STRUCTURES if n != "symmetric"])
def test_frozen_stages_train_nothing(name):
    network = builder.build(shrink(name), classes=CLASSES)
    features.freeze_stages(network, 1)
    trained = {w.path.split("/")[-2] for w in network.trainable_weights}
    assert not any(n.startswith(("stem_", "block1")) for n in trained)
    assert "predictions" in trained


@pytest.mark.parametrize("name", [n for n in STRUCTURES if n != "symmetric"])
def test_its_export_agrees_with_it(name, built, tmp_path):
    names = tuple(f"class {i}" for i in range(CLASSES))
    whole = classifier.Classifier(built[name], names, SIZE, "bilinear", 0)
    difference = saved_model.export_saved_model(whole, tmp_path / "export")
    assert difference <= saved_model.TOLERANCE
    serve = tf.saved_model.load(tmp_path / "export").signatures
    answer = serve[metadata.TENSOR_SIGNATURE](images=make_images())
    assert [n.decode() for n in answer["class_names"].numpy()] == list(names)


JAX_PROGRAM = textwrap.dedent(
    """
    import json, sys

    class NotInstalled:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == "tensorflow":
                raise ModuleNotFoundError(f"No module named {name!r}")

    sys.meta_path.insert(0, NotInstalled())

    import numpy as np
    from efficientnet_tf.models import builder, registry

    folder, *names = sys.argv[1:]
    images = np.load(f"{folder}/images.npy")
    for name in names:
        network = builder.build(
            registry.get_variant(f"{folder}/{name}.json"), classes=5
        )
        network.load_weights(f"{folder}/{name}.weights.h5")
        found = network.predict(images, verbose=0)
        np.save(f"{folder}/{name}.npy", found)
    print(json.dumps("tensorflow" in sys.modules))
    """
)


@pytest.mark.slow  # test_backends.py has the family.
def test_jax_predicts_the_same_where_tensorflow_is_missing(built, tmp_path):
    """The others; test_backends.py trains the family's under both."""
    pytest.importorskip("jax")
    names = ("efficientnet_v2_b0", "mobilenet_v1", "vit", "symmetric")
    built = {name: built[name] for name in names}
    images = make_images()
    np.save(tmp_path / "images.npy", images)
    for name, network in built.items():
        registry.write_file(tmp_path / f"{name}.json", shrink(name))
        network.save_weights(tmp_path / f"{name}.weights.h5")
    done = subprocess.run(
        [sys.executable, "-c", JAX_PROGRAM, tmp_path, *built],
        cwd=paths.ROOT,
        env=os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) is False
    for name, network in built.items():
        np.testing.assert_allclose(
            np.load(tmp_path / f"{name}.npy"),
            network.predict(images, verbose=0),
            atol=1e-5,
            err_msg=name,
        )
