"""Time to an accuracy: our recipe against the tutorial that people follow.

python benchmarks/transfer.py --task=oxford_flowers102 --data_dir=DIR

Theirs is what a Keras user does by the book: images from class folders at 224
pixels, augmentation layers, a frozen network under a new head, and then its
last layers with a small learning rate. Both start from the same weights, train
on the same images and are scored on the same others after each epoch; neither
time counts the scoring. Seconds of processor time are printed beside those of
the clock, because other work on a machine disturbs them less.
"""

import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

# Else this file, whose folder comes first, would be found for the package of
# its name.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import keras
import numpy as np
import peers
import tensorflow as tf
from absl import app, flags

from efficientnet_tf.models import builder
from efficientnet_tf.utils import cache_folder
from transfer import finetune
from transfer.config import recipes, tasks
from transfer.training import linear_head

TASK = flags.DEFINE_string("task", "oxford_flowers102", "A TFDS task's name.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "Where TFDS keeps its sets.")
MODEL = flags.DEFINE_string("model", "efficientnet_lite0", "The network.")
WEIGHTS = flags.DEFINE_string("weights", "imagenet", "A name or a file.")
RECIPE = flags.DEFINE_string("recipe", "fast", "Ours.")
SET = flags.DEFINE_multi_string("set", [], "field=value of our recipe.")
FROZEN_EPOCHS = flags.DEFINE_integer("frozen_epochs", 25, "Theirs.", 1)
UNFROZEN_EPOCHS = flags.DEFINE_integer("unfrozen_epochs", 10, "Theirs.", 0)
SIDE = flags.DEFINE_enum("side", None, ["ours", "theirs"], "Only this one.")

RESOLUTION, BATCH_SIZE = 224, 32
FROZEN_RATE, UNFROZEN_RATE = 1e-2, 1e-5
UNFROZEN_LAYERS = 20
BEGIN = time.time()


class Clock(keras.callbacks.Callback):
    """Notes accuracy and training time after each epoch.

    What is before the first epoch, such as reading data and building the
    model, counts. What is between the last batch of an epoch and the first of
    the next does not.

    Args:
      head_file: of the linear classifier that training starts from, which is
        then the first point; it need not be there.
    """

    def __init__(self, head_file=None):
        super().__init__()
        self.points = []
        self.head_file = head_file
        self.stopped, self.lost = None, np.zeros(2)

    def on_train_begin(self, logs=None):
        if self.head_file is not None and self.head_file.exists():
            head = json.loads(self.head_file.read_text())
            since = np.array([time.time() - head["finished"], 0.0])
            self.add(head["validation_top1"], now() - since)

    def on_epoch_begin(self, epoch, logs=None):
        if self.stopped is not None:
            self.lost += now() - self.stopped

    def on_train_batch_end(self, batch, logs=None):
        self.stopped = now()

    def on_epoch_end(self, epoch, logs=None):
        self.add(logs["val_top1"], self.stopped - self.lost)

    def add(self, accuracy, moment):
        clock, processor = (float(value) for value in moment)
        self.points.append(
            {"top1": accuracy, "seconds": clock, "processor_seconds": processor}
        )


def now():
    """Seconds by the clock and of the processor since the start."""
    return np.array([time.time() - BEGIN, time.process_time()])


def main(_):
    if SIDE.value == "ours":
        print(json.dumps(train_ours()))
        return
    if SIDE.value == "theirs":
        print(json.dumps(train_theirs()))
        return
    curves = {side: run_alone(side) for side in ("ours", "theirs")}
    result = compare(**curves)
    for name, value in result.items():
        print(f"{name:28}  {value}")
    print(json.dumps(result | {"curves": curves}), flush=True)


def run_alone(side):
    """Trains one side in a process of its own; returns its points."""
    print(f"Training {side}.", file=sys.stderr, flush=True)
    output = subprocess.run(
        [sys.executable, *sys.argv, f"--side={side}"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    return json.loads(output.splitlines()[-1])


def compare(ours, theirs):
    """Returns how long each side took to the best accuracy of theirs."""
    target = max(point["top1"] for point in theirs)
    result = {
        "benchmark": "transfer",
        "task": TASK.value,
        "model": MODEL.value,
        "recipe": RECIPE.value,
        "changed": SET.value,
        "target_top1": target,
        "ours_final_top1": ours[-1]["top1"],
        "theirs_final_top1": theirs[-1]["top1"],
    }
    reached = {
        "ours": _first(ours, target),
        "theirs": _first(theirs, target),
    }
    for unit in ("seconds", "processor_seconds"):
        for side, point in reached.items():
            result[f"{side}_{unit}"] = point and round(point[unit], 1)
        ratio = None
        if reached["ours"]:
            ratio = reached["theirs"][unit] / reached["ours"][unit]
        result[f"ratio_of_{unit}"] = ratio and round(ratio, 2)
    return result


def train_ours():
    """Returns the points of our recipe."""
    config = recipes.get_recipe(
        RECIPE.value,
        ["train_on=train", "evaluate_on=validation", *SET.value],
        TASK.value,
    )
    with tempfile.TemporaryDirectory() as folder:
        # Features cached by an earlier run would count as no work.
        os.environ[cache_folder.CACHE_VARIABLE] = f"{folder}/cache"
        clock = Clock(pathlib.Path(folder) / linear_head.LINEAR_HEAD_FILE)
        finetune.finetune_and_evaluate(
            TASK.value,
            MODEL.value,
            weights=WEIGHTS.value,
            config=config,
            workdir=folder,
            data_dir=DATA_DIR.value,
            recipe=RECIPE.value,
            watchers=[clock],
        )
    return clock.points


def train_theirs():
    """Returns the points of the tutorial's training."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        begin = now()
        write_folders(pathlib.Path(folder))
        clock.lost += now() - begin  # Whoever follows it has them.
        sets = {
            split: keras.utils.image_dataset_from_directory(
                f"{folder}/{split}",
                label_mode="categorical",
                image_size=(RESOLUTION, RESOLUTION),
                batch_size=BATCH_SIZE,
                shuffle=split == "train",
                seed=0,
                verbose=False,
            )
            for split in ("train", "validation")
        }
        augment = make_augmentation()
        train = sets["train"].map(
            lambda images, labels: (augment(images), labels),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        train = train.prefetch(tf.data.AUTOTUNE)
        validation = sets["validation"].prefetch(tf.data.AUTOTUNE)
        base = make_base()
        network = add_head(base, len(sets["train"].class_names))
        for layer in base.layers:
            layer.trainable = False
        fit_both = functools.partial(
            fit, network, train, validation=validation, clock=clock
        )
        fit_both(rate=FROZEN_RATE, epochs=FROZEN_EPOCHS.value)
        for layer in base.layers[-UNFROZEN_LAYERS:]:
            if not isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = True
        if UNFROZEN_EPOCHS.value:
            fit_both(rate=UNFROZEN_RATE, epochs=UNFROZEN_EPOCHS.value)
    return clock.points


def write_folders(folder):
    """Writes the images that ours trains and chooses on as class folders."""
    examples = tasks.load_examples(tasks.get_task(TASK.value), DATA_DIR.value)
    for split in ("train", "validation"):
        for number, (image, label) in enumerate(examples[split].dataset):
            if image.dtype != tf.string:
                image = tf.io.encode_png(image)
            kind = "jpg" if tf.image.is_jpeg(image) else "png"
            path = folder / split / f"{int(label):04}" / f"{number}.{kind}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image.numpy())


def make_augmentation():
    return keras.Sequential(
        [
            keras.layers.RandomRotation(0.15),
            keras.layers.RandomTranslation(0.1, 0.1),
            keras.layers.RandomFlip("horizontal"),
            keras.layers.RandomContrast(0.1),
        ]
    )


def make_base():
    """The network without its head, of Keras's own layers."""
    ours = builder.build(
        MODEL.value,
        weights=WEIGHTS.value,
        include_top=False,
        input_shape=(RESOLUTION, RESOLUTION, 3),
    )
    base = keras.models.clone_model(ours, clone_function=peers.unfuse)
    base.set_weights(ours.get_weights())
    return base


def add_head(base, classes):
    features = keras.layers.GlobalAveragePooling2D()(base.output)
    features = keras.layers.BatchNormalization()(features)
    features = keras.layers.Dropout(0.2)(features)
    output = keras.layers.Dense(classes, activation="softmax")(features)
    return keras.Model(base.inputs, output)


def fit(network, train, *, validation, clock, rate, epochs):
    network.compile(
        keras.optimizers.Adam(rate),
        keras.losses.CategoricalCrossentropy(),
        metrics=[keras.metrics.CategoricalAccuracy("top1")],
    )
    network.fit(
        train,
        validation_data=validation,
        epochs=epochs,
        callbacks=[clock],
        verbose=2,
    )


def _first(points, target):
    return next((p for p in points if p["top1"] >= target), None)


if __name__ == "__main__":
    app.run(main)
