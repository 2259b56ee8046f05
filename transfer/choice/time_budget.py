"""What fits into a time limit: resolution, epochs and frozen stages.

A few batches are timed, and the best of `PLANS` that ends in time is taken.
`pacing.Pacer` then holds the training to it, whatever else the machine does.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from efficientnet_tf.models import registry
from efficientnet_tf.utils import (
    documents,
    durations,
    files,
    image_sizes,
    words,
)
from transfer.config import recipes
from transfer.scores import calibration, gallery
from transfer.training import deadlines, fitting, inputs, unknown_images

# In a run's folder: what was chosen, as `Choice`.
CHOICE_FILE = "time_limit.json"

# Ours: how a training is made shorter, the best first. Pixels a side and epochs
# as shares of the recipe's, and whether the first stages are frozen.
PLANS = (
    (1.0, 1.0, False),
    (0.86, 1.0, False),
    (0.72, 1.0, False),
    (0.72, 0.6, False),
    (0.72, 0.4, False),
    (0.58, 0.4, False),
    (0.58, 0.25, True),
    (0.43, 0.15, True),
    (0.43, 0.0, True),
)
FROZEN_STAGES = 4
# Networks halve the sides of an image five times.
MULTIPLE = 32

# Of what is left, the share that features for a linear classifier may take
# where training follows, and where none does.
_FEATURES, _FEATURES_ALONE = 0.4, 0.85
# Timed batches: until there are so many, or so many seconds are over.
_BATCHES, _SECONDS = 8, 4.0
# The model is saved, examples and mistakes are drawn, the report is written:
# in times of building the network and tracing a step.
_FINISH = 2.0
# What timings are off by.
_MARGIN = 1.05
# Of a linear head, per image, feature, class and strength of the sweep, which
# runs on one thread; the last fit included. Measured on all of CIFAR-100.
_HEAD_SECONDS = 4e-9


@dataclasses.dataclass(frozen=True)
class Pace:
    """Seconds per image at one resolution, and until the first step is done.

    `head` is what fitting a linear head takes per image, besides its features.
    """

    scoring: float
    training: float
    start: float
    head: float = 0.0

    def scale(self, share: float) -> "Pace":
        """Returns the pace expected at a share of the pixels a side."""
        return dataclasses.replace(
            self,
            scoring=self.scoring * share**2,
            training=self.training * share**2,
        )


@dataclasses.dataclass(frozen=True)
class Choice:
    """What was chosen for a training, and the seconds kept for what follows."""

    epochs: int
    resolution: int
    frozen_stages: int
    warmup_epochs: float
    after: float
    round: float  # After each epoch.

    def apply(self, config: recipes.FinetuneConfig) -> recipes.FinetuneConfig:
        """Returns a recipe of this length and resolution."""
        return dataclasses.replace(
            config,
            epochs=self.epochs,
            resolution=self.resolution,
            frozen_stages=self.frozen_stages,
            warmup_epochs=self.warmup_epochs,
            schedule="cosine",
        )

    def __str__(self) -> str:
        frozen = ""
        if self.frozen_stages:
            frozen = f", the first {self.frozen_stages} stages frozen"
        return (
            f"{words.count(self.epochs, 'epoch')} at {self.resolution} pixels"
            f"{frozen}"
        )


class TooShort(ValueError):
    """Nothing ends within a time limit; the message says what would."""


def choose(
    setup: fitting.Setup, *, fixed: Iterable[str] = (), trainings: int = 1
) -> Choice:
    """Returns how to train so that the run ends at `setup.end`.

    What was chosen is written to `setup.workdir`, where a later call finds it.

    Args:
      setup: with the recipe to shorten.
      fixed: fields of the recipe that stay as they are.
      trainings: how many there will be; they share the time.

    Raises:
      TooShort: not even the shortest ends in time.
    """
    path = setup.workdir / CHOICE_FILE
    if path.exists():
        return documents.read(path, Choice)
    chosen = _Chooser(setup, frozenset(fixed), trainings).choose()
    files.write_json(path, dataclasses.asdict(chosen))
    logging.info(
        "Within the time limit: %s, with %s for the end.",
        chosen,
        durations.show(chosen.after),
    )
    return chosen


def hold(setup: fitting.Setup, trainings: int = 1) -> fitting.Setup:
    """Returns the setup of a training that is held to its part of the time.

    Args:
      setup: of a run for which `choose` was called.
      trainings: how many are left, this one included.
    """
    chosen = documents.read(setup.workdir / CHOICE_FILE, Choice)
    now = time.perf_counter()
    end = now + (setup.end - chosen.after - now) / trainings
    return dataclasses.replace(
        setup, pacing=deadlines.Pacing(end, chosen.round)
    )


def describe(setup: fitting.Setup) -> str:
    """Returns what was chosen for a finished run, and what of it was done."""
    chosen = str(documents.read(setup.workdir / CHOICE_FILE, Choice))
    path = setup.workdir / deadlines.SHORTENED_FILE
    if not path.exists():
        return chosen
    return f"{chosen}; {documents.read(path, deadlines.Shortened)}"


def limit_features(
    setup: fitting.Setup, *, fixed: Iterable[str] = (), alone: bool
) -> recipes.FinetuneConfig:
    """Returns the config of a linear classifier whose features end in time.

    Args:
      setup: with the config of a linear classifier.
      fixed: fields of the config that stay as they are.
      alone: whether no training follows.

    Raises:
      TooShort: even small images take too long.
    """
    images = sum(part.size for part in setup.examples.values())
    share = _FEATURES_ALONE if alone else _FEATURES
    own = _resolution(setup)
    pace = _measure(setup, setup.config)
    for pixels in _list_sizes(own, _is_size_fixed(setup.config, fixed)):
        scoring = pace.scale(pixels / own).scoring
        seconds = images * (scoring + pace.head) * _MARGIN
        if seconds <= share * _left(setup):
            if pixels == own:
                return setup.config
            logging.info("Within the time limit: features at %d px.", pixels)
            return dataclasses.replace(setup.config, resolution=pixels)
    raise _too_short(setup, f"the features of {images:,} images", seconds)


class _Chooser:
    """Looks for the best plan that ends in time, and times few networks."""

    def __init__(self, setup, fixed, trainings):
        self._setup, self._fixed, self._trainings = setup, fixed, trainings
        self._config, self._own = setup.config, _resolution(setup)
        self._measured: dict[tuple[int, int], Pace] = {}
        parts = self._config.train_on.split("+")
        self._images = sum(setup.examples[part].size for part in parts)

    def choose(self) -> Choice:
        for pixels, share, frozen in _list_plans(
            self._config, self._own, self._fixed
        ):
            least = max(1, round(share * self._config.epochs))
            pace = self._estimate(pixels)
            if pace and self._count_epochs(pace) < least:
                continue
            changed = dataclasses.replace(
                self._config, resolution=pixels, frozen_stages=frozen
            )
            pace = self._measure(changed)
            epochs = self._count_epochs(pace)
            if epochs >= least:
                return self._make_choice(changed, epochs, pace)
        seconds = self._trainings * self._training_seconds(pace, 1)
        seconds += self._after(pace)
        raise _too_short(self._setup, f"one epoch at {pixels} pixels", seconds)

    def _estimate(self, pixels):
        """Returns what is known of the pace; None: nothing yet."""
        for (size, _), pace in reversed(self._measured.items()):
            return pace.scale(pixels / size)
        return None

    def _measure(self, config):
        key = config.resolution, config.frozen_stages
        if key not in self._measured:
            self._measured[key] = _measure(self._setup, config)
        return self._measured[key]

    def _count_epochs(self, pace):
        """Returns how many each training may have, at most the recipe's."""
        seconds = _left(self._setup) - self._after(pace)
        seconds = seconds / self._trainings - self._training_seconds(pace, 0)
        each = self._training_seconds(pace, 1) - self._training_seconds(pace, 0)
        return min(int(seconds / each), self._config.epochs)

    def _training_seconds(self, pace, epochs):
        each = self._images * pace.training + self._round_seconds(pace)
        head = self._config.head == "linear"
        linear = self._images * (pace.scoring + pace.head) if head else 0.0
        return (pace.start + linear + epochs * each) * _MARGIN

    def _round_seconds(self, pace):
        """Returns what an epoch takes besides its steps: validation."""
        if self._config.train_on != "train" and self._trainings == 1:
            return 0.0
        return self._setup.examples["validation"].size * pace.scoring

    def _after(self, pace):
        """Returns the seconds from the last step to the end of the run."""
        config, examples = self._config, self._setup.examples
        images = examples[config.evaluate_on].size
        images += gallery.MOST_WRONG + gallery.LEAST_SURE
        if config.train_on == "train" and config.evaluate_on == "test":
            # A temperature is fitted on them.
            images += min(examples["validation"].size, calibration.MOST_IMAGES)
        # What tells unknown images is fitted on all splits but the test.
        images += sum(
            min(examples[split].size, unknown_images.MOST_IMAGES)
            for split in ("train", "validation")
        )
        return (images * pace.scoring + _FINISH * pace.start) * _MARGIN

    def _make_choice(self, config, epochs, pace):
        return Choice(
            epochs=epochs,
            resolution=config.resolution,
            frozen_stages=config.frozen_stages,
            warmup_epochs=min(config.warmup_epochs, epochs / 4),
            after=round(self._after(pace), 2),
            round=round(self._round_seconds(pace), 2),
        )


