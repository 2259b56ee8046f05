"""A set's images, decoded once and kept, for crops on the device."""

import dataclasses
import hashlib
import os
import pathlib
import shutil

import numpy as np
import tensorflow as tf
import tqdm
from absl import logging

from efficientnet_tf.data import (
    datasets,
    examples as examples_lib,
    preprocessing,
)
from efficientnet_tf.utils import files, workers
from efficientnet_tf.weights import downloads

# Bytes of pixels: what is more is kept in a file, and what is more than the
# second limit is decoded anew in each epoch. All files together keep to it.
MEMORY_LIMIT = 2 * 2**30
DISK_LIMIT = 64 * 2**30
BATCH_SIZE = 64


@dataclasses.dataclass
class Canvases:
    """Images in the upper left of uint8 [N, H, W, 3], as large as the largest.

    `shapes` [N, 3] are those of the images, `labels` [N] their classes.
    """

    pixels: np.ndarray
    shapes: np.ndarray
    labels: np.ndarray
    examples: examples_lib.Examples

    def make_dataset(self, draw, *, batch_size, seed, start_step, mixture):
        """Turns them into endless batches of what `device_augmentation` takes.

        Args:
          draw: maps the shape of an image, int32 [3], and a seed to a crop
            [4] in its pixels (top, left, height, width) and whether to mirror
            it.
          batch_size: how many images a batch has.
          seed: an integer.
          start_step: how many batches have been seen.
          mixture: maps (labels, seed) of a batch to labels and more inputs.
        """
        columns = tf.range(len(self.labels)), self.shapes, self.labels
        source = examples_lib.Indexed(
            tuple(tf.constant(column) for column in columns),
            lambda number, shape, label: ((number, shape), label),
        )
        height, width = self.pixels.shape[1:3]

        def place(image, image_seed):
            number, shape = image
            box, mirrored = draw(shape, image_seed)
            return number, tf.cast(box, "float32"), mirrored

        def take(rows, labels, batch_seed):
            numbers, boxes, mirrored = rows
            images = tf.numpy_function(
                lambda chosen: self.pixels[chosen], [numbers], "uint8"
            )
            images.set_shape([batch_size, height, width, 3])
            labels, drawn = mixture(labels, batch_seed)
            flips = tf.cast(mirrored, "float32")
            inputs = {"images": images, "boxes": boxes, "flips": flips}
            return {**inputs, **drawn}, labels

        return datasets.make_epochs_dataset(
            examples_lib.Examples(
                source, self.examples.class_names, self.examples.fingerprint
            ),
            place,
            batch_size=batch_size,
            seed=seed,
            start_step=start_step,
            batch_transform=take,
        )

    def close(self):
        """Lets the pixels go, which TensorFlow's graphs would hold for good."""
        self.pixels = None


def prepare(examples, max_side):
    """Decodes all images, or returns None where they are too large or many.

    Args:
      examples: a `examples.Examples`.
      max_side: pixels that the longer side of an image may have.

    Returns:
      `Canvases` or None.
    """
    scanned = _scan(examples, max_side)
    if scanned is None:
        return None
    shapes, labels = scanned
    height, width = (int(side) for side in shapes[:, :2].max(axis=0))
    shape = len(shapes), height, width, 3
    size = int(np.prod(shape))
    if size <= MEMORY_LIMIT:
        pixels = np.zeros(shape, "uint8")
        _fill(pixels, examples)
        return Canvases(pixels, shapes, labels, examples)
    path = _path(examples, shape)
    # One at a time: several runs of a grid want the same.
    with workers.lock(path.parent, "canvases"):
        if not path.exists() and not _write(path, shape, examples):
            return None
        logging.info("Decoded images from %s.", path)
        os.utime(path)  # Used now, see `files.prune`.
        pixels = np.load(path, mmap_mode="r")
    return Canvases(pixels, shapes, labels, examples)


def _path(examples, shape):
    key = f"{examples.fingerprint}:{shape}"
    digest = hashlib.sha256(key.encode()).hexdigest()[:32]
    return pathlib.Path(downloads.cache_dir()) / "canvases" / f"{digest}.npy"


def _write(path, shape, examples):
    """Whether there was room for the file."""
    files.remove_leftovers(path.parent)
    size = int(np.prod(shape))
    cached = sum(file.stat().st_size for file in path.parent.glob("*.npy"))
    room = shutil.disk_usage(path.parent).free + cached
    limit = min(DISK_LIMIT, room / 2)
    if size > limit:
        logging.info("%d images are decoded anew in each epoch.", shape[0])
        return False
    files.prune(path.parent, limit - size)
    logging.info("%.1f GB of decoded images go to %s.", size / 1e9, path)
    with files.atomic(path) as temporary:
        pixels = np.lib.format.open_memmap(temporary, "w+", "uint8", shape)
        _fill(pixels, examples)
        pixels.flush()
    return True


def _scan(examples, max_side):
    """Returns shapes [N, 3] and labels [N]; None once an image is too large."""
    dataset = datasets.make_eval_dataset(
        examples, _shape, batch_size=BATCH_SIZE
    )
    shapes, labels = [], []
    for batch, batch_labels in dataset.as_numpy_iterator():
        height, width = batch[:, :2].max(axis=0)
        if max(height, width) > max_side:
            # Large sets are large images, mostly: the rest is not even read.
            logging.info(
                "Images up to %d x %d are cropped as read.", height, width
            )
            return None
        shapes.append(batch)
        labels.append(batch_labels)
    return np.concatenate(shapes), np.concatenate(labels)


def _shape(image):
    if image.dtype != tf.string:
        return tf.shape(image)
    shape = tf.cond(
        tf.image.is_jpeg(image),
        # Without decoding it; a grey one is decoded to three channels.
        lambda: tf.concat([tf.image.extract_jpeg_shape(image)[:2], [3]], 0),
        lambda: tf.shape(preprocessing.decode(image)),
    )
    return tf.ensure_shape(shape, [3])


def _fill(pixels, examples):
    """Decodes all images into zeros [N, H, W, 3]."""
    height, width = pixels.shape[1:3]

    def paint(image):
        image = preprocessing.decode(image)
        image = tf.image.pad_to_bounding_box(image, 0, 0, height, width)
        return tf.cast(image, "uint8")

    dataset = datasets.make_eval_dataset(examples, paint, batch_size=BATCH_SIZE)
    logging.info("Decoding %d images once.", examples.size)
    done = 0
    with tqdm.tqdm(
        desc="Decoding", total=examples.size, unit="image", disable=None
    ) as bar:
        for images, _ in dataset.as_numpy_iterator():
            pixels[done : done + len(images)] = images
            done += len(images)
            bar.update(len(images))
