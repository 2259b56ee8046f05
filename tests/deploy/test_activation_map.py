"""Exported files whose second output is the activation map."""

import dataclasses

import numpy as np
import pytest

import samples
from efficientnet_tf.deploy import converters, formats, plan, source
from efficientnet_tf.inference import activation_maps

for package in ("ai_edge_litert", "onnxruntime", "openvino", "tf2onnx", "nncf"):
    pytest.importorskip(package)

IMAGES = 12


@pytest.fixture(scope="module")
def images():
    return samples.make_images(IMAGES)


@pytest.fixture(scope="module")
def original(images):
    return samples.make_classifier(images)


@pytest.fixture(scope="module")
def made(original, images):
    return source.prepare(original, images, activation_map=True)


def run_litert(path, image):
    from ai_edge_litert import interpreter

    found = interpreter.Interpreter(str(path))
    return found.get_signature_runner("serving_default")(images=image)


def run_onnx(path, image):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": image}), strict=True))


# Where a CPU has bfloat16, that is the default.
EXACT = {"INFERENCE_PRECISION_HINT": "f32"}


def run_openvino(path, image):
    import openvino

    found = openvino.Core().compile_model(path, "CPU", EXACT)
    return {port.any_name: value for port, value in found(image).items()}


RUNS = {"litert": run_litert, "onnx": run_onnx, "openvino": run_openvino}


@pytest.mark.parametrize(
    ("name", "precision", "tolerance"),
    [
        *((name, "float32", 1e-4) for name in RUNS),
        ("litert", "int8", 3.0),
    ],
)
def test_files_give_both_outputs_and_predict_as_before(
    tmp_path, original, made, images, name, precision, tolerance
):
    row = formats.FORMATS[name]
    path = tmp_path / f"{precision}{row.suffix}"
    batch = 1 if name == "litert" else None
    module = row.load_module()
    taken = dataclasses.replace(made, batch_size=batch)
    with converters.silent():
        module.write(original, taken, path, precision)
    both = activation_maps.with_activation_map(original.model)
    expected = both.predict_on_batch(images[:1])
    found = RUNS[name](path, images[:1])
    assert sorted(found) == ["activation_map", "probabilities"]
    maps, wanted = found["activation_map"], expected["activation_map"]
    assert maps.shape == wanted.shape and maps.dtype == np.float32
    assert wanted.std() > 5  # Of an even map nothing could be wrong.
    assert np.abs(maps - wanted).max() <= tolerance
    # The classifier of the file takes the probabilities, not the map.
    probabilities = module.load(path).model.predict_on_batch(images)
    assert probabilities.shape == (IMAGES, len(samples.CLASS_NAMES))
    difference = np.abs(probabilities - original.model.predict_on_batch(images))
    assert difference.max() <= min(tolerance, 0.3)


def test_a_plan_refuses_formats_that_have_no_place_for_it(tmp_path):
    made = plan.make_plan(
        tmp_path, ["onnx", "litert", "triton"], ["float32"], activation_map=True
    )
    assert made.activation_map
    for name in ("saved_model", "keras", "tf_serving"):
        with pytest.raises(ValueError, match=f"{name} has no activation map"):
            plan.make_plan(
                tmp_path, ["onnx", name], ["float32"], activation_map=True
            )
    assert not plan.make_plan(tmp_path, ["keras"], ["float32"]).activation_map


def test_a_head_without_a_map_is_refused_where_one_is_asked_for():
    import keras

    inputs = keras.Input((32, 32, 3))
    flat = keras.layers.Flatten()(inputs)
    outputs = keras.layers.Dense(4, activation="softmax")(flat)
    network = keras.Model(inputs, outputs)
    original = samples.make_classifier(samples.make_images(2))
    original = dataclasses.replace(original, model=network)
    assert len(source.prepare(original).network.outputs) == 1
    with pytest.raises(ValueError, match="has no exact activation map"):
        source.prepare(original, activation_map=True)
