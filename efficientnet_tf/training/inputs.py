"""A run's images as batches for `fit` and `evaluate`, resumable at any step."""

import dataclasses
import fractions
import functools
from collections.abc import Iterable, Mapping

import keras
import numpy as np
import tensorflow as tf

from efficientnet_tf.data import (
    datasets,
    examples as examples_lib,
    preprocessing,
    resumable,
    sampling,
)
from efficientnet_tf.data.augment import augmentation, mixing
from efficientnet_tf.inference import classifier
from efficientnet_tf.models import variants
from efficientnet_tf.training import (
    distribution,
    progress,
    progression,
    train_config,
)
from efficientnet_tf.utils import figures

EVAL_BATCH_SIZE = 256
PREVIEW_IMAGES = 16


@dataclasses.dataclass(frozen=True)
class Segment:
    """Steps of one call of `fit`: whole epochs, or the rest of one."""

    stage: progression.TrainStage
    begin_epoch: int
    end_epoch: int
    first_step: int
    steps_per_epoch: int


def plan_segments(
    stages: Iterable[progression.TrainStage],
    steps_per_epoch: int | fractions.Fraction,
    done: int,
    *,
    execution: int = 1,
) -> list[Segment]:
    """Returns the `Segment`s that remain after `done` steps.

    A stage ends with the last whole execution of its epochs: 350 epochs of
    625.57 steps are 218,949, or 218,944 in executions of 64. `fit` counts whole
    executions an epoch, so the last epochs of a stage have one more.
    """
    segments = []
    for stage in stages:
        first, last = (
            int(epoch * steps_per_epoch) // execution
            for epoch in (stage.begin, stage.end)
        )
        length, longer = divmod(last - first, stage.end - stage.begin)
        middle = stage.end - longer
        for begin, end, start, count in (
            (stage.begin, middle, first, length),
            (middle, stage.end, last - longer * (length + 1), length + 1),
        ):
            part = Segment(
                stage, begin, end, start * execution, count * execution
            )
            segments += _remaining(part, done)
    return segments


def _remaining(part, done):
    """Returns what remains of a segment: the rest of an epoch, whole epochs."""
    length = part.steps_per_epoch
    epochs, seen = divmod(max(done - part.first_step, 0), length)
    epoch, segments = part.begin_epoch + epochs, []
    first = part.first_step + epochs * length
    if seen and epoch < part.end_epoch:
        rest = length - seen
        segments.append(Segment(part.stage, epoch, epoch + 1, done, rest))
        epoch, first = epoch + 1, first + length
    if epoch < part.end_epoch:
        segments.append(
            dataclasses.replace(part, begin_epoch=epoch, first_step=first)
        )
    return segments


def steps_per_execution(
    wanted: int, steps_per_epoch: int | fractions.Fraction
) -> int:
    """Returns `wanted`, but no more than the whole steps of an epoch."""
    return min(wanted, int(steps_per_epoch))


