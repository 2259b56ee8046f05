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


CLASS_NAMES = ("a cat", "ein Hund", "日本", "d,\n")


def make_images(count, size=32):
    """Returns images [count, size, size, 3] in [0, 255], of coarse patches."""
    import numpy as np

    coarse = np.random.default_rng(1).uniform(0, 255, (count, 4, 4, 3))
    side = size // 4
    return np.kron(coarse, np.ones((1, side, side, 1))).astype("float32")


def make_classifier(images, name="efficientnet_lite0"):
    """Of a network's layers, random, with outputs that tell images apart."""
    import dataclasses

    import keras
    import numpy as np

    from efficientnet_tf.inference import classifier
    from efficientnet_tf.models import builder, variants

    size = images.shape[1]
    row = variants.VARIANTS[name]
    row = dataclasses.replace(
        row, width=0.25, stages=row.stages[:2], head_filters=64, resolution=size
    )
    keras.utils.set_random_seed(0)
    network = builder.build(
        row, classes=len(CLASS_NAMES), input_shape=(size, size, 3)
    )
    rng = np.random.default_rng(0)
    for variable in network.trainable_variables:
        noise = rng.normal(0, 0.1, variable.shape)
        variable.assign_add(noise.astype("float32"))
    head = network.get_layer("predictions")
    logits = np.log(network.predict_on_batch(images))
    scale = 2 / logits.std(0).mean()
    head.kernel.assign(scale * head.kernel)
    head.bias.assign(scale * (head.bias - logits.mean(0)))
    return classifier.Classifier(network, CLASS_NAMES, size, "bilinear", 4)


def make_trained_network(variant, classes=4, size=32):
    """A network whose weights and batch statistics are like trained ones."""
    import keras
    import numpy as np

    from efficientnet_tf.models import builder

    network = builder.build(
        variant, classes=classes, input_shape=(size, size, 3)
    )
    rng = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            layer.gamma.assign(rng.uniform(0.5, 1.5, shape))
            layer.beta.assign(rng.normal(0, 0.3, shape))
            layer.moving_mean.assign(rng.normal(0, 0.3, shape))
            layer.moving_variance.assign(rng.uniform(0.5, 2, shape))
    return network
