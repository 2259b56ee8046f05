"""Small networks and small folders of images."""

import pathlib


def make_folder(root, counts, size=40):
    """Writes {class name: number of PNG images}, of one colour a class.

    The top left pixel tells the images of a class apart.
    """
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0)
    for label, (name, count) in enumerate(counts.items()):
        folder = pathlib.Path(root) / name
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = noise.integers(0, 60, (size, size, 3), dtype=np.uint8)
            pixels[..., label % 3] += 190
            pixels[0, 0] = (i, label, 0)
            Image.fromarray(pixels).save(folder / f"{i:03d}.png")
    return pathlib.Path(root)


def make_tiny_row(variants):
    """A network of the family that builds and trains within seconds."""
    import dataclasses

    b0 = variants.VARIANTS["efficientnet_b0"]
    return dataclasses.replace(
        b0, width=0.25, stages=b0.stages[:2], head_filters=128, resolution=32
    )


def write_checkpoint(prefix, arrays):
    """Writes a checkpoint of TensorFlow 1: plain names, no object graph."""
    import tensorflow as tf

    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(arrays),
        shape_and_slices=[""] * len(arrays),
        tensors=[tf.constant(value) for value in arrays.values()],
    )
    return str(prefix)
