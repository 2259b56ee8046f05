"""One fine-tuning run: head, network, evaluation, everything on disk."""

import dataclasses
import functools
import pathlib
import re
import sys
import time

import keras
import tensorflow as tf
from absl import logging

from efficientnet_tf import (
    callbacks,
    checkpoints,
    classifier,
    data,
    distribution,
    evaluate,
    files,
    layers,
    mixing,
    model,
    optimization,
    preprocessing,
    variants,
    visualize,
)
from efficientnet_tf import weights as weights_lib
from transfer import features, tasks

EVAL_BATCH_SIZE = 64
EXAMPLE_IMAGES = 8


def finetune_and_evaluate(
    task_name, model_name, *, weights, config, workdir, data_dir=None, recipe=""
):
    """Fine-tunes a network on a task and scores it.

    The same call on the same workdir goes on after the last finished epoch;
    on a finished run it returns the result that stands there.

    Args:
      task_name: a name in `tasks.TASKS`, or "folder:PATH".
      model_name: a name of the family.
      weights: where it starts from, see `weights.resolve`.
      config: a `recipes.FinetuneConfig`.
      workdir: folder for checkpoints, logs, model and results.
      data_dir: where TFDS keeps its sets.
      recipe: the recipe's name, for the record.

    Returns:
      The result row, a dict.

    Raises:
      ValueError: an unknown name, or a workdir of another run.
      RuntimeError: the data cannot be read.
    """
    begin = time.perf_counter()
    workdir = pathlib.Path(workdir)
    task = tasks.get_task(task_name)
    variant = variants.get_variant(model_name)
    run = {
        "task": task_name,
        "model": model_name,
        "weights": weights,
        "recipe": recipe,
        **dataclasses.asdict(config),
    }
    if weights is not None:
        weights_lib.check_name(model_name, weights)
    finished = files.start_run(workdir, run)
    if finished is not None:
        return finished
    files.remove_leftovers(workdir)

    keras.utils.set_random_seed(config.seed)
    distribution.set_precision(config.precision)
    examples = tasks.load_examples(task, data_dir)
    size = config.resolution or variant.resolution
    network = model.build(
        model_name,
        weights=weights,
        input_shape=(size, size, 3),
        classes=len(examples["train"].class_names),
        dropout_rate=config.dropout_rate,
        drop_path_rate=config.drop_path_rate,
    )
    files.write_json(workdir / files.CONFIG_FILE, run)
    result = classifier.Classifier(
        network,
        examples["train"].class_names,
        size,
        variant.interpolation,
        _crop_padding(task, config),
    )
    writer = tf.summary.create_file_writer(str(workdir / "tensorboard/run"))
    with writer.as_default(step=0):
        tf.summary.text("config", files.as_table(run))
        if not checkpoints.list_newest(workdir / "checkpoints"):
            if config.head == "linear":
                cache_key = f"{model_name}:{weights}"
                _start_head(result, examples, config, cache_key)
        if config.epochs:
            _fit(result, task, examples, config, workdir)
        scores = _evaluate(result, examples[config.evaluate_on])
        _summarize(scores, result, task)
    _save_examples(examples[config.evaluate_on], workdir / "examples")
    result.save(workdir)
    row = {
        **_result_row(run, task, config, examples, scores),
        "resolution": size,
        "xla": distribution.use_xla(),
        "seconds": round(
            callbacks.total_seconds(workdir / files.METRICS_FILE, begin), 1
        ),
    }
    files.append_json_line(workdir / files.RESULTS_FILE, row)
    return row


def _start_head(result, examples, config, cache_key):
    """Sets the dense layer to a logistic regression on frozen features."""
    network, classes = result.model, len(result.class_names)
    settings = (result.resolution, result.interpolation, result.crop_padding)
    pairs = {}
    for split in ("train", "validation"):
        part = examples[split]
        logging.info("Features of %d %s images.", part.size, split)
        dataset = _eval_dataset(result, part)
        key = f"{cache_key}:{settings}:{config.precision}:{part.fingerprint}"
        pairs[split] = features.extract(network, dataset, key)
    kernel, bias, strength, accuracy = features.fit_classifier(
        pairs["train"], pairs["validation"], classes, config.l2_sweep
    )
    logging.info(
        "Linear head: C=%g, validation top-1 %.4f.", strength, accuracy
    )
    tf.summary.scalar("linear_head/validation_top1", accuracy)
    if config.train_on == "train+validation":
        kernel, bias = features.refit_classifier(
            features.concatenate(pairs.values()), classes, strength
        )
    network.get_layer("predictions").set_weights([kernel, bias])


