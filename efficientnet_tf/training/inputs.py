"""A run's images, from where it stands: what `fit` and `evaluate` are given."""

import dataclasses
import functools

import tensorflow as tf

from efficientnet_tf.data import (
    augmentation,
    datasets,
    mixing,
    preprocessing,
    resumable,
)
from efficientnet_tf.inference import classifier
from efficientnet_tf.training import distribution, recipes
from efficientnet_tf.utils import figures

EVAL_BATCH_SIZE = 256
PREVIEW_IMAGES = 16


@dataclasses.dataclass(frozen=True)
class Segment:
    """Steps of one call of `fit`: whole epochs, or the rest of one."""

    stage: recipes.TrainStage
    begin_epoch: int
    end_epoch: int
    first_step: int
    steps_per_epoch: int


def plan_segments(stages, steps_per_epoch, done):
    """Returns the `Segment`s that are left after `done` steps."""
    segments = []
    for stage in stages:
        begin = max(stage.begin, done // steps_per_epoch)
        rest = -done % steps_per_epoch
        if rest and begin * steps_per_epoch < done and begin < stage.end:
            segments.append(Segment(stage, begin, begin + 1, done, rest))
            begin += 1
        if begin < stage.end:
            first = begin * steps_per_epoch
            segments.append(
                Segment(stage, begin, stage.end, first, steps_per_epoch)
            )
    return segments


def steps_per_execution(wanted, steps_per_epoch):
    """Returns the most steps up to `wanted` that divide an epoch.

    Keras runs whole executions only: with any other number an epoch would have
    more steps than the schedule counts.
    """
    return max(n for n in range(1, wanted + 1) if steps_per_epoch % n == 0)


class Feed:
    """A run's images as batches for `fit` and `evaluate`."""

    def __init__(self, examples, config, variant, devices, data_service):
        self.examples = examples
        self.config = config
        self.variant = variant
        self.devices = devices
        self.data_service = data_service
        self.corrupt = resumable.Corrupt(
            examples["train"].size, config.max_corrupt_share
        )

    @property
    def steps_per_epoch(self):
        return self.examples["train"].size // self.config.batch_size

    @property
    def measures_wait(self):
        # Within one execution of several steps nobody sees each batch arrive.
        return self.config.steps_per_execution == 1

    @property
    def class_names(self):
        return self.examples["train"].class_names

    def size(self, stage):
        return stage.resolution or self.variant.resolution

    def make_train(self, segment, clock=None):
        """Returns endless batches (images, one-hot labels) from a step on."""

        def make(pipeline, pipelines):
            dataset = self._make_part(segment, pipeline, pipelines)
            return dataset if clock is None else clock.watch(dataset)

        return distribution.distribute(
            self.devices, make, self.config.batch_size
        )

    def _make_part(self, segment, pipeline, pipelines):
        return datasets.make_epochs_dataset(
            self.examples["train"],
            functools.partial(self._prepare, stage=segment.stage),
            batch_size=self.config.batch_size,
            seed=self.config.seed,
            start_step=segment.first_step,
            batch_transform=functools.partial(
                mixing.mix,
                classes=len(self.class_names),
                mixup_alpha=self.config.mixup_alpha,
                cutmix_alpha=self.config.cutmix_alpha,
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
            augment=_augment(self.config, stage.magnitude),
            seed=seed,
        )

    def make_eval(self, split):
        """Returns (one pass of images, one-hot labels and weights, steps)."""
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

    def make_classifier(self, network):
        """Returns `network` with the last stage's image preparation."""
        return classifier.Classifier(
            network,
            self.class_names,
            self.size(recipes.stages(self.config)[-1]),
            self.variant.interpolation,
            crop_padding=self.config.crop_padding,
        )

    def preview(self):
        """Returns a grid of augmented training images."""
        stage = recipes.stages(self.config)[-1]
        segment = Segment(stage, 0, 1, 0, 1)
        # A small part of the first batch, and not under the strategy: the
        # other workers do not look.
        batch_size = self.config.batch_size
        parts = max(1, batch_size // PREVIEW_IMAGES)
        while batch_size % parts:
            parts -= 1
        images = next(iter(self._make_part(segment, 0, parts)))[0]
        return figures.image_grid(images[:PREVIEW_IMAGES])


def _augment(config, magnitude):
    """Returns what preprocessing does to each image at the end, or None."""
    policies = {
        "none": None,
        "autoaugment": augmentation.autoaugment,
        "augmix": augmentation.augmix,
        "randaugment": functools.partial(
            augmentation.randaugment,
            layers=config.randaugment_layers,
            magnitude=magnitude,
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
