"""Batches of a transfer set: augmented to train on, in order to evaluate."""

import dataclasses
import functools

import tensorflow as tf

from efficientnet_tf.data import (
    augmentation,
    datasets,
    examples as examples_lib,
    mixing,
    preprocessing,
)
from efficientnet_tf.inference import classifier as classifier_lib
from transfer import recipes

EVAL_BATCH_SIZE = 64


def make_eval_dataset(
    examples: examples_lib.Examples, classifier: classifier_lib.Classifier
) -> tf.data.Dataset:
    """Returns batches of (images, labels), each image exactly once."""
    return datasets.make_eval_dataset(
        examples, classifier.preprocess, batch_size=EVAL_BATCH_SIZE
    )


@dataclasses.dataclass(frozen=True)
class Feed:
    """Endless shuffled, cropped, flipped and mixed batches of a set.

    Resolution and interpolation are the classifier's, all else is the config's.
    `flip`: whether a mirror image keeps its class.
    """

    examples: examples_lib.Examples
    classifier: classifier_lib.Classifier
    config: recipes.FinetuneConfig
    flip: bool

    @property
    def size(self) -> int:
        return self.examples.size

    def make_dataset(
        self, batch_size: int, *, start_step: int = 0
    ) -> tf.data.Dataset:
        """Returns (images, one-hot labels), resumable from any step."""
        mix = functools.partial(
            mixing.mix,
            classes=len(self.classifier.class_names),
            mixup_alpha=self.config.mixup_alpha,
            mixup_weight=self.config.mixup_weight,
            cutmix_alpha=self.config.cutmix_alpha,
        )
        return datasets.make_epochs_dataset(
            self.examples,
            self._preprocess,
            batch_size=batch_size,
            seed=self.config.seed,
            start_step=start_step,
            batch_transform=mix,
        )

    def _preprocess(self, image, seed):
        config, size = self.config, self.classifier.resolution
        image = preprocessing.preprocess_for_train(
            image,
            size,
            interpolation=self.classifier.interpolation,
            min_area=config.min_area,
            keep_aspect=self.classifier.crop_padding is not None,
            resize=config.resize,
            flip=self.flip,
            seed=seed,
        )
        if not config.cutout:
            return image
        half_side = config.cutout * size / 2
        return augmentation.cutout(
            image, seed, half_side=half_side, fill=config.cutout_fill
        )
