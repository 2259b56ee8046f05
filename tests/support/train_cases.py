"""Trains a tiny network in many ways, importing TensorFlow only once.

python tests/train_cases.py CASES.json FOLDER

CASES holds {name: settings}, see `train`; FOLDER gets a name.npz with the
arrays of each, or a name.txt with its error. Each case is a process of its own,
forked from one that has the libraries loaded but no devices set up.
"""

import dataclasses
import json
import os
import pathlib
import sys
import traceback

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from efficientnet_tf.models import builder, layers, variants
from efficientnet_tf.search.architect import spaces
from efficientnet_tf.search.architect.supernet import sandwich, slices
from efficientnet_tf.training import distribution, trainer

SIZE, CLASSES, BATCH, STEPS = 32, 5, 8, 5


class Average:
    """An average of the trainable variables, as `Trainer` wants it."""

    def __init__(self, variables):
        self.pairs = [
            (v, keras.Variable(v.value, trainable=False)) for v in variables
        ]
        self.steps = keras.Variable(0, dtype="int64", trainable=False)

    def update(self, step):
        self.steps.assign(self.steps * 10 + keras.ops.cast(step, "int64"))
        for variable, average in self.pairs:
            average.assign(0.5 * average + 0.5 * variable)


def make_data(number):
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (number, SIZE, SIZE, 3)).astype("float32")
    labels = np.eye(CLASSES, dtype="float32")[rng.integers(0, CLASSES, number)]
    return images, labels


NARROW = dataclasses.replace(
    variants.VARIANTS["efficientnet_b0"],
    width=0.25,
    stages=(variants.Stage("mbconv", 3, 1, 32, 4, 2),),
    head_filters=64,
)
SPACE = spaces.Space(
    NARROW,
    (
        spaces.Decision(0, "kernel_size", (3, 5)),
        spaces.Decision(0, "expand_ratio", (1, 4)),
        spaces.Decision(0, "filters", (32, 64)),
        spaces.Decision(0, "repeats", (1, 2)),
    ),
)


def build(*, dropout, dtype, variant=NARROW):
    distribution.set_precision(dtype)
    keras.utils.set_random_seed(0)
    return builder.build(
        variant,
        input_shape=(SIZE, SIZE, 3),
        classes=CLASSES,
        dropout_rate=dropout,
        drop_path_rate=dropout,
    )


def distribute(strategy, images, labels):
    """Each replica gets the same rows of the global batch in every strategy."""
    replicas = strategy.num_replicas_in_sync
    size = distribution.replica_batch_size(BATCH, replicas)

    def make_dataset(context):
        # A replica's rows are next to each other.
        parts = [
            array.reshape(-1, replicas, size, *array.shape[1:])
            for array in (images, labels)
        ]
        each = replicas // context.num_input_pipelines
        first = context.input_pipeline_id * each
        parts = [part[:, first : first + each] for part in parts]
        dataset = tf.data.Dataset.from_tensor_slices(tuple(parts)).unbatch()
        return dataset.repeat()

    return strategy.distribute_datasets_from_function(make_dataset)


def train(
    *,
    cpus=1,
    strategy="none",
    statistics="local",
    xla=False,
    accumulation_steps=1,
    steps_per_execution=1,
    dropout=0.0,
    dtype="float32",
    steps=STEPS,
    initial_scale=None,
    evaluate=False,
    supernet=False,
):
    """Returns what a few steps of training lead to, as arrays."""
    tf.config.threading.set_inter_op_parallelism_threads(2)
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * cpus,
    )
    strategy = distribution.make_strategy(strategy)
    with strategy.scope():
        variant, options, make_trainer = NARROW, {}, trainer.Trainer
        if supernet:
            variant = SPACE.decode(slices.find_largest(SPACE))
            make_trainer, options = sandwich.Trainer, {"space": SPACE}
        network = build(dropout=dropout, dtype=dtype, variant=variant)
        layers.set_statistics(network, statistics)
        ema = Average(network.trainable_variables)
        trained = make_trainer(
            network.inputs,
            network.outputs,
            weight_decay=1e-2,
            ema=ema,
            accumulation_steps=accumulation_steps,
            **options,
        )
        optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
        if initial_scale:
            optimizer = keras.optimizers.LossScaleOptimizer(
                optimizer, initial_scale=initial_scale
            )
        trained.compile(
            optimizer,
            keras.losses.CategoricalCrossentropy(
                label_smoothing=0.1, reduction="mean_with_sample_weight"
            ),
            metrics=[keras.metrics.CategoricalAccuracy("top1")],
            jit_compile=xla,
            steps_per_execution=steps_per_execution,
        )
    images, labels = make_data(BATCH * steps)
    history = trained.fit(
        distribute(strategy, images, labels),
        steps_per_epoch=steps,
        epochs=1,
        shuffle=False,
        verbose=0,
    ).history
    arrays = {f"log/{key}": value[0] for key, value in history.items()}
    if evaluate:
        arrays |= score(trained, images[:BATCH], labels[:BATCH])
    arrays |= read_variables(network, strategy) | read_average(ema)
    return arrays | read_optimizer(trained.optimizer)


def read_optimizer(optimizer):
    """Returns the steps, and the loss scale if there is one."""
    arrays = {"iterations": optimizer.iterations.numpy()}
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        arrays["scale"] = optimizer.dynamic_scale.numpy()
    return arrays


def read_variables(network, strategy):
    """Returns {"KIND/REPLICA/PATH": array}."""
    arrays = {}
    for variable in network.variables:
        copies = strategy.experimental_local_results(variable.value)
        for i, copy in enumerate(copies):
            kind = "weight" if variable.trainable else "statistic"
            if "seed" in variable.path:
                kind = "seed"
            arrays[f"{kind}/{i}/{variable.path}"] = copy.numpy()
    return arrays


def read_average(ema):
    """Returns the averages and how many updates made them."""
    arrays = {
        f"ema/{variable.path}": average.numpy()
        for variable, average in ema.pairs
    }
    return {**arrays, "ema_steps": ema.steps.numpy()}


def score(trained, images, labels):
    """Evaluates on images of which the last three are padding of weight 0."""
    weights = np.float32(np.arange(BATCH) < BATCH - 3)
    dataset = tf.data.Dataset.from_tensor_slices((images, labels, weights))
    scores = trained.evaluate(dataset.batch(BATCH), return_dict=True, verbose=0)
    return {f"score/{key}": value for key, value in scores.items()}


def run(settings, path):
    try:
        os.environ |= settings.pop("environment", {})
        np.savez(path.with_suffix(".npz"), **train(**settings))
    except BaseException:
        path.with_suffix(".txt").write_text(traceback.format_exc())


def main(cases, folder):
    children = []
    for name, settings in cases.items():
        child = os.fork()
        if child == 0:
            run(settings, folder / name)
            os._exit(0)
        if "environment" in settings:  # Workers need each other.
            children.append(child)
        else:
            os.waitpid(child, 0)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(
        json.loads(pathlib.Path(sys.argv[1]).read_text()),
        pathlib.Path(sys.argv[2]),
    )
