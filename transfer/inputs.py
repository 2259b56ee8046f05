"""Batches; those to train on cropped on the device where a set is small."""

import functools

import numpy as np
import tensorflow as tf
from absl import logging

from efficientnet_tf.data import (
    augmentation,
    datasets,
    device_augmentation,
    mixing,
    preprocessing,
)
from transfer import decoded_cache

# Of the resolution: cropping larger images on a CPU takes longer than decoding
# them anew.
MAX_SIDE = 2.0
EVAL_BATCH_SIZE = 64


def make_eval_dataset(examples, result):
    """Returns (images, labels) of a `classifier.Classifier`, each once."""
    return datasets.make_eval_dataset(
        examples, result.preprocess, batch_size=EVAL_BATCH_SIZE
    )


class Feed:
    """Endless shuffled, cropped, flipped and mixed batches of a set.

    Where `augmentation` is not None, batches hold stored pixels and what was
    drawn, and the `Trainer` must be given it.

    Args:
      examples: `examples.Examples` to train on.
      result: a `classifier.Classifier` with resolution and interpolation.
      config: a `recipes.FinetuneConfig` without a rule.
      flip: whether mirror images are of the same class.
      max_side: of the resolution; larger images are cropped on the host.
    """

    def __init__(self, examples, result, config, *, flip, max_side=MAX_SIDE):
        self._examples, self._config, self._flip = examples, config, flip
        self._size = result.resolution
        self._max_side = max_side * self._size
        self._interpolation = result.interpolation
        self._keep_aspect = result.crop_padding is not None
        self._mixture = {
            "classes": len(result.class_names),
            "mixup_alpha": config.mixup_alpha,
            "cutmix_alpha": config.cutmix_alpha,
        }
        self._canvases = self._prepare()
        self.augmentation = None
        if self._canvases is not None:
            self.augmentation = functools.partial(
                device_augmentation.augment,
                size=self._size,
                interpolation=self._interpolation,
            )

    @property
    def size(self):
        return self._examples.size

    def make_dataset(self, batch_size, *, start_step=0):
        """Returns a dataset of (inputs, one-hot labels)."""
        settings = {
            "batch_size": batch_size,
            "seed": self._config.seed,
            "start_step": start_step,
        }
        if self._canvases is None:
            return datasets.make_epochs_dataset(
                self._examples,
                self._preprocess,
                batch_transform=functools.partial(mixing.mix, **self._mixture),
                **settings,
            )
        return self._canvases.make_dataset(
            self._draw, mixture=self._draw_mixture, **settings
        )

    def augment(self, batch):
        """Returns the images [N, size, size, 3] of a batch's inputs."""
        if self.augmentation is None:
            return batch
        return self.augmentation({k: np.asarray(v) for k, v in batch.items()})

    def close(self):
        """Lets the decoded images go; no data set works after it."""
        if self._canvases is not None:
            self._canvases.close()

    def _prepare(self):
        """Returns canvases, or None where the host is to crop."""
        if self._config.cutout:
            logging.info("Images with cutout are cropped as read.")
            return None
        return decoded_cache.prepare(self._examples, self._max_side)

    def _draw(self, shape, seed):
        """Draws what `_preprocess` would: a crop, and whether to mirror it."""
        config = self._config
        if config.resize:
            offset = preprocessing.draw_offset(config.resize - self._size, seed)
            box = tf.concat([offset, [self._size, self._size]], axis=0)
            scale = tf.tile(shape[:2], [2]) / config.resize
            box = tf.cast(box, "float64") * scale
        else:
            box = preprocessing.draw_crop(
                shape, self._size, config.min_area, self._keep_aspect, seed
            )
        mirrored = preprocessing.draw_flip(seed) if self._flip else False
        return box, tf.convert_to_tensor(mirrored)

    def _draw_mixture(self, labels, seed):
        labels, drawn = mixing.draw(
            labels, seed, size=self._size, **self._mixture
        )
        mixed = self._config.mixup_alpha or self._config.cutmix_alpha
        return labels, drawn if mixed else {}

    def _preprocess(self, image, seed):
        config = self._config
        cutout = None
        if config.cutout:
            cutout = functools.partial(
                augmentation.cutout, half_side=config.cutout * self._size / 2
            )
        settings = {"interpolation": self._interpolation, "flip": self._flip}
        if config.resize:
            settings["resize"] = config.resize
        else:
            settings["min_area"] = config.min_area
            settings["keep_aspect"] = self._keep_aspect
        return preprocessing.preprocess_for_train(
            image, self._size, augment=cutout, seed=seed, **settings
        )
