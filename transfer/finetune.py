"""One fine-tuning run: head, network, evaluation, and its files."""

import dataclasses
import os
import pathlib
import time
from collections.abc import Iterable, Mapping

import keras
import tensorflow as tf
import tqdm
from absl import logging

from efficientnet_tf.data import (
    decoding,
    example_files,
    examples as examples_lib,
    preprocessing,
    split_duplicates,
)
from efficientnet_tf.inference import classifier as classifier_lib, evaluate
from efficientnet_tf.models import features, layers, plan, registry, variants
from efficientnet_tf.training import (
    callbacks,
    checkpoints,
    distribution,
    progress,
    summaries,
    train_state,
)
from efficientnet_tf.utils import figures, files, folder_options, run_folder
from efficientnet_tf.weights import catalog, loading
from transfer import (
    diagnostics,
    hyper_rule,
    inputs,
    linear_head,
    optimizers,
    recipes,
    schedules,
    tasks,
)


@dataclasses.dataclass(frozen=True)
class _Setup:
    """What a run works with, loaded and checked; its recipe has no rule."""

    task: tasks.Task
    config: recipes.FinetuneConfig
    examples: Mapping[str, examples_lib.Examples]
    classifier: classifier_lib.Classifier
    workdir: pathlib.Path


def finetune_and_evaluate(
    task_name: str,
    model_name: registry.Model,
    *,
    weights: str | None,
    config: recipes.FinetuneConfig,
    workdir: str | os.PathLike,
    data_dir: str | None = None,
    recipe: str = "",
    folder: folder_options.Options = folder_options.Options(),  # noqa: B008
    watchers: Iterable[keras.callbacks.Callback] = (),
    source_family: str | None = None,
    normalization: str | None = None,
) -> dict:
    """Fine-tunes a network on a task and returns its row of results.

    The same call on the same workdir resumes after the last finished epoch; for
    a finished run it returns the row.

    Args:
      task_name: a name in `tasks.TASKS`, or "folder:PATH".
      model_name: a name, a variant file or a `Variant`.
      weights: the initial ones, see `loading.resolve`; None: random.
      config: the recipe.
      workdir: folder for checkpoints, logs, model and results.
      data_dir: where TFDS keeps its sets.
      recipe: the recipe's name, for the row.
      folder: how a folder of images is read.
      watchers: more callbacks; an exception of theirs stops the run after the
        epoch is saved.
      source_family: of the weights, see `loading.resolve`.
      normalization: of the weights, see `loading.build`.

    Raises:
      ValueError: an unknown name, or a workdir of another run.
      RuntimeError: the data cannot be read.
      FloatingPointError: the loss became NaN or infinite.
    """
    begin = time.perf_counter()
    workdir = pathlib.Path(workdir)
    task = tasks.get_task(task_name)
    if weights is not None:
        catalog.check_name(model_name, weights)
    origin = {"weights": weights, "source_family": source_family}
    origin["normalization"] = normalization
    run = {"task": task_name, "recipe": recipe, **dataclasses.asdict(config)}
    run |= _describe_network(model_name, origin) | folder.describe()
    finished = run_folder.start_run(workdir, run, registry.upgrade)
    if finished is not None:
        tasks.warn_of_changes(task, data_dir, workdir)
        return finished
    folder = folder.begin(workdir, run_folder.has_begun(workdir))
    files.remove_leftovers(workdir)
    keras.utils.set_random_seed(config.seed)
    distribution.set_precision(config.precision)
    examples = tasks.load_examples(task, data_dir, folder)
    setup = _set_up(task, config, examples, (model_name, origin), workdir)
    row = _run(run, setup, watchers)
    row |= split_duplicates.count(folder.workdir or workdir)
    return _record(row, workdir, begin)


def _record(row, workdir, begin):
    """Adds the time to a run's row, and writes it."""
    path = workdir / run_folder.METRICS_FILE
    row["seconds"] = round(progress.total_seconds(path, begin), 1)
    files.append_json_line(workdir / run_folder.RESULTS_FILE, row)
    return row


def _set_up(task, config, examples, network, workdir):
    """Returns the `_Setup` of a run; `network` is a model and its origin."""
    model, origin = network
    config = _resolve(config, examples)
    class_names = examples["train"].class_names
    classifier = _build(model, origin, class_names, task, config)
    return _Setup(task, config, examples, classifier, workdir)


