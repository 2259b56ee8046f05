"""One fine-tuning run: head, network, evaluation, and its files."""

import dataclasses
import os
import pathlib
import time
from collections.abc import Iterable, Mapping
from typing import Any

import keras
from absl import logging

from efficientnet_tf.data.sets import split_duplicates
from efficientnet_tf.models import registry
from efficientnet_tf.training import distribution, progress, summaries
from efficientnet_tf.utils import (
    configs,
    files,
    folder_options,
    phases,
    run_folder,
    targets,
)
from efficientnet_tf.weights import catalog
from transfer import class_runs, target_runs
from transfer.choice import auto, target_choice, time_budget
from transfer.config import (
    class_weights,
    finetune_config,
    hyper_rule,
    recipes,
    tasks,
)
from transfer.report import run_report
from transfer.training import few_images, fitting, inputs, starts

# What is shown of a finished run.
RESULT = {
    **dict.fromkeys(("task", "model", "recipe", "metric", "evaluated_on"), str),
    **dict.fromkeys(("score", "seconds"), float),
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

    The same call on the same workdir resumes after the last finished epoch, or
    returns the row of a finished run.

    Args:
      task_name: a name in `tasks.TASKS`, or one of `data_names.FORMS`.
      model_name: a name, a variant file or a `Variant`.
      weights: the initial ones, see `loading.resolve`; None: random.
      config: the recipe.
      workdir: folder for checkpoints, logs, model, results and report.
      data_dir: where TFDS keeps its sets.
      recipe: the recipe's name, for the row.
      folder: how a folder of images is read.
      watchers: more callbacks; their exceptions stop a run that is saved.
      source_family: of the weights, see `loading.build`.
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
    origin = _describe_origin(weights, source_family, normalization)
    run = {"task": task_name, "recipe": recipe, **dataclasses.asdict(config)}
    run |= describe_network(model_name, origin) | folder.describe()
    run["folds"] = None  # A cross-validation is another run.
    with run_folder.working_on(workdir, run, upgrade, RESULT) as finished:
        if finished is not None:
            tasks.warn_of_changes(task, data_dir, workdir, folder)
            run_report.write_missing(workdir)
            return finished
        folder = _begin_folder(folder, workdir, start)
        _check_class_weight(task, data_dir, config)
        _set_up(workdir, config)
        row = _load_and_run(
            *(run, workdir, (began or begin, begin), watchers),
            network=(task, model_name, origin, config),
            source=(data_dir, folder),
        )
        return _record(row, workdir, begin, folder.workdir or workdir)


def _describe_origin(weights, source_family, normalization):
    reading = {"source_family": source_family, "normalization": normalization}
    return {"weights": weights, **reading}


def _load_and_run(run, workdir, times, watchers, *, network, source):
    """Loads the images that count; returns the row of `_run`, with phases."""
    (task, *_, config), (data_dir, folder) = network, source
    with phases.recording(*times) as clock:
        with phases.during(phases.READING):
            loaded = tasks.load_examples(task, data_dir, folder, targets.KINDS)
        drawn = few_images.draw(loaded, config, workdir, folder.workdir)
        setup = fitting.Setup(*network, drawn, workdir)
        row = _run(run, _begin_clock(setup, times[0]), watchers)
        row |= few_images.count_ignored(workdir, loaded, drawn)
        # Of this process, if it resumed a run.
        return row | {"phases": clock.seconds}


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
    """Adds time and duplicates, by the lists there; writes row and report."""
    row |= split_duplicates.count(lists, row["evaluated_on"])
    row["seconds"] = round(_total_seconds(workdir, begin), 1)
    files.append_json_line(workdir / run_folder.RESULTS_FILE, row)
    run_report.write_missing(workdir)
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


def upgrade(stored: dict) -> dict:
    """Returns the config of an earlier version's run as one of this."""
    # A run of an earlier version lacks later fields; their defaults are what it
    # did.
    defaults = configs.list_defaults(recipes.FinetuneConfig)
    return registry.upgrade(defaults | finetune_config.upgrade(stored))


def _set_up(workdir, config):
    files.remove_leftovers(workdir)
    files.remove(workdir / run_report.REPORT_FILE)  # Of a deleted result.
    keras.utils.set_random_seed(config.seed)
    distribution.set_precision(config.precision)
    logging.info("Working on %s.", distribution.describe_device())


def describe_network(
    model: registry.Model, origin: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns what a run's configuration says of its network and weights."""
    described = {"model": fitting.label(model), **origin}
    if described["model"] not in registry.list_models():
        # A file may change before the run is resumed.
        described["network"] = dataclasses.asdict(registry.get_variant(model))
    return described


def _run(run, setup, watchers):
    """Trains, scores and saves; returns the row without its time."""
    target_runs.check(setup)
    if setup.target == targets.CLASS:
        inputs.check_balance(setup.examples["train"], setup.config)
    with summaries.writing(setup.workdir, run):
        setup, choice = _resolve(setup, run)
        # So that a search before leaves no trace in the random numbers.
        keras.utils.set_random_seed(setup.config.seed)
        classifier = fitting.build(setup)
        held_out = fitting.train(setup, classifier, watchers)
        if setup.target == targets.CLASS:
            ended = class_runs.finish(setup, classifier)
        else:
            ended = target_runs.finish(setup, classifier, held_out)
    return {
        **_result_row(run, setup),
        **choice,
        **_describe_limit(setup),
        **_describe_start(setup),
        **ended,
        "resolution": classifier.resolution,
        **_describe_shape(classifier),
        # JAX compiles every step.
        "xla": keras.backend.backend() == "jax" or distribution.use_xla(),
    }


def _describe_shape(classifier):
    """Returns what of the images' shape a row has besides the resolution."""
    size, resize = classifier.size, classifier.preparation.resize
    width = {} if size[0] == size[1] else {"width": size[1]}
    return {"resize": resize, **width}


def _describe_limit(setup):
    if setup.pacing is None:
        return {}
    return {"within_limit": time_budget.describe(setup)}


def _describe_start(setup):
    if setup.config.quantization == "none":
        return {}
    start = starts.find_start(setup.weights)
    return start.describe(setup.config.evaluate_on)


def _resolve(setup, run):
    """Returns the setup with what its rule decides, and fields of the row."""
    config, examples = setup.config, setup.examples
    if config.rule == "none":
        return _limit(setup, run)
    area = inputs.median_area(examples["train"])
    if config.rule == "auto":
        compare = None
        if setup.target != targets.CLASS:
            compare = target_choice.compare
        config, choice = auto.choose(setup, area, compare)
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
    return time_budget.hold(setup), {}


def _result_row(run, setup):
    task, config, examples = setup.task, setup.config, setup.examples
    used = [examples[split] for split in config.train_on.split("+")]
    images = sum(part.size for part in used)
    tested = examples[config.evaluate_on]
    return {
        **{k: run[k] for k in ("task", "model", "weights", "recipe")},
        "changed": recipes.list_changes(run["recipe"], run, task=run["task"]),
        "evaluated_on": config.evaluate_on,
        "epochs": config.epochs,
        "steps": config.steps,
        "learning_rate": config.learning_rate,
        "weight_decay": config.weight_decay,
        "seed": config.seed,
        "train_images": images,
        "test_images": tested.size,
        # Whether these are all of the paper's images.
        "complete": task.is_complete(images, tested.size),
        "published": task.published,
        "published_model": task.published_model,
    }
