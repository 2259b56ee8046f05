"""Commands that compute nothing with Keras or TensorFlow do not load them."""

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
from efficientnet_tf.deploy import formats, source
from efficientnet_tf.inference import classifier

# What the command says -> its arguments, with the names of `places` in braces.
MISTAKES = {
    "Unknown model": (
        "train --model=efficientnet_b77 --workdir={new}",
        "finetune --model=efficientnet_b77 --task=digits --workdir={new}",
        "predict --model=efficientnet_b77 {photo}",
        "measure --model=efficientnet_b77",
        "convert --model=efficientnet_b77 --source=imagenet --output=a.h5",
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
        "share --workdir={none} --repository=anna/birds",
        "demo --workdir={none} --output={new}",
        "serve --classifier={none}.onnx",
        "convert --model=efficientnet_b0 --source={none}.h5 "
        "--output={new}.weights.h5",
        "report --workdir={none}",
        "report --results={none}",
        "compare {none} {none}",
        "explore --output={none}/page.html",
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


def write_files(folder):
    """Writes exported files of a network of one layer."""
    images = keras.Input((32, 32, 3), name="images")
    pooled = keras.layers.GlobalAveragePooling2D()(images / 255)
    found = keras.layers.Dense(2, "softmax", name="predictions")(pooled)
    network = keras.Model(images, found)
    names = ("a", "b")
    made = classifier.Classifier(network, names, 32, "bicubic", 0)
    for name in ("litert", "onnx"):
        row = formats.FORMATS[name]
        prepared = source.prepare(made)
        prepared = source.dataclasses.replace(
            prepared, batch_size=row.batch_size
        )
        path = folder / f"file{row.suffix}"
        row.load_module().write(made, prepared, path, "float32")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Arguments -> (exit code, frameworks, standard error) of all commands."""
    pytest.importorskip("ai_edge_litert")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    folder = tmp_path_factory.mktemp("cold")
    write_files(folder)
    reported.write_run(folder / "run")
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
