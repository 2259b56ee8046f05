"""Builds a network for a task, trains it by a config, and scores it."""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tqdm
from absl import logging

from efficientnet_tf.data import examples as examples_lib
from efficientnet_tf.inference import (
    classifier as classifier_lib,
    evaluate,
    evaluate_targets,
)
from efficientnet_tf.models import features, layers, plan, registry, variants
from efficientnet_tf.training import (
    callbacks,
    checkpoints,
    distribution,
    early_stopping,
    pacing,
    summaries,
    train_state,
)
from efficientnet_tf.utils import (
    figures,
    image_sizes,
    run_folder,
    target_scores,
    targets,
)
from efficientnet_tf.weights import loading
from transfer.config import objectives, optimizers, recipes, schedules, tasks
from transfer.training import (
    deadlines,
    inputs,
    linear_head,
    number_scale,
    qat,
    starts,
    target_heads,
)


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a training works with: network, images, config and folder.

    `origin` has the arguments of `loading.build` for the initial weights:
    "weights", "source_family" and "normalization". `workdir` gets checkpoints,
    logs and what the linear head was. With a time limit, `end` is when the run
    must be over, by `time.perf_counter()`, and `pacing` how its training is
    held to that.
    """

    task: tasks.Task
    model: registry.Model
    origin: Mapping[str, Any]
    config: recipes.FinetuneConfig
    examples: Mapping[str, examples_lib.Examples]
    workdir: pathlib.Path
    end: float = math.inf
    pacing: deadlines.Pacing | None = None

    @property
    def target(self) -> str:
        """One of `targets.KINDS`."""
        return self.examples["train"].target

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.examples["train"].class_names

    @property
    def weights(self) -> str | None:
        """What the network starts from; None: random weights."""
        return self.origin["weights"]

    @property
    def label(self) -> str:
        """What rows and messages call the network."""
        return label(self.model)


def label(model: registry.Model) -> str:
    """Returns what rows and messages call a network."""
    return "variant" if isinstance(model, variants.Variant) else str(model)


def build(setup: Setup) -> classifier_lib.Classifier:
    """Returns an untrained `Classifier` for a config without a rule.

    Raises:
      ValueError: the config does not suit the network.
    """
    config = setup.config
    if config.quantization != "none":
        start = starts.find_start(setup.weights)
        return qat.build(start.folder, setup.examples["train"], setup.workdir)
    variant = registry.get_variant(setup.model)
    height = config.resolution or variant.resolution
    if config.crop_from and config.crop_from < height:
        raise ValueError(
            f"crop_from={config.crop_from} is less than {setup.label}'s "
            f"{height} pixels."
        )
    network = loading.build(
        setup.model,
        **setup.origin,
        input_shape=(height, config.width or height, 3),
        classes=len(setup.class_names),
        dropout_rate=config.dropout_rate,
        drop_path_rate=_drop_path_rate(setup),
    )
    head = network.get_layer("predictions")
    head.activation = keras.activations.get(targets.ACTIVATIONS[setup.target])
    interpolation = config.interpolation
    if interpolation == "model":
        interpolation = variant.interpolation
    resize, padding = config.frame(setup.task.resize)
    return classifier_lib.Classifier(
        network,
        setup.class_names,
        height,
        interpolation,
        padding,
        deep_pixels=config.deep_pixels,
        target=setup.target,
        resize=resize,
        width=config.width or None,
    )


def train(
    setup: Setup,
    classifier: classifier_lib.Classifier,
    watchers: Iterable[keras.callbacks.Callback] = (),
) -> target_scores.Answers | None:
    """Trains a classifier by the config, resuming from its newest checkpoint.

    Args:
      setup: whose config has no rule.
      classifier: that `build` has returned.
      watchers: more callbacks, called after an epoch is saved.

    Returns:
      Of labels or numbers: what a linear head said of held-out images, see
      `target_heads`; None otherwise.

    Raises:
      FloatingPointError: the loss became NaN or infinite.
    """
    held_out = None
    if not checkpoints.list_newest(setup.workdir / run_folder.CHECKPOINTS):
        held_out = initialize_head(setup, classifier)
    if setup.config.trains:
        _fit(setup, classifier, watchers)
    scale = number_scale.find(_trained_on(setup))
    if scale is not None:
        scale.undo_in(classifier.model.get_layer("predictions"))
    return held_out


def initialize_head(
    setup: Setup, classifier: classifier_lib.Classifier
) -> target_scores.Answers | None:
    """Initializes a head as the config says; returns as `train`."""
    rest = setup.examples, setup.config, cache_key(setup), setup.workdir
    if setup.target == targets.CLASS:
        linear_head.initialize_head(classifier, *rest)
        return None
    return target_heads.initialize_head(classifier, *rest)


def predict(
    classifier: classifier_lib.Classifier, examples: examples_lib.Examples
) -> target_scores.Answers:
    """Returns what a classifier says of the labels or numbers of a split."""
    logging.info("Evaluating on %d images.", examples.size)
    dataset = inputs.make_eval_dataset(examples, classifier)
    with tqdm.tqdm(
        desc="Evaluating", total=examples.size, unit="image", disable=None
    ) as bar:
        return evaluate_targets.predict(classifier.model, dataset, bar.update)


def cache_key(setup: Setup) -> str:
    """Returns what tells this network's cached features from others'."""
    network: str | dict = setup.label
    if network not in registry.list_models():  # A variant's file may change.
        network = dataclasses.asdict(registry.get_variant(setup.model))
    return f"{network}:{setup.weights}"


def score(
    classifier: classifier_lib.Classifier,
    examples: examples_lib.Examples,
    keep: Callable[[np.ndarray, np.ndarray], object] | None = None,
) -> evaluate.Scores:
    """Scores a classifier on all images of a split.

    Args:
      classifier: a trained one.
      examples: the split.
      keep: see `evaluate.evaluate`.
    """
    logging.info("Evaluating on %d images.", examples.size)
    dataset = inputs.make_eval_dataset(examples, classifier)
    with tqdm.tqdm(
        desc="Evaluating", total=examples.size, unit="image", disable=None
    ) as bar:
        return evaluate.evaluate(
            classifier.model, dataset, progress=bar.update, keep=keep
        )


def _drop_path_rate(setup):
    rate = setup.config.drop_path_rate
    if rate == 0 or plan.drops_paths(setup.model):
        return rate
    logging.info(
        "%s has blocks that drop no paths; drop_path_rate=%g is not used.",
        setup.label,
        rate,
    )
    return 0.0


def _fit(setup, classifier, watchers):
    """Trains the network, resuming from its newest checkpoint."""
    examples = _trained_on(setup)
    feed = inputs.Feed(examples, classifier, setup.config, flip=setup.task.flip)
    average = _fit_to(feed, setup, watchers)
    if average is not None:
        average.swap()
    for layer in classifier.model.layers:
        layer.trainable = True


def _trained_on(setup):
    examples = setup.examples["train"]
    if setup.config.train_on == "train+validation":
        examples = examples.concatenate(setup.examples["validation"])
    return examples


def _fit_to(feed, setup, watchers):
    """Trains on a feed; returns the EMA of the weights or None."""
    classifier, config = feed.classifier, setup.config
    batch_size = min(config.batch_size, feed.size)
    steps_per_epoch = feed.size / batch_size
    rounds, steps = schedules.plan_rounds(config, steps_per_epoch)
    ahead = pacing.make_ahead() if setup.pacing else None
    state = compile_network(
        classifier.model,
        config,
        steps_per_epoch,
        optimizers.make_optimizer(
            config, classifier.model, steps_per_epoch, ahead
        ),
        target=setup.target,
    )
    folder = setup.workdir / run_folder.CHECKPOINTS
    restored = state.restore(folder)
    done = restored // steps
    stoppers = _list_stoppers(
        setup, restored, pacing.Length(rounds * steps, steps), ahead
    )
    evaluation = None
    if config.train_on == "train":
        dataset = feed.make_validation_set(setup.examples["validation"])
        evaluation = callbacks.Evaluation(dataset, len(dataset), state.average)
    train_set = feed.make_dataset(batch_size, start_step=done * steps)
    images = next(iter(train_set))[0]
    preview = figures.image_grid(images[:16])[None]
    tf.summary.image(summaries.tag("augmented"), preview)
    if done < rounds and not any(each.is_over for each in stoppers):
        logging.info(
            "Training on %d images at %s pixels; the first step takes longest.",
            feed.size,
            image_sizes.show(classifier.size),
        )
        state.fit(
            train_set,
            epochs=(done, rounds),
            steps_per_epoch=steps,
            watchers=callbacks.list_callbacks(
                state.make_checkpointer(
                    folder,
                    first_step=done * steps,
                    score=objectives.name_score(setup.config, setup.target),
                ),
                setup.workdir,
                epochs=rounds,
                batch_size=batch_size,
                evaluation=evaluation,
                watchers=[*watchers, *stoppers],
            ),
        )
    deadlines.note_shortened(stoppers, setup.workdir)
    if config.patience:
        best = checkpoints.find_best(folder)
        if best is not None:
            checkpoints.load(best, state.variables)
    return state.average


def _list_stoppers(setup, step, length, ahead):
    """Returns the callbacks that may end a training before its last epoch."""
    found: list[pacing.Pacer | early_stopping.EarlyStopping] = []
    if setup.pacing:
        found.append(
            pacing.Pacer(
                length,
                first_step=step,
                ahead=ahead,
                end=setup.pacing.end,
                round_seconds=setup.pacing.round,
            )
        )
    if setup.config.patience:
        found.append(
            early_stopping.EarlyStopping(
                setup.config.patience,
                objectives.name_score(setup.config, setup.target),
                setup.workdir / run_folder.METRICS_FILE,
            )
        )
    return found


def _set_trainable(network, config, steps_per_epoch):
    """Freezes what the config says, and sets batch norm's momentum."""
    features.freeze_stages(network, config.frozen_stages)
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable &= config.batch_norm == "train"
            layer.momentum = config.batch_norm_momentum or max(
                1 - 10 / steps_per_epoch, 0.9
            )


def compile_network(
    network: keras.Model,
    config: recipes.FinetuneConfig,
    steps_per_epoch: float,
    optimizer: keras.optimizers.Optimizer | None = None,
    target: str = targets.CLASS,
) -> train_state.TrainState:
    """Compiles a network for fine-tuning, some of its layers frozen.

    Args:
      network: that `build` has returned.
      config: a recipe without a rule.
      steps_per_epoch: optimizer steps in an epoch, not necessarily whole.
      optimizer: in place of the recipe's.
      target: one of `targets.KINDS`.
    """
    if optimizer is None:
        optimizer = optimizers.make_optimizer(config, network, steps_per_epoch)
    _set_trainable(network, config, steps_per_epoch)
    decoupled = config.optimizer == "adamw"
    return train_state.create(
        network,
        optimizer,
        ema_decay=config.ema_decay,
        label_smoothing=config.label_smoothing,
        loss=objectives.make_loss(config, target),
        metrics=[objectives.make_metric(network, target)],
        jit_compile=distribution.use_xla(),
        weight_decay=0.0 if decoupled else config.weight_decay,
    )
