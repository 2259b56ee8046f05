r"""What int8 loses, and what wins it back: scales, presets, parts in float.

python benchmarks/int8.py --networks=RUN,efficientnet_lite0 \
    --dataset=imagenet2012 --data_dir=DIR

Each network is written in int8 by every format and in every way of `WAYS` that
it has parts for, scored in one pass over held-out images (a run's own; those of
--dataset for networks with published weights), and timed in turn in one
process. Loss is beside the float32 Keras network, on the same images.
"""

import dataclasses
import json
import pathlib
import tempfile

import runtimes
from absl import app, flags

from efficientnet_tf.deploy import (
    calibration,
    converters,
    formats,
    int8,
    scorecard,
    source as source_lib,
)
from efficientnet_tf.utils import processor

IMAGES = flags.DEFINE_integer("calibration_images", 200, "How many.", 1)
FORMATS = flags.DEFINE_list("formats", ["litert", "onnx", "openvino"], "Which.")

# nncf leaves the gates in float by itself.
WAYS = {
    "by channel": int8.Int8(keep_float=()),
    "by tensor": int8.Int8(weights="tensor", keep_float=()),
    "mixed preset": int8.Int8(preset="mixed", keep_float=()),
    "first in float": int8.Int8(),
    "first and last in float": int8.Int8(keep_float=("first", "last")),
    "gates in float": int8.Int8(keep_float=("gates",)),
    "head in float": int8.Int8(keep_float=("head",)),
    "first, gates, head in float": int8.Int8(
        keep_float=("first", "gates", "head")
    ),
    "the same, mixed preset": int8.Int8(
        keep_float=("first", "gates", "head"), preset="mixed"
    ),
}


def main(_):
    result = {"benchmark": "int8", "processor": processor.name()}
    for name in runtimes.NETWORKS.value:
        with tempfile.TemporaryDirectory() as folder:
            rows = measure(name, pathlib.Path(folder))
        short = pathlib.Path(name).name
        print(f"{short}\n{scorecard.to_markdown(rows)}\n", flush=True)
        for row in rows:
            result[f"{short}, {row['file']}"] = {
                key: round(row[key], 4)
                for key in ("top1", "loss", "equal_predictions", "p50_ms")
            }
    print(json.dumps(result), flush=True)


def measure(name, folder):
    """Returns the rows of a network and of its int8 files."""
    classifier = runtimes.load(name)
    found = runtimes.find_images(name)
    if found is None:
        raise app.UsageError(f"There are no images to score {name} on.")
    images = calibration.pick(
        found.trained_on, IMAGES.value, classifier.preprocess, found.scored
    )
    source = source_lib.prepare(classifier, images)
    opened = {scorecard.REFERENCE: classifier}
    sizes = {}
    for row in (formats.FORMATS[each] for each in FORMATS.value):
        for way, how in WAYS.items():
            if not applies(row.name, how, source.network):
                continue
            label = f"{row.name}, {way}"
            path = folder / f"{len(opened)}{row.suffix}"
            made = dataclasses.replace(
                source, batch_size=row.batch_size, int8=how
            )
            module = row.load_module(*row.runtime, *row.writers)
            with converters.silent():
                module.write(classifier, made, path, "int8")
                opened[label] = module.load(path)
            sizes[label] = scorecard.count_megabytes(path, row.companions)
    held = scorecard.hold(classifier, found.scored)
    scores, times = scorecard.score(opened, held), scorecard.time_all(opened)
    return [
        {
            "file": label,
            **scores[label],
            "megabytes": sizes.get(label),
            **times[label],
        }
        for label in opened
    ]


def applies(name, how, network):
    """Whether a format can be written in a way, and a network has its parts."""
    if how.preset != int8.Int8.preset and name != "openvino":
        return False
    try:
        int8.find_layers(network, how.keep_float)
    except ValueError:
        return False
    return True


if __name__ == "__main__":
    app.run(main)