class Feed:
    """A run's images as batches for `fit` and `evaluate`.

    Args:
      examples: by split: "train", "test" and, if images are held out for
        choosing the best checkpoint, "minival".
      config: the recipe, as `progression.fill` returns it.
      variant: of the network that gets the images.
      devices: the strategy, see `distribution.make_strategy`.
      data_service: address of a tf.data service's dispatcher, or None.
    """

    def __init__(
        self,
        examples: Mapping[str, examples_lib.Examples],
        config: train_config.TrainConfig,
        variant: variants.Variant,
        devices: tf.distribute.Strategy,
        data_service: str | None,
    ):
        self.examples = examples
        self.config = config
        self.variant = variant
        self.devices = devices
        self.data_service = data_service
        self.corrupt = resumable.Corrupt(
            examples["train"].size, config.max_corrupt_share
        )

    @property
    def steps_per_epoch(self) -> fractions.Fraction:
        """Optimizer steps, not necessarily whole: batches cross epochs."""
        images = self.examples["train"].size
        return fractions.Fraction(images, self.config.batch_size)

    @property
    def measures_wait(self) -> bool:
        """Whether each batch can be timed on its way to the step."""
        # Within an execution of several steps, callbacks see only the last one.
        return self.config.steps_per_execution == 1

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in the order of their labels."""
        return self.examples["train"].class_names

    def size(self, stage: progression.TrainStage) -> int:
        """Returns the side of a stage's images in pixels."""
        return stage.resolution or self.variant.train_resolution

    @property
    def eval_size(self) -> int:
        """The side of evaluation's images: the recipe's, or the variant's.

        A variant may train at a smaller one.
        """
        last = progression.stages(self.config)[-1]
        return (
            self.config.eval_resolution
            or last.resolution
            or self.variant.resolution
        )

    def make_train(
        self, segment: Segment, clock: progress.InputClock | None = None
    ) -> tf.data.Dataset | tf.distribute.DistributedDataset:
        """Returns endless batches (images, one-hot labels) from a step on.

        Where images have weights in the loss, these are a third part.

        Args:
          segment: its first step and its stage's image size count.
          clock: times the batches, or None.
        """

        def make(pipeline, pipelines):
            dataset = self._make_part(segment, pipeline, pipelines)
            return dataset if clock is None else clock.watch(dataset)

        return distribution.distribute(
            self.devices, make, self.config.batch_size
        )

    def _make_part(self, segment, pipeline, pipelines):
        examples, mix = self.examples["train"], mixing.mix
        weights = examples.read_weights()
        if weights is not None:
            examples = sampling.attach_weights(examples, weights)
            mix = sampling.mix_weighted
        return datasets.make_epochs_dataset(
            examples,
            functools.partial(self._prepare, stage=segment.stage),
            batch_size=self.config.batch_size,
            seed=self.config.seed,
            start_step=segment.first_step,
            batch_transform=functools.partial(
                mix,
                classes=len(self.class_names),
                mixup_alpha=segment.stage.mixup,
                cutmix_alpha=segment.stage.cutmix,
            ),
            input_pipeline_id=pipeline,
            num_input_pipelines=pipelines,
            corrupt=self.corrupt,
            data_service=self.data_service,
        )

    def _prepare(self, image, seed, stage):
        return preprocessing.preprocess_for_train(
            image,
            self.size(stage),
            interpolation=self.variant.interpolation,
            min_area=self.config.min_area,
            flip=self.config.flip,
            deep_pixels=self.config.deep_pixels,
            augment=_augment(self.config, stage.magnitude),
            seed=seed,
        )

    def make_eval(
        self, split: str
    ) -> tuple[tf.data.Dataset | tf.distribute.DistributedDataset, int]:
        """Returns one pass over a split, and its number of batches.

        Batches are (images, one-hot labels, weights). Without a "minival"
        split, "test" takes its place.
        """
        examples = self.examples.get(split) or self.examples["test"]
        replicas = self.devices.num_replicas_in_sync
        batch_size = -(-EVAL_BATCH_SIZE // replicas) * replicas
        batch_size = min(batch_size, -(-examples.size // replicas) * replicas)

        def make(pipeline, pipelines):
            dataset = datasets.make_padded_eval_dataset(
                examples,
                self.make_classifier(None).preprocess,
                batch_size=batch_size,
                input_pipeline_id=pipeline,
                num_input_pipelines=pipelines,
            )
            classes = len(self.class_names)
            return dataset.map(lambda x, y, w: (x, tf.one_hot(y, classes), w))

        dataset = distribution.distribute(self.devices, make, batch_size)
        return dataset, -(-examples.size // batch_size)

    def make_classifier(
        self, network: keras.Model | None
    ) -> classifier.Classifier:
        """Returns `network` with the image preparation of evaluation."""
        whole = self.variant.eval_crop == "whole"
        return classifier.Classifier(
            network,
            self.class_names,
            self.eval_size,
            self.variant.interpolation,
            crop_padding=None if whole else self.config.crop_padding,
            deep_pixels=self.config.deep_pixels,
        )

    def preview(self) -> np.ndarray:
        """Returns a grid of augmented training images, uint8 [H, W, 3]."""
        stage = progression.stages(self.config)[-1]
        segment = Segment(stage, 0, 1, 0, 1)
        # A small part of the first batch, and not under the strategy, since
        # only the chief draws it.
        batch_size = self.config.batch_size
        parts = max(1, batch_size // PREVIEW_IMAGES)
        while batch_size % parts:
            parts -= 1
        images = next(iter(self._make_part(segment, 0, parts)))[0]
        return figures.image_grid(images[:PREVIEW_IMAGES])


def _augment(config, magnitude):
    """Returns the augmentation of a single image, or None."""
    policies = {
        "none": None,
        "autoaugment": augmentation.autoaugment,
        "augmix": augmentation.augmix,
        "randaugment": functools.partial(
            augmentation.randaugment,
            layers=config.randaugment_layers,
            magnitude=magnitude,
            noise=config.randaugment_noise,
            probability=config.randaugment_probability,
        ),
    }
    policy = policies[config.augment]
    if not config.random_erasing:
        return policy

    def augment(image, seed):
        if policy is not None:
            image = policy(image, seed)
        return augmentation.random_erasing(
            image, seed, probability=config.random_erasing
        )

    return augment
