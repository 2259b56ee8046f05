"""One training run from scratch: data, network, `fit`, evaluation, results."""

import contextlib
import dataclasses
import os
import pathlib
import time
from collections.abc import Callable, Iterable

import keras
import tensorflow as tf
from absl import logging

from efficientnet_tf.data import remote
from efficientnet_tf.data.sets import example_files, sources, split_duplicates
from efficientnet_tf.models import builder, costs, layers, registry
from efficientnet_tf.training import (
    callbacks,
    checkpoints,
    distribution,
    inputs,
    memory,
    optimizers,
    progress,
    progression,
    run_config,
    stopping,
    summaries,
    teachers,
    train_config,
    train_state,
    trainer,
)
from efficientnet_tf.utils import (
    extras,
    figures,
    files,
    folder_options,
    run_folder,
)

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
    model_name: str,
    dataset: str,
    *,
    config: train_config.TrainConfig,
    workdir: str | os.PathLike,
    data_dir: str | None = None,
    splits: tuple[str, str] = ("train", "validation"),
    recipe: str = "",
    strategy: str = "auto",
    xla: str = "auto",
    data_service: str | None = None,
    profile_steps: tuple[int, int] | None = None,
    folder: folder_options.Options = folder_options.DEFAULT,
    watchers: Iterable[keras.callbacks.Callback] = (),
    make_trainer: Callable[..., trainer.Trainer] = trainer.Trainer,
) -> dict:
    """Trains from random weights, or resumes; returns the row of results.

    Args:
      model_name: a name of `registry.list_models`, or a variant file.
      dataset: a TFDS name, or one of `data_names.FORMS`.
      config, recipe: the recipe, and its name for the record.
      workdir: for checkpoints, logs, model and results; all workers share it.
      data_dir: where TFDS keeps its data sets.
      splits: to train on, and to evaluate on.
      strategy, xla, make_trainer: see `distribution` and `train_state.create`.
      data_service: address of a tf.data service's dispatcher, or None.
      profile_steps: (first, last) steps to profile for TensorBoard, or None.
      folder: how images are divided that have no splits.
      watchers: more callbacks, called after an epoch is saved.

    Raises:
      ValueError: an unknown name or setting, or a workdir of another run.
      RuntimeError: unreadable data, or another process is at the run.
      FloatingPointError: the loss became NaN or infinite.
      MemoryError: training cannot fit into this machine's memory.
      callbacks.Preempted: SIGTERM or SIGINT arrived; the state is saved.
    """
    begin, workdir = time.perf_counter(), pathlib.Path(workdir)
    variant = registry.get_variant(model_name)
    run = {"model": model_name, "dataset": dataset, "splits": list(splits)}
    run |= {"recipe": recipe, **run_config.describe(model_name, config, folder)}
    config = progression.fill(config, model_name, variant)
    _check(config, xla, data_service)
    finished = run_config.find_finished(run, workdir, data_dir)
    if finished is not None:
        return finished
    devices = _set_up(config, strategy)
    with run_config.working_on(run, workdir, devices) as finished:
        if finished is not None:
            return finished
        folder = _begin_list(folder, workdir, config)
        examples = _load_examples(dataset, splits, config, data_dir, folder)
        feed = inputs.Feed(examples, config, variant, devices, data_service)
        state = _build(model_name, feed, xla, make_trainer)
        options = {"profile_steps": profile_steps, "watchers": watchers}
        row = _run(run, state, feed, workdir, options)
        return _record(row, workdir, begin, devices)


def _check(config, xla, data_service):
    """Raises ValueError for what can be checked before any work."""
    teachers.check(config.teacher)
    distribution.check_xla(xla)
    remote.check_service(data_service)


def _begin_list(folder, workdir, config):
    """Returns how a folder is read by a run that keeps a list of its images."""
    folder = folder.begin(workdir, run_folder.has_begun(workdir))
    return dataclasses.replace(folder, bad_share=config.max_corrupt_share)


def _record(row, workdir, begin, devices):
    """Adds the time to a run's row, and writes it."""
    path = workdir / run_folder.METRICS_FILE
    row["seconds"] = round(progress.total_seconds([path], begin), 1)
    if distribution.is_chief(devices):
        files.append_json_line(workdir / run_folder.RESULTS_FILE, row)
    return row


