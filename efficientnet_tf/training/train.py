"""One training run from scratch: data, network, `fit`, evaluation, results."""

import contextlib
import dataclasses
import pathlib
import signal
import threading
import time

import keras
import tensorflow as tf
from absl import logging

from efficientnet_tf.data import datasets
from efficientnet_tf.models import layers, registry, variants
from efficientnet_tf.training import (
    callbacks,
    checkpoints,
    distribution,
    inputs,
    memory,
    optimizers,
    recipes,
    teachers,
    trainer,
)
from efficientnet_tf.utils import figures, files, run_folder, tables

CURVES_FILE = "curves.png"
CHARTS = {
    "top-1": ("top1", "val_top1", "val_ema_top1"),
    "cross-entropy": (
        "cross_entropy",
        "val_cross_entropy",
        "val_ema_cross_entropy",
    ),
    "learning rate": ("learning_rate",),
}


def train_and_evaluate(
    model_name,
    dataset,
    *,
    config,
    workdir,
    data_dir=None,
    splits=("train", "validation"),
    recipe="",
    strategy="auto",
    xla="auto",
    data_service=None,
    profile_steps=0,
):
    """Trains a network from random weights and scores it.

    The same call on the same workdir goes on after the last checkpoint; on a
    finished run it returns the result that stands there.

    Args:
      model_name: of the family or of `baselines`, or a variant file.
      dataset: a TFDS name, "folder:PATH" or "records:PATH".
      config: a `recipes.TrainConfig`.
      workdir: folder for checkpoints, logs, model and results; one that all
        workers see.
      data_dir: where TFDS keeps its sets.
      splits: what to train on and what to score on.
      recipe: the recipe's name, for the record.
      strategy: see `distribution.make_strategy`.
      xla: see `distribution.use_xla`.
      data_service: address of a tf.data service's dispatcher, or None.
      profile_steps: (first, last) steps to profile for TensorBoard, or 0.

    Returns:
      The result row, a dict.

    Raises:
      ValueError: an unknown name, or a workdir of another run.
      RuntimeError: the data cannot be read, or too much of it is corrupt.
      FloatingPointError: the loss became NaN or infinite.
      MemoryError: training cannot fit into this machine.
      callbacks.Preempted: SIGTERM or SIGINT came; all is saved.
    """
    begin = time.perf_counter()
    workdir = pathlib.Path(workdir)
    scaled = registry.get(model_name)
    run = {
        "model": model_name,
        "dataset": dataset,
        "splits": list(splits),
        "recipe": recipe,
        **dataclasses.asdict(config),
    }
    if variants.is_file(model_name):  # What stands in it may change.
        run["network"] = dataclasses.asdict(scaled)
    teachers.check(config.teacher)
    finished = run_folder.start_run(workdir, run)
    if finished is not None:
        return finished
    devices = _set_up(config, strategy)
    examples = _load_examples(dataset, splits, config, data_dir)
    with devices.scope():
        network, average = _build(
            scaled, examples, config, xla, devices.num_replicas_in_sync
        )
    feed = inputs.Feed(examples, config, scaled, devices, data_service)
    row = _run(run, network, average, feed, workdir, profile_steps)
    row["seconds"] = round(
        callbacks.total_seconds(workdir / run_folder.METRICS_FILE, begin), 1
    )
    if distribution.is_chief(devices):
        files.append_json_line(workdir / run_folder.RESULTS_FILE, row)
    return row


def _run(run, network, average, feed, workdir, profile_steps):
    """Trains, scores and saves; returns the result row but for its time."""
    is_chief = distribution.is_chief(feed.devices)
    if is_chief:
        # Only now that all of it makes sense.
        _begin(workdir, run, feed)
    with feed.corrupt.raised():
        _fit(network, average, feed, workdir, profile_steps, is_chief)
        scores = _score(network, average, feed)
    if is_chief:
        _save(network, average, feed, workdir)
        _plot(workdir)
    return {
        **{key: run[key] for key in ("model", "dataset", "recipe")},
        **scores,
        **_conditions(network, feed),
    }


