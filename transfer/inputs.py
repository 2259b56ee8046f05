"""Batches of a transfer set: augmented to train on, in order to evaluate."""

import dataclasses
import functools

import numpy as np
import tensorflow as tf
from absl import logging

from efficientnet_tf.data import (
    augmentation,
    datasets,
    decoding,
    examples as examples_lib,
    mixing,
    preprocessing,
)
from efficientnet_tf.inference import classifier as classifier_lib
from transfer import recipes

EVAL_BATCH_SIZE = 64
# Times as many images in the largest class as in the smallest, from which on a
# set is called unbalanced.
UNBALANCED = 4
# Of a set, for the size of its images: the first one may be unlike the others.
SEEN_IMAGES = 15


def make_eval_dataset(
    examples: examples_lib.Examples, classifier: classifier_lib.Classifier
) -> tf.data.Dataset:
    """Returns batches of (images, labels), each image exactly once."""
    return datasets.make_eval_dataset(
        examples, classifier.preprocess, batch_size=EVAL_BATCH_SIZE
    )


def count_classes(examples: examples_lib.Examples) -> np.ndarray:
    """Returns the number of images of each class, [classes]."""
    labels = examples.read_labels()
    return np.bincount(labels, minlength=len(examples.class_names))


def median_area(examples: examples_lib.Examples) -> int:
    """Returns the median area, in pixels, of images from all over a set."""
    places = np.linspace(0, examples.size - 1, SEEN_IMAGES).astype(int)
    areas = [
        np.prod(decoding.decode(image).shape[:2])
        for image, _ in examples.pick(places)
    ]
    return int(np.median(areas))


def balance(counts: np.ndarray) -> np.ndarray:
    """Returns the weight of each class's images, [classes]; their mean is 1.

    scikit-learn's "balanced": images / (classes * images of the class).
    """
    present = np.count_nonzero(counts)
    weights = counts.sum() / (present * np.maximum(counts, 1))
    return weights.astype("float32")


def warn_of_imbalance(
    examples: examples_lib.Examples, class_weights: str
) -> None:
    """Says before training if some classes have far fewer images."""
    counts = count_classes(examples)
    least, most = int(counts.argmin()), int(counts.argmax())
    if counts[most] < UNBALANCED * max(counts[least], 1):
        return
    names = examples.class_names
    advice = "classes count alike, as class_weights=balanced says"
    if class_weights == "none":
        advice = (
            "small classes will be found less often. More images of them help "
            "most; --set=class_weights=balanced lets all classes count alike"
        )
    logging.warning(
        "The training images are unbalanced, from %d of %r to %d of %r: %s.",
        counts[least],
        names[least],
        counts[most],
        names[most],
        advice,
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
        """Returns (images, one-hot labels), resumable from any step.

        With balanced classes, a third part has the images' weights.
        """
        mix = functools.partial(
            mixing.mix,
            classes=len(self.classifier.class_names),
            mixup_alpha=self.config.mixup_alpha,
            mixup_weight=self.config.mixup_weight,
            cutmix_alpha=self.config.cutmix_alpha,
        )
        dataset = datasets.make_epochs_dataset(
            self.examples,
            self._preprocess,
            batch_size=batch_size,
            seed=self.config.seed,
            start_step=start_step,
            batch_transform=mix,
        )
        if self.config.class_weights == "none":
            return dataset
        weights = tf.constant(balance(count_classes(self.examples)))
        return dataset.map(
            # A mixed image weighs as its parts do.
            lambda images, labels: (
                images,
                labels,
                tf.linalg.matvec(labels, weights),
            )
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
            deep_pixels=self.classifier.deep_pixels,
            seed=seed,
        )
        if not config.cutout:
            return image
        half_side = config.cutout * size / 2
        return augmentation.cutout(
            image, seed, half_side=half_side, fill=config.cutout_fill
        )