def _run(run, state, feed, workdir, options):
    """Trains, evaluates and saves; returns the result row without its time."""
    is_chief = distribution.is_chief(feed.devices)
    # Only now, after everything has been checked.
    logs = (
        _logging(run, feed, workdir) if is_chief else contextlib.nullcontext()
    )
    lost = stopping.naming_lost_workers(feed.devices)
    with logs, feed.corrupt.raised(), lost:
        _fit(state, feed, workdir, **options)
        scores = _score(state, feed)
    if is_chief:
        _save(state, feed, workdir)
        example_files.save(
            feed.examples["test"],
            workdir / run_folder.EXAMPLES,
            feed.config.deep_pixels,
        )
        _plot(workdir)
    return {
        **{key: run[key] for key in ("model", "dataset", "recipe")},
        **scores,
        **_conditions(state.network, feed),
        **split_duplicates.count(workdir, run["splits"][1]),
    }


def _set_up(config, strategy):
    """Sets precision and random seeds; returns the strategy."""
    devices = distribution.make_strategy(strategy)
    distribution.replica_batch_size(
        config.micro_batch_size, devices.num_replicas_in_sync
    )
    distribution.set_precision(config.precision)
    keras.utils.set_random_seed(config.seed)
    return devices


@contextlib.contextmanager
def _logging(run, feed, workdir):
    """Writes the run's configuration, a few augmented images, and curves."""
    files.remove_leftovers(workdir)
    with summaries.writing(workdir, run):
        tf.summary.image(summaries.tag("augmented"), feed.preview()[None])
        yield


def _conditions(network, feed):
    """Returns the part of a result row that describes how it was trained."""
    return {
        "strategy": type(feed.devices).__name__,
        "replicas": feed.devices.num_replicas_in_sync,
        "xla": network.compiles,
        "epochs": feed.config.epochs,
        "seed": feed.config.seed,
        "train_images": feed.examples["train"].size,
        "test_images": feed.examples["test"].size,
    }


def _load_examples(dataset, splits, config, data_dir, folder):
    """Returns the images to train, to choose the best and to evaluate on."""
    loaded = sources.load_splits(dataset, splits, data_dir, folder)
    train, test = (loaded[split] for split in splits)
    shared = train.count_shared(test)
    if shared:
        logging.warning(
            "%d of the %d images of %s are also in %s, so their score says "
            "nothing about unseen images.",
            shared,
            test.size,
            *reversed(splits),
        )
    examples = {"train": train, "test": test}
    if config.minival_images >= train.size:
        raise ValueError(
            f"minival_images={config.minival_images} cannot be held out of "
            f"{train.size} training images; set fewer, such as "
            f"--set=minival_images={train.size // 10}, or 0 for none."
        )
    if config.minival_images:
        train, minival = train.hold_out(config.minival_images)
        examples |= {"train": train, "minival": minival}
    if examples["train"].size < config.batch_size:
        raise ValueError(
            f"batch_size={config.batch_size} is more than the "
            f"{examples['train'].size} training images."
        )
    return examples


def _build(model_name, feed, xla, make_trainer):
    """Returns the `TrainState` of a network with random weights."""
    config = feed.config
    classes = len(feed.class_names)
    replicas = feed.devices.num_replicas_in_sync
    sizes = {feed.size(stage) for stage in progression.stages(config)}
    memory.check_memory(
        costs.count_costs(feed.variant, max(sizes), classes),
        distribution.replica_batch_size(config.micro_batch_size, replicas),
        config.precision,
    )
    # A network that sees images of several sizes has no fixed input shape.
    sizes.add(feed.eval_size)
    side = max(sizes) if len(sizes) == 1 else None
    with feed.devices.scope():
        network = builder.build(
            model_name,
            classes=classes,
            input_shape=(side, side, 3),
            dropout_rate=progression.max_dropout(config),
            drop_path_rate=config.drop_path_rate,
        )
        layers.set_statistics(network, config.batch_norm)
        return train_state.create(
            network,
            optimizers.make_optimizer(config, feed.steps_per_epoch),
            ema_decay=config.ema_decay,
            label_smoothing=config.label_smoothing,
            make_trainer=make_trainer,
            metrics=[
                keras.metrics.CategoricalAccuracy("top1"),
                keras.metrics.TopKCategoricalAccuracy(5, "top5"),
            ],
            jit_compile=distribution.use_xla(
                xla, replicas=replicas, batch_norm=config.batch_norm
            ),
            steps_per_execution=inputs.steps_per_execution(
                config.steps_per_execution, feed.steps_per_epoch
            ),
            weight_decay=optimizers.decay_in_loss(config),
            decayed=config.decayed,
            teacher=teachers.load(config.teacher, feed.class_names),
            distill_temperature=config.distill_temperature,
            distill_weight=config.distill_weight,
            accumulation_steps=config.accumulation_steps,
        )


