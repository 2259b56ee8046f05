"""Networks with fake quantization as int8 files, equal to a step."""

import dataclasses

import keras
import numpy as np
import pytest

import samples
from efficientnet_tf.deploy import (
    converters,
    export,
    formats,
    litert,
    plan,
    runtimes,
    scorecard,
    source,
)
from efficientnet_tf.inference import classifier
from efficientnet_tf.models import folding, quantization, variants

pytest.importorskip("ai_edge_litert")
sklearn_datasets = pytest.importorskip("sklearn.datasets")

SIZE = 32
STEP = 1 / 256  # Of probabilities.
NAMES = tuple("0123456789")
ROWS = {
    # Swish, squeeze-and-excitation, a shortcut, and padding before strides.
    "b0": dataclasses.replace(
        samples.make_tiny_row(variants), padding="symmetric"
    ),
    "lite": dataclasses.replace(
        variants.VARIANTS["efficientnet_lite0"],
        width=0.25,
        stages=variants.LITE_STAGES[:2],
        head_filters=64,
        resolution=SIZE,
    ),
}


@pytest.fixture(scope="module")
def images():
    """Photographs of handwriting, [60, SIZE, SIZE, 3], and what they show."""
    pixels, labels = sklearn_datasets.load_digits(return_X_y=True)
    pixels = pixels[:60].reshape(-1, 8, 8, 1).astype("float32") * (255 / 16)
    large = keras.ops.image.resize(pixels, (SIZE, SIZE), "bilinear")
    return np.repeat(np.asarray(large), 3, axis=3), labels[:60]


def make_quantized(name, images, seed=0):
    keras.utils.set_random_seed(seed)
    network = samples.make_trained_network(ROWS[name], classes=10, size=SIZE)
    # Statistics of these images, so that values use their ranges.
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    network(images, training=True)
    # Logits about 0 and of such a size that one of their steps moves no
    # probability by more than one of its own.
    head = network.get_layer("predictions")
    kernel = head.kernel - keras.ops.mean(head.kernel, axis=1, keepdims=True)
    head.kernel.assign(kernel)
    features = keras.Model(network.inputs[0], head.input)(images)
    logits = np.asarray(features) @ np.asarray(kernel)
    scale = 0.5 / logits.std(0).mean()
    head.kernel.assign(scale * kernel)
    head.bias.assign(-scale * logits.mean(0))
    folded = folding.fold(network)
    ranges = quantization.calibrate(folded, [images[:20]])
    quantized = quantization.quantize(folded, ranges)
    return classifier.Classifier(quantized, NAMES, SIZE, "bilinear", 0)


@pytest.fixture(scope="module")
def made(images):
    return {name: make_quantized(name, images[0]) for name in ROWS}


@pytest.fixture(scope="module")
def exported(made, images, tmp_path_factory):
    """{name: file}, without calibration images."""
    files = {}
    for name, original in made.items():
        files[name] = tmp_path_factory.mktemp(name) / "int8.tflite"
        prepared = dataclasses.replace(source.prepare(original), batch_size=1)
        with converters.silent():
            litert.write(original, prepared, files[name], "int8")
    return files


@pytest.mark.parametrize("name", ROWS)
def test_a_file_equals_the_network_to_one_step(name, exported, made, images):
    expected = np.asarray(made[name].model(images[0]))
    assert np.ptp(expected, axis=0).max() > 0.1  # It tells images apart.
    found = runtimes.load_classifier(exported[name])
    assert found.settings == made[name].settings
    probabilities = found.model.predict_on_batch(images[0])
    assert np.abs(probabilities - expected).max() <= 1.01 * STEP


@pytest.mark.parametrize("name", ROWS)
def test_no_operation_of_a_file_is_on_floats(name, exported):
    assert litert.list_float_operations(exported[name]) == []


def test_operations_on_floats_would_be_found(made, tmp_path):
    inputs = keras.Input((4, 4, 3))
    network = keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs))
    network.export(tmp_path / "f.tflite", format="litert", verbose=False)
    found = litert.list_float_operations(tmp_path / "f.tflite")
    assert "CONV_2D" in found


REFUSED = [
    (name, precision)
    for name, row in formats.FORMATS.items()
    for precision in row.precisions
    if precision not in row.quantized
]


@pytest.mark.parametrize("name,precision", REFUSED)
def test_what_cannot_hold_it_is_refused_before_work(
    name, precision, made, tmp_path
):
    wanted = plan.make_plan(tmp_path / "out", [name], [precision])
    with pytest.raises(ValueError) as caught:
        export.export(made["lite"], wanted, calibration=[np.zeros(1)])
    assert f"{name} in {precision} cannot hold" in str(caught.value)
    assert "saved_model in float32, litert in int8" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_map_of_it_is_refused(made, tmp_path):
    wanted = plan.make_plan(
        tmp_path / "a.tflite", ["litert"], ["int8"], activation_map=True
    )
    with pytest.raises(ValueError, match="has no activation map"):
        export.export(made["lite"], wanted)


@pytest.mark.slow
def test_an_export_needs_no_images_to_calibrate_with(made, images, tmp_path):
    for name, precision in (("litert", "int8"), ("saved_model", "float32")):
        rows = export.export(
            made["lite"],
            plan.make_plan(tmp_path / f"{name}.tflite", [name], [precision]),
            held=scorecard.Held([images], range(10)),
            max_loss=100,
        )
        assert rows[1]["max_difference"] <= 1.01 * STEP
        assert rows[1]["images"] == len(images[0])