def _list_plans(config, own, fixed):
    """Yields (pixels, share of the epochs, frozen stages), without doubles."""
    seen = set()
    for scale, share, frozen in PLANS:
        is_fixed = _is_size_fixed(config, fixed)
        pixels = own if is_fixed else _round(scale * own)
        pixels = min(pixels, own)
        share = 1.0 if "epochs" in fixed else share
        stages = config.frozen_stages
        if frozen and "frozen_stages" not in fixed:
            stages = max(stages, FROZEN_STAGES)
        plan = pixels, share, stages
        if plan not in seen:
            seen.add(plan)
            yield plan


def _is_size_fixed(config, fixed):
    return "resolution" in fixed or bool(config.width)


def _list_sizes(own, is_fixed) -> Iterator[int]:
    scales = sorted({scale for scale, *_ in PLANS}, reverse=True)
    yield own
    if not is_fixed:
        yield from (_round(scale * own) for scale in scales if scale < 1)


def _round(pixels):
    return max(MULTIPLE, MULTIPLE * round(pixels / MULTIPLE))


def _resolution(setup):
    own = registry.get_variant(setup.model).resolution
    return setup.config.resolution or own


def _left(setup):
    return setup.end - time.perf_counter()


def _too_short(setup, what, seconds):
    minutes = setup.config.time_limit
    return TooShort(
        f"time_limit={minutes:g} minutes are too short: after "
        f"{durations.show(60 * minutes - _left(setup))} of preparation, "
        f"{what} would take {durations.show(seconds)} here. Allow about "
        f"{durations.show(60 * minutes - _left(setup) + 1.5 * seconds)}, or "
        "use fewer images or a smaller network."
    )


