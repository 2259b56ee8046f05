"""One fine-tuning run: head, network, evaluation, and its files."""

import dataclasses
import functools
import os
import pathlib
import time
from collections.abc import Iterable

import keras
import tensorflow as tf
from absl import logging

from efficientnet_tf.data import (
    decoding,
    example_files,
    split_duplicates,
)
from efficientnet_tf.inference import explain, overlays
from efficientnet_tf.models import registry
from efficientnet_tf.training import distribution, progress, summaries
from efficientnet_tf.utils import (
    configs,
    figures,
    files,
    folder_options,
    run_folder,
)
from efficientnet_tf.weights import catalog
from transfer import (
    auto,
    calibration,
    class_weights,
    diagnostics,
    environment,
    fitting,
    gallery,
    hyper_rule,
    image_names,
    inputs,
    predictions,
    recipes,
    starts,
    tasks,
    temperature,
    time_budget,
)

# What is shown of a finished run.
RESULT = {
    **dict.fromkeys(("task", "model", "recipe", "metric", "evaluated_on"), str),
    **dict.fromkeys(("score", "top1", "seconds"), float),
    **dict.fromkeys(("train_images", "test_images"), int),
}


def finetune_and_evaluate(
    task_name: str,
    model_name: registry.Model,
    *,
    weights: str | None,
    config: recipes.FinetuneConfig,
    workdir: str | os.PathLike,
    data_dir: str | None = None,
    recipe: str = "",
    folder: folder_options.Options = folder_options.DEFAULT,
    watchers: Iterable[keras.callbacks.Callback] = (),
    source_family: str | None = None,
    normalization: str | None = None,
    began: float | None = None,
) -> dict:
    """Fine-tunes a network on a task and returns its row of results.

    The same call on the same workdir resumes after the last finished epoch; for
    a finished run it returns the row.

    Args:
      task_name: a name in `tasks.TASKS`, or one of `data_names.FORMS`.
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
      began: when a time limit began, by `time.perf_counter()`; None: now.

    Raises:
      ValueError: an unknown name, or a workdir of another run.
      RuntimeError: the data cannot be read, or another process is at the run.
      FloatingPointError: the loss became NaN or infinite.
    """
    begin, workdir = time.perf_counter(), pathlib.Path(workdir)
    task = tasks.get_task(task_name)
    start = _check_weights(task_name, model_name, weights, config, folder)
    origin = {"weights": weights, "source_family": source_family}
    origin["normalization"] = normalization
    run = {"task": task_name, "recipe": recipe, **dataclasses.asdict(config)}
    run |= _describe_network(model_name, origin) | folder.describe()
    with run_folder.working_on(workdir, run, _upgrade, RESULT) as finished:
        if finished is not None:
            tasks.warn_of_changes(task, data_dir, workdir)
            return finished
        folder = _begin_folder(folder, workdir, start)
        _check_class_weight(task, data_dir, config)
        _set_up(workdir, config)
        examples = tasks.load_examples(task, data_dir, folder)
        setup = fitting.Setup(
            task, model_name, origin, config, examples, workdir
        )
        row = _run(run, _begin_clock(setup, began or begin), watchers)
        return _record(row, workdir, begin, folder.workdir or workdir)


def _check_weights(task, model, weights, config, folder):
    """Returns the run that a quantized one starts from; None for others."""
    if weights is not None:
        catalog.check_name(model, weights)
    if config.quantization == "none":
        return None
    start = starts.find_start(weights)
    starts.check_start(start, task, model, config, folder)
    return start


def _check_class_weight(task, data_dir, config):
    """Raises ValueError for a weight of no class, before a list is written."""
    if class_weights.parse(config.class_weight):
        names = tasks.list_class_names(task, data_dir)
        if names is not None:
            config.weigh(names)


def _begin_folder(folder, workdir, start):
    begun = run_folder.has_begun(workdir)
    if start is not None:
        starts.copy_lists(start, workdir)
        begun = True  # The start's list of images holds.
    return folder.begin(workdir, begun)


def _record(row, workdir, begin, lists):
    """Adds time and duplicates, by the lists there, to a row; writes it."""
    row |= split_duplicates.count(lists, row["evaluated_on"])
    row["seconds"] = round(_total_seconds(workdir, begin), 1)
    files.append_json_line(workdir / run_folder.RESULTS_FILE, row)
    return row


def _total_seconds(workdir, begin):
    paths = [workdir / run_folder.METRICS_FILE, *auto.metrics_files(workdir)]
    return progress.total_seconds(paths, begin)


def _begin_clock(setup, began):
    """Returns a setup that knows when its run must be over."""
    if not setup.config.time_limit:
        return setup
    left = 60 * setup.config.time_limit - _total_seconds(setup.workdir, began)
    return dataclasses.replace(setup, end=time.perf_counter() + left)


def _upgrade(stored):
    # A run of an earlier version lacks later fields; their defaults are what it
    # did.
    defaults = configs.list_defaults(recipes.FinetuneConfig)
    return registry.upgrade(defaults | class_weights.upgrade(stored))


def _set_up(workdir, config):
    files.remove_leftovers(workdir)
    keras.utils.set_random_seed(config.seed)
    distribution.set_precision(config.precision)
    logging.info("Working on %s.", distribution.describe_device())


def _describe_network(model, origin):
    """Returns what a run's configuration says of its network and weights."""
    described = {"model": fitting.label(model), **origin}
    if described["model"] not in registry.list_models():
        # A file may change before the run is resumed.
        described["network"] = dataclasses.asdict(registry.get_variant(model))
    return described


