"""Batches of a transfer set: augmented to train on, in order to evaluate."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from absl import logging

from efficientnet_tf.data import (
    datasets,
    examples as examples_lib,
    preprocessing,
    sampling,
)
from efficientnet_tf.data.augment import augmentation, mixing
from efficientnet_tf.data.images import decoding
from efficientnet_tf.inference import classifier as classifier_lib
from efficientnet_tf.utils import targets
from transfer.config import class_weights, recipes
from transfer.training import number_scale

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


def check_balance(
    examples: examples_lib.Examples, config: recipes.FinetuneConfig
) -> None:
    """Says before training if some classes have far fewer images.

    Raises:
      ValueError: the config weighs a class that there is not, or draws evenly
        from images that cannot be read in any order.
    """
    config.weigh(examples.class_names)
    if config.sampling == class_weights.BALANCED:
        sampling.check_indexed(examples)
    counts = count_classes(examples)
    least, most = int(counts.argmin()), int(counts.argmax())
    if counts[most] < UNBALANCED * max(counts[least], 1):
        return
    names = examples.class_names
    advice = (
        "small classes will be found less often. More images of them help "
        "most; --class_weight=auto lets all classes count alike"
    )
    if config.class_weight != class_weights.NONE:
        advice = f"they count as class_weight={config.class_weight} says"
    elif config.sampling == class_weights.BALANCED:
        advice = "classes are drawn equally often, as sampling=balanced says"
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

    The preparation of images is the classifier's, all else is the config's.
    `flip`: whether a mirror image keeps its class.
    """

    examples: examples_lib.Examples
    classifier: classifier_lib.Classifier
    config: recipes.FinetuneConfig
    flip: bool

    @property
    def size(self) -> int:
        """How many images an epoch has."""
        return self._drawn.size

    @functools.cached_property
    def scale(self) -> number_scale.Scale | None:
        """Of numbers: what they are scaled by; None: there are none."""
        return number_scale.find(self.examples)

    @functools.cached_property
    def _weights(self):
        """What each image counts in the loss [N]; None: all count alike."""
        if self.examples.target != targets.CLASS:
            return self.examples.read_weights()
        # What is drawn equally often needs no more weight.
        weighing = class_weights.Weighing(
            self.examples.class_names, self.config.class_weight
        )
        return weighing.weigh(
            self.examples.read_labels(), self.examples.read_weights()
        )

    @functools.cached_property
    def _drawn(self):
        """The examples as they are drawn, with their own weights if any."""
        examples = self.examples
        if self.config.sampling == class_weights.BALANCED:
            examples = sampling.balance(examples)
        if examples.read_weights() is None:
            return examples
        return sampling.attach_weights(examples, self._weights)

    def make_dataset(
        self, batch_size: int, *, start_step: int = 0
    ) -> tf.data.Dataset:
        """Returns (images, one-hot labels), resumable from any step.

        Where classes or images have weights, a third part has the images'.
        """
        classes = len(self.classifier.class_names)
        has_own = self.examples.read_weights() is not None
        mix_all: Callable = mixing.mix
        if has_own:
            mix_all = functools.partial(
                sampling.mix_weighted, target=self.examples.target
            )
        mix = functools.partial(
            mix_all,
            classes=classes,
            mixup_alpha=self.config.mixup_alpha,
            mixup_weight=self.config.mixup_weight,
            cutmix_alpha=self.config.cutmix_alpha,
        )
        dataset = datasets.make_epochs_dataset(
            self._drawn,
            self._preprocess,
            batch_size=batch_size,
            seed=self.config.seed,
            start_step=start_step,
            batch_transform=mix,
        )
        if self.scale is not None:
            scale = self.scale
            # Mixtures are as they would be of scaled numbers.
            dataset = dataset.map(
                lambda images, labels, *rest: (
                    (images, scale.apply(labels), *rest)
                )
            )
        if has_own or self._weights is None:
            return dataset
        # Records cannot have a weight each, but all of a class weigh the same.
        weights = np.zeros(classes, "float32")
        weights[self.examples.read_labels()] = self._weights
        return dataset.map(
            # A mixed image weighs as its parts do.
            lambda images, labels: (
                images,
                labels,
                tf.linalg.matvec(labels, weights),
            )
        )

    def make_validation_set(
        self, examples: examples_lib.Examples
    ) -> tf.data.Dataset:
        """Returns (images, labels) as training has them, in order."""
        dataset = make_eval_dataset(examples, self.classifier)
        if examples.target != targets.CLASS:
            scale = self.scale or number_scale.NONE
            return dataset.map(
                lambda images, labels: (images, scale.apply(labels))
            )
        classes = len(self.classifier.class_names)
        return dataset.map(
            lambda images, labels: (images, tf.one_hot(labels, classes))
        )

    def _preprocess(self, image, seed):
        config, preparation = self.config, self.classifier.preparation
        image = preprocessing.prepare_for_train(
            image,
            preparation,
            min_area=config.min_area,
            crop_from=config.crop_from,
            flip=self.flip,
            seed=seed,
        )
        if not config.cutout:
            return image
        half_side = config.cutout * min(preparation.size) / 2
        return augmentation.cutout(
            image, seed, half_side=half_side, fill=config.cutout_fill
        )