def _fit(result, task, examples, config, workdir):
    """Trains the whole network, going on where a checkpoint ends."""
    network = result.model
    train = examples["train"]
    if config.train_on == "train+validation":
        train = train.concatenate(examples["validation"])
    batch_size = min(config.batch_size, train.size)
    steps = train.size // batch_size
    schedule = optimization.warmup_cosine(
        config.learning_rate,
        steps * config.epochs,
        round(steps * min(config.warmup_epochs, config.epochs / 2)),
    )
    statistics = [
        layer
        for layer in network.layers
        if isinstance(layer, layers.BatchNormalization)
    ]
    for layer in statistics:
        layer.trainable = config.batch_norm == "train"
        # Kornblith et al., 2019: short runs need statistics that keep up.
        layer.momentum = max(1 - 10 / steps, 0.9)
    network.compile(
        optimization.make_adamw(
            schedule,
            weight_decay=config.weight_decay,
            ema_decay=config.ema_decay,
        ),
        keras.losses.CategoricalCrossentropy(
            label_smoothing=config.label_smoothing
        ),
        metrics=[keras.metrics.CategoricalAccuracy("top1")],
        jit_compile=distribution.use_xla(),
    )
    state = checkpoints.state_of(network)
    done = checkpoints.restore(workdir / "checkpoints", state) // steps
    classes = len(result.class_names)
    train_set = data.make_epochs_dataset(
        train,
        _train_preprocess(result, task, config),
        batch_size=batch_size,
        seed=config.seed,
        start_step=done * steps,
        batch_transform=functools.partial(
            mixing.mix,
            classes=classes,
            mixup_alpha=config.mixup_alpha,
            cutmix_alpha=config.cutmix_alpha,
        ),
    )
    watchers = [callbacks.Throughput(batch_size)]
    validation_set = None
    if config.train_on == "train":
        validation_set = _eval_dataset(result, examples["validation"])
        validation_set = validation_set.map(
            lambda images, labels: (images, tf.one_hot(labels, classes))
        )
        if config.ema_decay:
            watchers.append(keras.callbacks.SwapEMAWeights())
    watchers += [
        keras.callbacks.TensorBoard(workdir / "tensorboard", write_graph=False),
        callbacks.JsonLines(workdir / files.METRICS_FILE),
        keras.callbacks.TerminateOnNaN(raise_error=True),
        callbacks.Checkpointer(
            workdir / "checkpoints", state, first_step=done * steps
        ),
    ]
    grid = visualize.image_grid(next(iter(train_set))[0][:16])
    tf.summary.image("augmented", grid[None])
    if done < config.epochs:
        network.fit(
            train_set,
            validation_data=validation_set,
            epochs=config.epochs,
            initial_epoch=done,
            steps_per_epoch=steps,
            shuffle=False,  # The data set does.
            callbacks=watchers,
            verbose=1 if sys.stdout.isatty() else 2,
        )
    else:  # Killed between the last epoch and the result: what `fit` ends in.
        network.optimizer.finalize_variable_values(network.trainable_variables)
    for layer in statistics:
        layer.trainable = True


def _train_preprocess(result, task, config):
    def preprocess(image, seed):
        return preprocessing.preprocess_for_train(
            image,
            result.resolution,
            interpolation=result.interpolation,
            min_area=config.min_area,
            keep_aspect=result.crop_padding is not None,
            flip=task.flip,
            seed=seed,
        )

    return preprocess


def _eval_dataset(result, examples):
    return data.make_eval_dataset(
        examples, result.preprocess, batch_size=EVAL_BATCH_SIZE
    )


def _crop_padding(task, config):
    crop = task.crop if config.crop == "task" else config.crop
    return {"center": 0, "whole": None}[crop]


def _evaluate(result, examples):
    logging.info("Evaluating on %d images.", examples.size)
    dataset = _eval_dataset(result, examples)
    bar = keras.utils.Progbar(examples.size)
    return evaluate.evaluate(result.model, dataset, progress=bar.add)


def _summarize(scores, result, task):
    tf.summary.scalar("evaluation/top1", scores.top1)
    tf.summary.scalar("evaluation/top5", scores.top5)
    tf.summary.scalar("evaluation/mean_per_class", scores.mean_per_class)
    image = visualize.confusion_image(scores.confusion, result.class_names)
    tf.summary.image("confusion", image[None])
    logging.info("%s: %.4f", task.metric, getattr(scores, task.metric))


def _save_examples(examples, folder):
    """Keeps a few evaluated images as files, for people to try."""
    for i, (image, label) in enumerate(examples.dataset.take(EXAMPLE_IMAGES)):
        name = re.sub(r"[^\w-]+", "_", examples.class_names[int(label)])
        image = tf.io.encode_png(preprocessing.decode(image))
        with files.atomic(folder / f"{i}_{name}.png") as temporary:
            temporary.write_bytes(image.numpy())


def _result_row(run, task, config, examples, scores):
    used = [examples[split].size for split in config.train_on.split("+")]
    tested = examples[config.evaluate_on].size
    return {
        **{k: run[k] for k in ("task", "model", "weights", "recipe")},
        "metric": task.metric,
        "score": getattr(scores, task.metric),
        "top1": scores.top1,
        "top5": scores.top5,
        "mean_per_class": scores.mean_per_class,
        "evaluated_on": config.evaluate_on,
        "epochs": config.epochs,
        "seed": config.seed,
        "train_images": sum(used),
        "test_images": tested,
        # Whether these are the paper's images, all of them.
        "complete": (sum(used), tested)
        == (task.train_images, task.test_images),
        "published": task.published,
        "published_model": task.published_model,
    }