def _set_up(config, strategy):
    """Returns the strategy, and sets precision and random seeds."""
    devices = distribution.make_strategy(strategy)
    distribution.replica_batch_size(
        config.micro_batch_size, devices.num_replicas_in_sync
    )
    distribution.set_precision(config.precision)
    keras.utils.set_random_seed(config.seed)
    return devices


def _begin(workdir, run, feed):
    """Writes what the run is and a few of its images."""
    files.remove_leftovers(workdir)
    files.write_json(workdir / run_folder.CONFIG_FILE, run)
    writer = tf.summary.create_file_writer(str(workdir / "tensorboard/run"))
    with writer.as_default(step=0):
        tf.summary.text(
            "config", tables.to_markdown(("field", "value"), run.items())
        )
        tf.summary.image("augmented", feed.preview()[None])


def _conditions(network, feed):
    """Returns what a row of results says of how it came about."""
    return {
        "strategy": type(feed.devices).__name__,
        "replicas": feed.devices.num_replicas_in_sync,
        "xla": network.compiles,
        "epochs": feed.config.epochs,
        "seed": feed.config.seed,
        "train_images": feed.examples["train"].size,
        "test_images": feed.examples["test"].size,
    }


def _load_examples(dataset, splits, config, data_dir):
    """Returns the images to train on, to choose on and to score on."""
    train, test = (datasets.load(dataset, split, data_dir) for split in splits)
    shared = train.count_shared(test)
    if shared:
        logging.warning(
            "%d of the %d images of %s are in %s as well: their score says "
            "nothing about others.",
            shared,
            test.size,
            *reversed(splits),
        )
    examples = {"train": train, "test": test}
    if config.minival_images:
        train, minival = train.hold_out(config.minival_images)
        examples |= {"train": train, "minival": minival}
    if examples["train"].size < config.batch_size:
        raise ValueError(
            f"batch_size={config.batch_size} is more than the "
            f"{examples['train'].size} images to train on."
        )
    return examples


def _build(scaled, examples, config, xla, replicas):
    """Returns a compiled `Trainer` and the average of its weights or None."""
    classes = len(examples["train"].class_names)
    steps_per_epoch = examples["train"].size // config.batch_size
    stages = recipes.stages(config)
    sizes = {stage.resolution or scaled.resolution for stage in stages}
    side = max(sizes) if len(sizes) == 1 else None
    largest = dataclasses.replace(scaled, resolution=max(sizes))
    memory.check_memory(
        registry.count(largest, classes),
        distribution.replica_batch_size(config.micro_batch_size, replicas),
        config.precision,
    )
    plain = registry.build(
        scaled,
        classes=classes,
        size=side,
        dropout_rate=config.dropout_rate,
        drop_path_rate=config.drop_path_rate,
    )
    layers.set_statistics(plain, config.batch_norm)
    average = None
    if config.ema_decay:
        average = optimizers.ExponentialMovingAverage(
            plain.weights, config.ema_decay
        )
    network = trainer.Trainer(
        plain.inputs,
        plain.outputs,
        name=plain.name,
        weight_decay=config.weight_decay,
        ema=average,
        teacher=teachers.load(config.teacher, classes),
        distill_temperature=config.distill_temperature,
        distill_weight=config.distill_weight,
        accumulation_steps=config.accumulation_steps,
    )
    network.compile(
        optimizers.make_optimizer(config, steps_per_epoch),
        keras.losses.CategoricalCrossentropy(
            label_smoothing=config.label_smoothing,
            # What fills up the last batch of an evaluation counts nothing.
            reduction="mean_with_sample_weight",
        ),
        weighted_metrics=[
            keras.metrics.CategoricalAccuracy("top1"),
            keras.metrics.TopKCategoricalAccuracy(5, "top5"),
        ],
        jit_compile=distribution.use_xla(
            xla, replicas=replicas, batch_norm=config.batch_norm
        ),
        steps_per_execution=inputs.steps_per_execution(
            config.steps_per_execution, steps_per_epoch
        ),
    )
    network.optimizer.build(network.trainable_variables)
    return network, average