def _run(run, setup, watchers):
    """Trains, scores and saves; returns the row without its time."""
    inputs.check_balance(setup.examples["train"], setup.config)
    with summaries.writing(setup.workdir, run):
        setup, choice = _resolve(setup, run)
        # So that a search before leaves no trace in the random numbers.
        keras.utils.set_random_seed(setup.config.seed)
        classifier = fitting.build(setup)
        fitting.train(setup, classifier, watchers)
        classifier, calibrated = temperature.calibrate(setup, classifier)
        tested = setup.examples[setup.config.evaluate_on]
        collector = predictions.Collector(tested.size, classifier.temperature)
        scores = fitting.score(classifier, tested, collector.keep)
        _summarize(scores, classifier, setup.task)
    draw = _make_drawer(classifier)
    return {
        **_result_row(run, setup, scores),
        **choice,
        **_describe_start(setup),
        **calibrated,
        **_keep(classifier, tested, scores, setup.workdir, draw),
        **_keep_predictions(classifier, tested, collector, setup.workdir, draw),
        "resolution": classifier.resolution,
        # JAX compiles every step.
        "xla": keras.backend.backend() == "jax" or distribution.use_xla(),
    }


def _describe_start(setup):
    if setup.config.quantization == "none":
        return {}
    start = starts.find_start(setup.weights)
    return start.describe(setup.config.evaluate_on)


def _keep(classifier, examples, scores, workdir, draw):
    """Writes the model and its mistakes; returns diagnostics for the row."""
    example_files.save(
        examples, workdir / run_folder.EXAMPLES, classifier.deep_pixels
    )
    diagnostics.save_mistakes(
        examples.dataset,
        scores,
        workdir,
        _make_decoder(classifier),
        draw,
    )
    classifier.save(workdir)
    return diagnostics.collect(
        classifier.model,
        classifier.class_names,
        scores,
        workdir / run_folder.METRICS_FILE,
    )


def _keep_predictions(classifier, examples, collector, workdir, draw):
    """Writes what the run's report is drawn from; returns fields of the row.

    Whatever the images are called: a run is not lost by it.
    """
    found = collector.collect(image_names.describe(examples))
    try:
        predictions.write(workdir / predictions.PREDICTIONS_FILE, found)
        gallery.save(
            examples,
            found,
            workdir,
            _make_decoder(classifier),
            draw,
        )
        files.write_json(
            workdir / environment.ENVIRONMENT_FILE,
            environment.describe(distribution.describe_device()),
        )
    except (OSError, RuntimeError, ValueError) as error:
        logging.warning("The run's report will lack images: %s", error)
    return {
        name: calibration.bin_confidence(sure, found.hits).error
        for name, sure in (
            ("ece_before", found.before),
            ("ece", found.probabilities[:, 0]),
        )
    }


def _make_decoder(classifier):
    return functools.partial(
        decoding.decode, deep_pixels=classifier.deep_pixels
    )


def _make_drawer(classifier):
    """Returns what draws activation maps; None if there are none.

    Here, because the images are at hand as they are, not as thumbnails.
    """
    try:
        compute = explain.make_maps(classifier)
    except ValueError as error:
        logging.info("No activation maps: %s", error)
        return None
    return lambda examples: map(
        overlays.overlay_maps,
        explain.explain_pixels(classifier, compute, examples),
    )


def _resolve(setup, run):
    """Returns the setup with what its rule decides, and fields of the row."""
    config, examples = setup.config, setup.examples
    if config.rule == "none":
        return _limit(setup, run)
    area = inputs.median_area(examples["train"])
    if config.rule == "auto":
        config, choice = auto.choose(setup, area)
        setup = dataclasses.replace(setup, config=config)
        if config.trains and config.time_limit:
            setup = time_budget.hold(setup)
        return setup, choice
    images = sum(examples[part].size for part in config.train_on.split("+"))
    config = hyper_rule.resolve(config, images, area)
    logging.info("The rule's choice: %s.", config)
    return dataclasses.replace(setup, config=config), {}


def _limit(setup, run):
    """Returns the setup of a run that ends in time, and fields of the row."""
    if not setup.config.time_limit:
        return setup, {}
    name = run["recipe"]
    fixed = recipes.list_changes(name, run, task=run["task"]) if name else ()
    if not setup.config.trains:
        config = time_budget.limit_features(setup, fixed=fixed, alone=True)
        return dataclasses.replace(setup, config=config), {}
    chosen = time_budget.choose(setup, fixed=fixed)
    config = chosen.apply(setup.config)
    setup = dataclasses.replace(setup, config=config)
    return time_budget.hold(setup), {"within_limit": str(chosen)}


def _summarize(scores, classifier, task):
    tf.summary.scalar("evaluation/top1", scores.top1)
    tf.summary.scalar("evaluation/top5", scores.top5)
    tf.summary.scalar("evaluation/mean_per_class", scores.mean_per_class)
    image = figures.confusion_image(scores.confusion, classifier.class_names)
    tf.summary.image("confusion", image[None])
    logging.info("%s: %.4f", task.metric, getattr(scores, task.metric))


def _result_row(run, setup, scores):
    task, config, examples = setup.task, setup.config, setup.examples
    used = [examples[split] for split in config.train_on.split("+")]
    images = sum(part.size for part in used)
    tested = examples[config.evaluate_on]
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
        "train_images": images,
        "test_images": tested.size,
        # Of each class, in the order of "class_names".
        "train_counts": sum(map(inputs.count_classes, used)).tolist(),
        "test_counts": inputs.count_classes(tested).tolist(),
        # Whether these are all of the paper's images.
        "complete": task.is_complete(images, tested.size),
        "published": task.published,
        "published_model": task.published_model,
    }
