"""A set's images, decoded once and all of one size, for crops on the device."""

import dataclasses
import functools
import hashlib
import itertools
import pathlib
import shutil

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from efficientnet_tf import (
    data,
    downloads,
    files,
    preprocessing,
    records,
)

# Bytes of pixels: what is more is kept in a file, and what is more than the
# second limit is decoded anew in each epoch.
MEMORY_LIMIT = 2 * 2**30
DISK_LIMIT = 64 * 2**30
# Of these the sizes are looked at before all are decoded.
TRIED_IMAGES = 64
BATCH_SIZE = 64


@dataclasses.dataclass(frozen=True)
class Canvases:
    """Images [N, H, W, 3] in uint8, their sizes before, and labels [N]."""

    pixels: np.ndarray
    shapes: np.ndarray
    labels: np.ndarray
    examples: data.Examples

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
        source = records.Indexed(
            (
                tf.range(len(self.labels)),
                tf.constant(self.shapes),
                tf.constant(self.labels),
            ),
            lambda number, shape, label: ((number, shape), label),
            self.examples.source.names
            if isinstance(self.examples.source, records.Indexed)
            else None,
        )
        height, width = self.pixels.shape[1:3]

        def place(image, image_seed):
            number, shape = image
            crop, mirrored = draw(shape, image_seed)
            scale = tf.constant([height, width]) / shape[:2]
            scale = tf.cast(tf.tile(scale, [2]), "float32")
            return number, tf.cast(crop, "float32") * scale, mirrored

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

        return data.make_epochs_dataset(
            data.Examples(
                source, self.examples.class_names, self.examples.fingerprint
            ),
            place,
            batch_size=batch_size,
            seed=seed,
            start_step=start_step,
            batch_transform=take,
        )


def prepare(examples, side):
    """Decodes all images, or returns None where they are too many.

    Images that are all of one size, and not larger, stay as they are; others
    become squares of `side` pixels, their aspect let go.

    Args:
      examples: a `data.Examples`.
      side: pixels.

    Returns:
      `Canvases` or None.
    """
    height, width = _common_shape(examples) or (side, side)
    if height * width > side**2:
        height = width = side
    count = examples.size
    size = count * height * width * 3
    if size <= MEMORY_LIMIT:
        pixels = np.empty((count, height, width, 3), "uint8")
        return Canvases(pixels, *_fill(pixels, examples), examples)
    folder = _folder(examples, height, width)
    if folder.exists():
        logging.info("Decoded images from %s.", folder)
        return _open(folder, examples)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if size > min(DISK_LIMIT, shutil.disk_usage(folder.parent).free / 2):
        logging.info("%d images are decoded anew in each epoch.", count)
        return None
    logging.info("%.1f GB of decoded images go to %s.", size / 1e9, folder)
    with files.atomic(folder) as temporary:
        temporary.mkdir()
        pixels = np.lib.format.open_memmap(
            temporary / "pixels.npy", "w+", "uint8", (count, height, width, 3)
        )
        shapes, labels = _fill(pixels, examples)
        pixels.flush()
        np.save(temporary / "shapes.npy", shapes)
        np.save(temporary / "labels.npy", labels)
    return _open(folder, examples)


def _folder(examples, height, width):
    key = f"{examples.fingerprint}:{height}:{width}"
    digest = hashlib.sha256(key.encode()).hexdigest()[:32]
    return pathlib.Path(downloads.cache_dir()) / "canvases" / digest


def _open(folder, examples):
    return Canvases(
        np.load(folder / "pixels.npy", mmap_mode="r"),
        np.load(folder / "shapes.npy"),
        np.load(folder / "labels.npy"),
        examples,
    )


def _common_shape(examples):
    """Returns the height and width of the first images, or None."""
    first = itertools.islice(examples.dataset, TRIED_IMAGES)
    try:
        shapes = {
            tuple(preprocessing.decode(image).shape[:2]) for image, _ in first
        }
    except tf.errors.InvalidArgumentError:
        return None  # What decodes all of them names the one.
    return shapes.pop() if len(shapes) == 1 else None


def _fill(pixels, examples):
    """Decodes into `pixels`; returns shapes [N, 3] and labels [N]."""
    dataset = data.make_eval_dataset(
        examples,
        functools.partial(_paint, shape=pixels.shape[1:3]),
        batch_size=BATCH_SIZE,
    )
    logging.info("Decoding %d images once.", examples.size)
    bar = keras.utils.Progbar(examples.size)
    shapes, labels, done = [], [], 0
    for (images, originals), batch_labels in dataset.as_numpy_iterator():
        pixels[done : done + len(images)] = images
        shapes.append(originals)
        labels.append(batch_labels)
        done += len(images)
        bar.add(len(images))
    return np.concatenate(shapes), np.concatenate(labels)


def _paint(image, shape):
    image = preprocessing.decode(image)
    original = tf.shape(image)

    def resized():
        # Averages where it becomes smaller: crops are taken from it later.
        pixels = tf.image.resize(image, shape, "bicubic", antialias=True)
        return tf.saturate_cast(tf.round(pixels), "uint8")

    image = tf.cond(
        tf.reduce_all(original[:2] == shape),
        lambda: tf.cast(image, "uint8"),
        resized,
    )
    return tf.ensure_shape(image, [*shape, 3]), original