def _measure(setup, config) -> Pace:
    """Times a few batches of a network that is thrown away."""
    begin = time.perf_counter()
    keras.utils.set_random_seed(config.seed)
    setup = dataclasses.replace(setup, config=config)
    classifier = fitting.build(setup)
    examples = setup.examples["train"]
    scoring = _time_batches(
        inputs.make_eval_dataset(examples, classifier),
        lambda images, *_: classifier.model.predict_on_batch(images),
    )
    training, start = 0.0, time.perf_counter() - begin
    if config.trains:
        begin = time.perf_counter()
        feed = inputs.Feed(examples, classifier, config, flip=setup.task.flip)
        size = min(config.batch_size, feed.size)
        state = fitting.compile_network(
            classifier.model, config, feed.size / size, target=setup.target
        )
        network: Any = state.network
        training = _time_batches(
            feed.make_dataset(size),
            lambda *batch: network.train_on_batch(*batch),
        )
        start = time.perf_counter() - begin
    keras.backend.clear_session(free_memory=True)
    logging.info(
        "At %s pixels: %.0f images/s scored, %s trained on.",
        image_sizes.show(classifier.size),
        1 / scoring,
        f"{1 / training:.0f}" if training else "none",
    )
    features, classes = classifier.model.get_layer("predictions").kernel.shape
    fits = len(config.l2_sweep) + 1
    head = _HEAD_SECONDS * features * classes * fits
    return Pace(scoring, training, start, head)


def _time_batches(dataset: tf.data.Dataset, call: Callable) -> float:
    """Returns the seconds per image, input included, of a few batches."""
    images, begin = 0, 0.0
    for batch in dataset.repeat().take(_BATCHES + 1):
        call(*map(np.asarray, batch))
        now = time.perf_counter()
        if not begin:  # The first one compiles.
            begin = now
            continue
        images += len(batch[0])
        if now - begin > _SECONDS:
            break
    return (now - begin) / images
