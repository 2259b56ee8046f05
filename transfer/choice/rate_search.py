"""The learning rate that a recipe should begin with, on a task."""

import dataclasses
import pathlib
import tempfile
import typing
from collections.abc import Mapping

import keras
import numpy as np

from efficientnet_tf.data import examples as examples_lib
from efficientnet_tf.models import registry
from efficientnet_tf.training import rate_finder
from efficientnet_tf.utils import figures
from transfer.config import optimizers, recipes, tasks
from transfer.training import fitting, inputs

if typing.TYPE_CHECKING:
    pass


def find(
    task: tasks.Task,
    model: registry.Model,
    origin: Mapping[str, typing.Any],
    config: recipes.FinetuneConfig,
    examples: Mapping[str, examples_lib.Examples],
    finder: rate_finder.LearningRateFinder,
) -> None:
    """Trains as the recipe says, at rising rates; fills `finder`.

    Args:
      task: what is trained on.
      model: a name, a variant file or a `Variant`.
      origin: of the weights, see `fitting.Setup`.
      config: a recipe without a rule, that trains the network.
      examples: {split: examples}.
      finder: that has seen no training.

    Raises:
      ValueError: the recipe trains no network.
    """
    check(config)
    # Its schedule is what is looked for.
    config = dataclasses.replace(config, ema_decay=0.0)
    keras.utils.set_random_seed(config.seed)
    with tempfile.TemporaryDirectory() as folder:
        setup = fitting.Setup(
            task, model, origin, config, examples, pathlib.Path(folder)
        )
        classifier = fitting.build(setup)
        fitting.initialize_head(setup, classifier)
    feed = inputs.Feed(examples["train"], classifier, config, flip=task.flip)
    batch_size = min(config.batch_size, feed.size)
    state = fitting.compile_network(
        classifier.model,
        config,
        feed.size / batch_size,
        optimizers.from_rate(config, 1e-7),
        target=setup.target,
    )
    state.fit(
        feed.make_dataset(batch_size),
        epochs=(0, 1),
        steps_per_epoch=finder.steps,
        watchers=[finder],
    )


def check(config: recipes.FinetuneConfig) -> None:
    """Raises ValueError for a recipe whose learning rate is not one number."""
    if config.rule != "none" or not config.trains:
        raise ValueError(
            "A learning rate is found for recipes that train the network by a "
            "plan of their own, such as full, fast and kornblith."
        )


def draw(finder: rate_finder.LearningRateFinder) -> np.ndarray:
    """Draws the loss over the learning rate; uint8 [H, W, 3]."""
    drawing, (axes,) = figures.make_figure(1, 1, (7, 4.4))
    axes.plot(finder.rates, finder.losses, color="0.75", label="each step")
    axes.plot(finder.rates, rate_finder.smooth(finder.losses), label="smoothed")
    if finder.suggestion is not None:
        axes.axvline(finder.suggestion, color="C1", linestyle="--")
        axes.annotate(
            f" {finder.suggestion:.2g}",
            (finder.suggestion, 1),
            xycoords=("data", "axes fraction"),
            va="top",
            color="C1",
        )
    axes.set_xscale("log")
    top = np.median(finder.losses[: max(len(finder.losses) // 5, 1)])
    axes.set_ylim(0, 1.6 * top)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    axes.legend()
    return figures.rasterize(drawing)