def _describe_network(model, origin):
    """Returns what a run's configuration says of its network and weights."""
    described = {"model": _label(model), **origin}
    if described["model"] not in registry.list_models():
        # A file may change before the run is resumed.
        described["network"] = dataclasses.asdict(registry.get_variant(model))
    return described


def _label(model):
    """Returns what rows and messages call a network."""
    return "variant" if isinstance(model, variants.Variant) else str(model)


def _run(run, setup, watchers):
    """Trains, scores and saves; returns the row without its time."""
    classifier, workdir = setup.classifier, setup.workdir
    tested = setup.examples[setup.config.evaluate_on]
    with summaries.writing(workdir, run):
        if not checkpoints.list_newest(workdir / run_folder.CHECKPOINTS):
            cache_key = f"{run.get('network', run['model'])}:{run['weights']}"
            linear_head.initialize_head(
                classifier, setup.examples, setup.config, cache_key, workdir
            )
        if setup.config.trains:
            _fit(setup, watchers)
        scores = _evaluate(classifier, tested)
        _summarize(scores, classifier, setup.task)
    return {
        **_result_row(run, setup, scores),
        **_keep(classifier, tested, scores, workdir),
        "resolution": classifier.resolution,
        # JAX compiles every step.
        "xla": keras.backend.backend() == "jax" or distribution.use_xla(),
    }


def _build(model, origin, class_names, task, config):
    """Returns an untrained `Classifier`."""
    variant = registry.get_variant(model)
    size = config.resolution or variant.resolution
    if config.resize and config.resize < size:
        raise ValueError(
            f"resize={config.resize} is less than {_label(model)}'s {size} "
            "pixels."
        )
    network = loading.build(
        model,
        **origin,
        input_shape=(size, size, 3),
        classes=len(class_names),
        dropout_rate=config.dropout_rate,
        drop_path_rate=_drop_path_rate(model, config),
    )
    interpolation = config.interpolation
    if interpolation == "model":
        interpolation = variant.interpolation
    padding = _crop_padding(task, config)
    return classifier_lib.Classifier(
        network, class_names, size, interpolation, padding
    )


def _drop_path_rate(model, config):
    if config.drop_path_rate == 0 or plan.drops_paths(model):
        return config.drop_path_rate
    logging.info(
        "%s has blocks that drop no paths; drop_path_rate=%g is not used.",
        _label(model),
        config.drop_path_rate,
    )
    return 0.0


def _keep(classifier, examples, scores, workdir):
    """Writes the model and its mistakes; returns diagnostics for the row."""
    example_files.save(examples, workdir / run_folder.EXAMPLES)
    diagnostics.save_mistakes(
        examples.dataset, scores, workdir, decoding.decode
    )
    classifier.save(workdir)
    return diagnostics.collect(
        classifier.model,
        classifier.class_names,
        scores,
        workdir / run_folder.METRICS_FILE,
    )


def _resolve(config, examples):
    """Returns the config with what its rule decides for this data set."""
    if config.rule == "none":
        return config
    image, _ = next(iter(examples["train"].dataset))
    height, width, _ = decoding.decode(image).shape
    images = sum(examples[part].size for part in config.train_on.split("+"))
    config = hyper_rule.resolve(config, images, height * width)
    logging.info("The rule's choice: %s.", config)
    return config


def _fit(setup, watchers):
    """Trains the network, resuming from its newest checkpoint."""
    classifier, config = setup.classifier, setup.config
    train = setup.examples["train"]
    if config.train_on == "train+validation":
        train = train.concatenate(setup.examples["validation"])
    feed = inputs.Feed(train, classifier, config, flip=setup.task.flip)
    average = _fit_to(feed, setup, watchers)
    if average is not None:
        average.swap()
    for layer in classifier.model.layers:
        layer.trainable = True