def _fit(network, average, feed, workdir, profile_steps, is_chief):
    """Trains for what is left of the run, going on after a checkpoint."""
    state = checkpoints.state_of(network)
    if average is not None:
        state += average.variables
    folder = workdir / run_folder.CHECKPOINTS
    done = checkpoints.restore(folder, state)
    distribution.check_same(feed.devices, done, "checkpoint's step")
    config = feed.config
    stages = recipes.stages(config)
    for segment in inputs.plan_segments(stages, feed.steps_per_epoch, done):
        clock = callbacks.InputClock() if feed.measures_wait else None
        saver = callbacks.Checkpointer(
            folder,
            state,
            first_step=segment.first_step,
            keep=config.keep_checkpoints,
            minutes=config.checkpoint_minutes,
            score="val_ema_top1" if average is not None else "val_top1",
            writes=is_chief,
        )
        watchers = [
            callbacks.Evaluation(*feed.make_eval("minival"), average),
            callbacks.StopOnBadLoss(segment.first_step),
            callbacks.Throughput(config.batch_size, clock),
        ]
        if is_chief:
            watchers += [
                keras.callbacks.TensorBoard(
                    workdir / "tensorboard",
                    write_graph=False,
                    profile_batch=profile_steps,
                ),
                callbacks.JsonLines(workdir / run_folder.METRICS_FILE),
                callbacks.Progress(config.epochs),
            ]
            profile_steps = 0  # Once is enough.
        # Traced anew, because a trace for two image sizes rounds otherwise than
        # one for the second alone, which a resumed run makes.
        network.train_function = None
        with _stopped_by_signals(saver):
            network.fit(
                feed.make_train(segment, clock),
                epochs=segment.end_epoch,
                initial_epoch=segment.begin_epoch,
                steps_per_epoch=segment.steps_per_epoch,
                shuffle=False,  # The data set does.
                callbacks=[*watchers, saver],
                verbose=0,  # `Progress` shows it.
            )
    if config.minival_images:
        best = checkpoints.find_best(folder)
        logging.info("Taking the best on minival, %s.", best)
        checkpoints.load(best, state)


@contextlib.contextmanager
def _stopped_by_signals(saver):
    """Makes SIGTERM and Ctrl-C save and stop; a second one stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number, frame):
        logging.info("Saving before the end; once more to stop at once.")
        saver.request_stop(number)
        signal.signal(number, before[number])

    before = {
        number: signal.signal(number, stop)
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
        if saver.stopped and saver.writes:
            # Asked for after the last epoch; all is saved.
            raise saver.stopped
    except tf.errors.OpError:
        # A worker notices by this that worker 0 has stopped.
        if saver.stopped and not saver.writes:
            raise saver.stopped from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _score(network, average, feed):
    """Returns the scores of the weights and of their average."""
    evaluation = callbacks.Evaluation(*feed.make_eval("test"))
    evaluation.set_model(network)
    scores = evaluation.score()
    if average is not None:
        with callbacks.averaged(average):
            scores |= evaluation.score("ema_")
    return {name: round(value, 6) for name, value in scores.items()}


def _save(network, average, feed, workdir):
    """Saves the averaged weights, which people use, as a `Classifier`."""
    with contextlib.ExitStack() as stack:
        if average is not None:
            stack.enter_context(callbacks.averaged(average))
        layers.set_statistics(network, "local")
        feed.make_classifier(network).save(workdir)


def _plot(workdir):
    """Draws the run's curves into its folder."""
    rows = files.read_json_lines(workdir / run_folder.METRICS_FILE)
    image = figures.curves_image(rows, CHARTS)
    figures.write_png(workdir / CURVES_FILE, image)
