"""Commands that compute nothing with Keras or TensorFlow do not load them."""

import dataclasses
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

import paths
import reported
from efficientnet_tf.deploy import formats, metadata, source
from efficientnet_tf.inference import classifier, settings

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("ai_edge_litert")

# What the command says -> its arguments, with the names of `places` in braces.
MISTAKES = {
    "Unknown model": (
        "train --model=efficientnet_b77 --workdir={new}",
        "finetune --model=efficientnet_b77 --task=digits --workdir={new}",
        "predict --model=efficientnet_b77 {photo}",
        "measure --model=efficientnet_b77",
        "convert --model=efficientnet_b77 --source=x --output={new}.weights.h5",
    ),
    "There is no": (
        "train --model=efficientnet_b0 --dataset=folder:{none} --workdir={new}",
        "finetune --task=folder:{none} --workdir={new}",
        "grid --tasks=folder:{none} --workdir={new}",
        "find-lr --task=folder:{none}",
        "predict --model=efficientnet_lite0 {none}",
        "predict --classifier={none} {photo}",
        "predict --workdir={none} {photo}",
        "explain --workdir={none} {photo}",
        "embed --workdir={none} --output={new}.npz {photo}",
        "neighbors --workdir={none} {photo}",
        "evaluate --workdir={none} --dataset=digits",
        "export --workdir={none} --output={new}",
        "share --workdir={none} --repo=anna/birds --license=mit",
        "demo --workdir={none} --output={new}",
        "serve --classifier={none}.onnx",
        "convert --model=efficientnet_b0 --source={none}.h5 "
        "--output={new}.weights.h5",
        "report --workdir={none}",
        "report --results={none}",
        "compare {run} {none}",
    ),
    "Unknown recipe": ("train --recipe=papr --workdir={new}",),
    "Unknown flag": ("serve --classifer={none}",),
}
WORK = (
    "report --workdir={run}",
    "report --results={run} --output={new}",
    "choose --max_params=1e7 --cache={new}/cache --output={new}.png",
    "explore --output={page}",
    "measure --models=all --table",
    "predict --classifier={file}.onnx {photo} --output={new}.csv",
    "predict --classifier={file}.tflite {photo}",
    "serve --classifier={file}.onnx --port=0",
    "serve --classifier={file}.tflite --port=0",
)


SIDE = 32


def write_litert(path):
    """Writes a network of one layer as a LiteRT file."""
    images = keras.Input((SIDE, SIDE, 3), name=metadata.INPUT)
    pooled = keras.layers.GlobalAveragePooling2D()(images)
    found = keras.layers.Dense(2, "softmax", name="predictions")(pooled)
    made = classifier.Classifier(
        keras.Model(images, found), ("a", "b"), SIDE, "bicubic", 0
    )
    prepared = dataclasses.replace(source.prepare(made), batch_size=1)
    formats.FORMATS["litert"].load_module().write(
        made, prepared, path, "float32"
    )


def write_onnx(path):
    """Writes a network whose answer is the strongest colour."""
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (
            (metadata.INPUT, ["N", SIDE, SIDE, 3]),
            (metadata.PROBABILITIES, ["N", 3]),
        )
    ]
    nodes = [
        onnx.helper.make_node(
            "ReduceMean", [metadata.INPUT], ["means"], axes=[1, 2], keepdims=0
        ),
        onnx.helper.make_node("Softmax", ["means"], [metadata.PROBABILITIES]),
    ]
    graph = onnx.helper.make_graph(nodes, "net", ends[:1], ends[1:])
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
    )
    names = settings.Settings(("red", "green", "blue"), SIDE, "bicubic", 0)
    text = metadata.to_text(names, "float32")
    onnx.helper.set_model_props(model, {metadata.KEY: text})
    onnx.save(model, path)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Arguments -> (exit code, frameworks, standard error) of all commands."""
    folder = tmp_path_factory.mktemp("cold")
    write_litert(folder / "file.tflite")
    write_onnx(folder / "file.onnx")
    labels = np.arange(12) % 3
    scores = reported.predict(labels, 3)
    reported.write_run(folder / "run", labels, scores, ("a", "b", "c"))
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), "uint8")
    Image.fromarray(pixels).save(folder / "photo.jpg")
    names = ("new", "none", "run", "file", "photo.jpg", "page.html")
    places = {name.split(".")[0]: str(folder / name) for name in names}
    commands = [*WORK, *(line for lines in MISTAKES.values() for line in lines)]
    lines = [line.format(**places).split() for line in commands]
    (folder / "commands.json").write_text(json.dumps(lines))
    program = paths.ROOT / "tests/support/cold_commands.py"
    subprocess.run(
        [sys.executable, program, folder / "commands.json", folder / "found"],
        env={**os.environ, "PYTHONPATH": str(paths.ROOT)},
        cwd=folder,
        check=True,
    )
    found = json.loads((folder / "found").read_text())
    return dict(zip(commands, found, strict=True))


@pytest.mark.parametrize("command", WORK)
def test_work_without_networks_of_keras_loads_no_framework(command, results):
    code, asked, stderr = results[command]
    assert (code, asked) == (0, []), stderr


@pytest.mark.parametrize(
    ("message", "command"),
    [(said, line) for said, lines in MISTAKES.items() for line in lines],
)
def test_mistakes_are_named_before_a_framework_is_loaded(
    message, command, results
):
    code, asked, stderr = results[command]
    assert code in (1, 2) and message in stderr, stderr
    assert stderr.count("\n") == 1
    assert asked == []
