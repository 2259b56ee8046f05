"""What enlarging small images costs a training step, here and on the host.

python benchmarks/small_images.py --task=cifar10 --resolution=224 \
    --data_dir=DIR

Three rows of the same training step: on images that are ready; on stored
pixels that the compiled step crops, enlarges, flips and mixes; and on images
that `tf.data` has cropped and enlarged, flipped and mixed.
"""

import json
import os
import pathlib
import sys
import time

# Else benchmarks/transfer.py would be found for the package of its name.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from efficientnet_tf.inference import classifier
from efficientnet_tf.models import builder
from efficientnet_tf.training import distribution, trainer
from transfer import inputs, recipes, tasks

TASK = flags.DEFINE_string("task", "cifar10", "A TFDS task of small images.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "Where TFDS keeps its sets.")
MODEL = flags.DEFINE_string("model", "efficientnet_lite0", "The network.")
RESOLUTION = flags.DEFINE_integer("resolution", 224, "Pixels a side.", 32)
STEPS = flags.DEFINE_integer("steps", 8, "Of each row a round.", 1)
ROUNDS = flags.DEFINE_integer("rounds", 5, "Timed rounds.", 1)

WARM_UP_STEPS = 4
READY, OURS, HOST = "images ready", "cropped in the step", "cropped by tf.data"


def main(_):
    config = recipes.get_recipe(
        "fast", [f"resolution={RESOLUTION.value}"], TASK.value
    )
    task = tasks.get_task(TASK.value)
    examples = tasks.load_examples(task, DATA_DIR.value)["train"]
    size = RESOLUTION.value
    network = builder.build(
        MODEL.value,
        weights=None,
        input_shape=(size, size, 3),
        classes=len(examples.class_names),
    )
    result = classifier.Classifier(
        network, examples.class_names, size, config.interpolation, None
    )
    feed = inputs.Feed(examples, result, config, flip=task.flip)
    if feed.augmentation is None:
        raise app.UsageError(f"The images of {TASK.value} are not small.")
    step = compile_step(network, feed.augmentation)
    ours = feed.make_dataset(config.batch_size)
    host = inputs.Feed(
        examples, result, config, flip=task.flip, max_side=0
    ).make_dataset(config.batch_size)
    ready = tf.data.Dataset.from_tensors(next(iter(host))).repeat()
    streams = {READY: ready, OURS: ours, HOST: host}
    seconds = {name: [] for name in streams}
    for _ in range(ROUNDS.value):
        for name, stream in streams.items():
            seconds[name].append(time_round(step, stream))
    print_table({k: np.array(v) for k, v in seconds.items()}, config)


def compile_step(network, augmentation):
    """Returns what takes a batch and trains on it."""
    network = trainer.Trainer(
        network.inputs, network.outputs, augmentation=augmentation
    )
    network.compile(
        keras.optimizers.SGD(1e-3),
        keras.losses.CategoricalCrossentropy(),
        jit_compile=distribution.use_xla(),
    )
    return network.train_on_batch


def time_round(step, stream):
    """Seconds of one round: a new iterator, as one that waits works on."""
    batches = iter(stream.take(WARM_UP_STEPS + STEPS.value))
    for _ in range(WARM_UP_STEPS):
        step(*next(batches))
    start = time.perf_counter()
    for batch in batches:
        step(*batch)
    return time.perf_counter() - start


def print_table(seconds, config):
    """Prints a row each for people, then everything as one line of JSON."""
    images = STEPS.value * config.batch_size
    rates = {
        name: round(float(images / np.median(each)), 1)
        for name, each in seconds.items()
    }
    shares = {
        name: round(float(np.median(seconds[READY] / each)), 3)
        for name, each in seconds.items()
    }
    for name in seconds:
        print(f"{name:20} {rates[name]:8.1f} images/s  {shares[name]:.2f}")
    result = {
        "benchmark": "small_images",
        "task": TASK.value,
        "model": MODEL.value,
        "resolution": RESOLUTION.value,
        "batch_size": config.batch_size,
        "cores": len(os.sched_getaffinity(0)),
        "images_per_second": rates,
        "of_images_ready": shares,
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    app.run(main)
