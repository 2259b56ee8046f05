"""A classifier as a SavedModel that takes tensors or encoded images."""

import os
import pathlib

import keras
import numpy as np
import tensorflow as tf

from efficientnet_tf.inference import classifier as classifier_lib
from efficientnet_tf.utils import files

TENSOR_SIGNATURE = "serving_default"
BYTES_SIGNATURE = "serving_bytes"

# The largest difference allowed between probabilities before and after export.
TOLERANCE = 1e-4


def export_saved_model(
    classifier: classifier_lib.Classifier, directory: str | os.PathLike
) -> float:
    """Writes a SavedModel with two signatures, and checks its outputs.

    "serving_default" takes `images`, float32 [N, size, size, 3] in [0, 255];
    "serving_bytes" takes `encoded`, strings [N] of JPEG, PNG, GIF, BMP or
    WebP, and decodes, crops and resizes inside. Both return `probabilities`
    [N, classes], `class_names` [classes] and `prediction` [N].

    Returns:
      The largest difference from the Keras model's probabilities.

    Raises:
      FileExistsError: the folder holds something else.
      RuntimeError: that difference is above 1e-4; nothing is written.
    """
    _check_replaceable(pathlib.Path(directory))
    with files.atomic(pathlib.Path(directory)) as temporary:
        _write(classifier, temporary)
        difference = _largest_difference(classifier, temporary)
        if not difference <= TOLERANCE:
            raise RuntimeError(
                f"The SavedModel differs from the Keras model by "
                f"{difference:.2g}, more than {TOLERANCE:g}."
            )
    return difference


def _check_replaceable(directory):
    files.check_folder(directory)
    if not directory.exists() or not any(directory.iterdir()):
        return
    if not (directory / "saved_model.pb").exists():
        raise FileExistsError(
            f"{directory} holds something other than a SavedModel; choose "
            "another folder."
        )


def _write(classifier, path):
    names = tf.constant(classifier.class_names)
    size = classifier.resolution

    def serve(images):
        probabilities = classifier.model(images, training=False)
        prediction = tf.gather(names, tf.argmax(probabilities, axis=-1))
        return {
            "probabilities": probabilities,
            "class_names": tf.identity(names),
            "prediction": prediction,
        }

    def serve_bytes(encoded):
        images = tf.map_fn(
            classifier.preprocess,
            encoded,
            fn_output_signature=tf.TensorSpec((size, size, 3), tf.float32),
        )
        return serve(images)

    archive = keras.export.ExportArchive()
    archive.track(classifier.model)
    archive.add_endpoint(
        TENSOR_SIGNATURE,
        serve,
        [tf.TensorSpec((None, size, size, 3), tf.float32, name="images")],
    )
    archive.add_endpoint(
        BYTES_SIGNATURE,
        serve_bytes,
        [tf.TensorSpec((None,), tf.string, name="encoded")],
    )
    archive.write_out(str(path), verbose=False)


def _largest_difference(classifier, path):
    """Compares both signatures with the Keras model on one image of noise."""
    size = classifier.resolution
    noise = np.random.default_rng(0).integers(
        0, 256, (size + 33, size + 65, 3), dtype=np.uint8
    )
    encoded = tf.io.encode_png(noise)
    images = classifier.preprocess(encoded)[None]
    expected = np.asarray(classifier.model.predict_on_batch(images))
    signatures = tf.saved_model.load(str(path)).signatures
    outputs = (
        signatures[TENSOR_SIGNATURE](images=images),
        signatures[BYTES_SIGNATURE](encoded=encoded[None]),
    )
    return max(
        float(np.abs(output["probabilities"] - expected).max())
        for output in outputs
    )