def _fit_to(feed, setup, watchers):
    """Trains on a feed; returns the EMA of the weights or None."""
    classifier, config = setup.classifier, setup.config
    batch_size = min(config.batch_size, feed.size)
    steps_per_epoch = feed.size / batch_size
    rounds, steps = schedules.plan_rounds(config, steps_per_epoch)
    _set_trainable(classifier.model, config, steps_per_epoch)
    state = _compile(classifier.model, config, steps_per_epoch)
    folder = setup.workdir / run_folder.CHECKPOINTS
    done = state.restore(folder) // steps
    evaluation = None
    if config.train_on == "train":
        dataset = _validation_set(classifier, setup.examples["validation"])
        evaluation = callbacks.Evaluation(dataset, len(dataset), state.average)
    train_set = feed.make_dataset(batch_size, start_step=done * steps)
    images, _ = next(iter(train_set))
    tf.summary.image("augmented", figures.image_grid(images[:16])[None])
    if done < rounds:
        state.fit(
            train_set,
            epochs=(done, rounds),
            steps_per_epoch=steps,
            watchers=callbacks.list_callbacks(
                state.make_checkpointer(folder, first_step=done * steps),
                setup.workdir,
                epochs=rounds,
                batch_size=batch_size,
                evaluation=evaluation,
                watchers=watchers,
            ),
        )
    return state.average


def _set_trainable(network, config, steps_per_epoch):
    """Freezes what the config says, and sets batch norm's momentum."""
    features.freeze_stages(network, config.frozen_stages)
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable &= config.batch_norm == "train"
            layer.momentum = config.batch_norm_momentum or max(
                1 - 10 / steps_per_epoch, 0.9
            )


def _compile(network, config, steps_per_epoch):
    """Compiles a network for fine-tuning; returns its `TrainState`."""
    decoupled = config.optimizer == "adamw"
    return train_state.create(
        network,
        optimizers.make_optimizer(config, steps_per_epoch),
        ema_decay=config.ema_decay,
        label_smoothing=config.label_smoothing,
        metrics=[keras.metrics.CategoricalAccuracy("top1")],
        jit_compile=distribution.use_xla(),
        weight_decay=0.0 if decoupled else config.weight_decay,
    )


def _validation_set(classifier, examples):
    dataset = inputs.make_eval_dataset(examples, classifier)
    classes = len(classifier.class_names)
    return dataset.map(
        lambda images, labels: (images, tf.one_hot(labels, classes))
    )


def _crop_padding(task, config):
    crop = task.crop if config.crop == "task" else config.crop
    return {"center": 0, "padded": preprocessing.CROP_PADDING, "whole": None}[
        crop
    ]


def _evaluate(classifier, examples):
    logging.info("Evaluating on %d images.", examples.size)
    dataset = inputs.make_eval_dataset(examples, classifier)
    with tqdm.tqdm(
        desc="Evaluating", total=examples.size, unit="image", disable=None
    ) as bar:
        return evaluate.evaluate(classifier.model, dataset, progress=bar.update)


def _summarize(scores, classifier, task):
    tf.summary.scalar("evaluation/top1", scores.top1)
    tf.summary.scalar("evaluation/top5", scores.top5)
    tf.summary.scalar("evaluation/mean_per_class", scores.mean_per_class)
    image = figures.confusion_image(scores.confusion, classifier.class_names)
    tf.summary.image("confusion", image[None])
    logging.info("%s: %.4f", task.metric, getattr(scores, task.metric))


def _result_row(run, setup, scores):
    task, config, examples = setup.task, setup.config, setup.examples
    used = [examples[split].size for split in config.train_on.split("+")]
    tested = examples[config.evaluate_on].size
    return {
        **{k: run[k] for k in ("task", "model", "weights", "recipe")},
        "changed": recipes.list_changes(run["recipe"], run, task=run["task"]),
        "metric": task.metric,
        "score": getattr(scores, task.metric),
        "top1": scores.top1,
        "top5": scores.top5,
        "mean_per_class": scores.mean_per_class,
        "evaluated_on": config.evaluate_on,
        "epochs": config.epochs,
        "steps": config.steps,
        "learning_rate": config.learning_rate,
        "weight_decay": config.weight_decay,
        "seed": config.seed,
        "train_images": sum(used),
        "test_images": tested,
        # Whether these are all of the paper's images.
        "complete": task.is_complete(sum(used), tested),
        "published": task.published,
        "published_model": task.published_model,
    }