def _fit(state, feed, workdir, *, profile_steps, watchers):
    """Trains what remains of the run after its last checkpoint."""
    folder = workdir / run_folder.CHECKPOINTS
    done = state.restore(folder)
    distribution.check_same(feed.devices, done, "checkpoint's step")
    stages, stage = progression.stages(feed.config), None
    for segment in inputs.plan_segments(
        stages,
        feed.steps_per_epoch,
        done,
        execution=state.network.steps_per_execution,
    ):
        if segment.stage != stage:
            stage = segment.stage
            state.begin_stage(stage.dropout)
        _fit_segment(
            segment,
            state,
            feed,
            workdir,
            profile_steps=profile_steps,
            watchers=(*stopping.watch_others(feed.devices), *watchers),
        )
        profile_steps = None  # Once is enough.
    if feed.config.minival_images:
        best = checkpoints.find_best(folder)
        logging.info("Loading the best checkpoint on minival, %s.", best)
        checkpoints.load(best, state.variables)


def _fit_segment(segment, state, feed, workdir, **options):
    """Runs one call of `fit`; a signal saves the state and ends the run."""
    config = feed.config
    checkpointer = state.make_checkpointer(
        workdir / run_folder.CHECKPOINTS,
        first_step=segment.first_step,
        keep=config.keep_checkpoints,
        minutes=config.checkpoint_minutes,
        score="val_top1" if state.average is None else "val_ema_top1",
        writes=distribution.is_chief(feed.devices),
    )
    clock = progress.InputClock() if feed.measures_wait else None
    listed = callbacks.list_callbacks(
        checkpointer,
        workdir,
        epochs=config.epochs,
        batch_size=config.batch_size,
        evaluation=callbacks.Evaluation(
            *feed.make_eval("minival"), state.average
        ),
        clock=clock,
        **options,
    )
    kept = checkpointer.kept_without_images(feed.corrupt)
    with stopping.stopped_by_signals(checkpointer), kept:
        state.fit(
            feed.make_train(segment, clock),
            epochs=(segment.begin_epoch, segment.end_epoch),
            steps_per_epoch=segment.steps_per_epoch,
            watchers=listed,
        )


def _score(state, feed):
    """Returns the scores of the weights and of their average."""
    evaluation = callbacks.Evaluation(*feed.make_eval("test"))
    evaluation.set_model(state.network)
    scores = evaluation.score()
    if state.average is not None:
        with state.averaged():
            scores |= evaluation.score("ema_")
    return {name: round(value, 6) for name, value in scores.items()}


def _save(state, feed, workdir):
    """Saves a `Classifier` with the averaged weights, if there are any."""
    with state.averaged():
        layers.set_statistics(state.network, "local")
        feed.make_classifier(state.network).save(workdir)


def _plot(workdir):
    """Draws the run's curves into its folder, if Matplotlib is installed."""
    if not extras.is_installed("matplotlib"):
        logging.info(
            "%s is not drawn: it needs matplotlib; `pip install matplotlib`.",
            CURVES_FILE,
        )
        return
    rows = run_folder.read_metrics(workdir / run_folder.METRICS_FILE)
    image = figures.curves_image(rows, CHARTS)
    figures.write_png(workdir / CURVES_FILE, image)
