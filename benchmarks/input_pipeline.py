"""Images per second of the input pipeline, beside raw decoding and a peer.

python benchmarks/input_pipeline.py --data_dir=~/tensorflow_datasets \
    --dataset=imagenet2012 --split=train --resolution=224

All rows read the same records, in rounds that take turns: a machine's speed
drifts by more than what is measured.
"""

import functools
import json
import os
import pathlib
import time

import numpy as np
import tensorflow as tf
from absl import app, flags

from efficientnet_tf.data import (
    datasets,
    examples as examples_lib,
    preprocessing,
)
from efficientnet_tf.data.archives import tfds, tfrecords
from efficientnet_tf.data.augment import augmentation

DATA_DIR = flags.DEFINE_string("data_dir", None, "Where TFDS keeps its sets.")
DATASET = flags.DEFINE_string("dataset", "imagenet2012", "A TFDS name.")
SPLIT = flags.DEFINE_string("split", "train", "Of TFDS.")
FOLDER = flags.DEFINE_string("folder", None, "Or: JPEGs, however deep in it.")
RESOLUTION = flags.DEFINE_integer("resolution", 224, "Pixels a side.", 32)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Images a step.", 1)
IMAGES = flags.DEFINE_integer("images", 1024, "Images of each row a round.", 1)
ROUNDS = flags.DEFINE_integer("rounds", 5, "Timed rounds.", 1)
PEER = flags.DEFINE_bool("peer", True, "Whether to time TFDS with keras-cv.")

WARM_UP_BATCHES = 4

# Official: N = 2 for all, M of EfficientNet-B5.
RANDAUGMENT = {"layers": 2, "magnitude": 17}


def main(_):
    examples = load_examples()
    streams = {
        "raw decode_jpeg": raw(examples),
        "ours": ours(examples),
        "ours with AutoAugment": ours(examples, augmentation.autoaugment),
        "ours with RandAugment": ours(
            examples,
            functools.partial(augmentation.randaugment, **RANDAUGMENT),
        ),
    }
    if PEER.value:
        streams["TFDS and keras-cv"] = theirs(examples)
    seconds = {name: [] for name in streams}
    for _ in range(ROUNDS.value):
        for name, stream in streams.items():
            seconds[name].append(time_round(stream))
    seconds = {name: np.array(each) for name, each in seconds.items()}
    print_table(seconds, examples)


def load_examples():
    if FOLDER.value is None:
        return tfds.load(DATASET.value, SPLIT.value, DATA_DIR.value)
    folder = pathlib.Path(FOLDER.value).expanduser()
    paths = sorted(
        str(path)
        for path in folder.rglob("*")
        if path.suffix.lower() in (".jpg", ".jpeg")
    )
    if not paths:
        raise app.UsageError(f"There are no JPEGs in {folder}.")
    columns = (tf.constant(paths), tf.zeros([len(paths)], "int64"))
    source = examples_lib.Indexed(
        columns, lambda path, label: (tf.io.read_file(path), label), paths
    )
    return examples_lib.Examples(source, ("image",), str(folder))


def time_round(stream):
    """Seconds of one round of a data set that yields numbers of images.

    A new iterator each time: one that waits would go on working meanwhile.
    Its first batches, until all threads are at work, are not counted.
    """
    counts = iter(stream.take(WARM_UP_BATCHES + _batches()))
    for _ in range(WARM_UP_BATCHES):
        next(counts)
    start = time.perf_counter()
    for _ in counts:
        pass
    return time.perf_counter() - start


def _batches():
    return -(-IMAGES.value // BATCH_SIZE.value)


def raw(examples):
    """Decodes whole images, in the same order; then forgets them."""

    def decode(_, row):
        image, _ = examples.source.open(row)
        return tf.size(tf.io.decode_jpeg(image, channels=3))

    rows = examples.source.epoch(tf.zeros([2], "int64"), 0)
    rows = rows.take(examples.size).repeat()
    ds = rows.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    return ds.batch(BATCH_SIZE.value).map(tf.size).prefetch(tf.data.AUTOTUNE)


def ours(examples, augment=None):
    ds = datasets.make_epochs_dataset(
        examples,
        lambda image, seed: preprocessing.preprocess_for_train(
            image, RESOLUTION.value, augment=augment, seed=seed
        ),
        batch_size=BATCH_SIZE.value,
        seed=0,
    )
    return ds.map(_count)


def theirs(examples):
    """What people write: TFDS decodes, keras-cv crops and flips."""
    import keras_cv
    import tensorflow_datasets

    if FOLDER.value is None:
        ds = tensorflow_datasets.load(
            DATASET.value, split=SPLIT.value, data_dir=DATA_DIR.value
        )
        ds = ds.map(lambda row: row["image"])
    else:
        ds = examples.dataset.map(
            lambda image, _: tf.io.decode_jpeg(image, channels=3),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
    crop = keras_cv.layers.RandomCropAndResize(
        (RESOLUTION.value, RESOLUTION.value),
        crop_area_factor=(0.08, 1.0),
        aspect_ratio_factor=preprocessing.ASPECT_RATIOS,
        interpolation="bilinear",  # It has no bicubic, which costs more.
    )
    flip = keras_cv.layers.RandomFlip("horizontal")
    ds = ds.shuffle(min(examples.size, tfrecords.SHUFFLE_BUFFER)).repeat()
    ds = ds.map(crop, num_parallel_calls=tf.data.AUTOTUNE)
    ds = ds.batch(BATCH_SIZE.value, drop_remainder=True)
    # Of a batch, which is its faster way.
    ds = ds.map(flip, num_parallel_calls=tf.data.AUTOTUNE)
    return ds.map(_count).prefetch(tf.data.AUTOTUNE)


def _count(images, *_):
    # Numbers leave the data set, not images: no row pays for Python's copies.
    return tf.shape(images)[0]


def print_table(seconds, examples):
    """Prints a row each for people, then everything as one line of JSON."""
    images = _batches() * BATCH_SIZE.value
    base = seconds["raw decode_jpeg"]
    rates = {
        name: round(float(images / np.median(each)), 1)
        for name, each in seconds.items()
    }
    ratios = {
        name: round(float(np.median(base / each)), 3)
        for name, each in seconds.items()
    }
    for name in seconds:
        print(f"{name:22} {rates[name]:9.1f} images/s  {ratios[name]:.2f}")
    result = {
        "benchmark": "input_pipeline",
        "source": FOLDER.value or f"{DATASET.value}:{SPLIT.value}",
        "images": examples.size,
        "resolution": RESOLUTION.value,
        "cores": len(os.sched_getaffinity(0)),
        "images_per_second": rates,
        "of_raw": ratios,
    }
    if PEER.value:
        peer = seconds["TFDS and keras-cv"] / seconds["ours"]
        result["of_peer"] = round(float(np.median(peer)), 3)
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    app.run(main)
