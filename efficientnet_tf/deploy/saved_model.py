"""A classifier as a SavedModel that takes tensors or encoded images."""

import os
import pathlib

import keras
import numpy as np
import tensorflow as tf

from efficientnet_tf.data.images import decoding
from efficientnet_tf.deploy import metadata, plan, sample_files
from efficientnet_tf.inference import classifier as classifier_lib, signatures
from efficientnet_tf.utils import (
    documents,
    files,
    image_sizes,
    run_folder,
    targets,
    untrusted,
)

# The endpoint that Keras makes the default signature. By this name of Keras's
# own, `TFLiteConverter.from_saved_model` knows to convert it alone; it would
# convert all, and no file can be decoded in LiteRT.
_TENSOR_ENDPOINT = "serve"

# The largest difference allowed between probabilities before and after export.
TOLERANCE = 1e-4


def export_saved_model(
    classifier: classifier_lib.Classifier, directory: str | os.PathLike
) -> float:
    """Writes a SavedModel with two signatures, and checks its outputs.

    "serving_default" takes `images`, float32 [N, H, W, 3] in [0, 255];
    "serving_bytes" takes `encoded`, strings [N], the bytes of files, and
    decodes, turns and resizes them inside. Both return `probabilities`
    [N, classes], `class_names` [classes] and `prediction` [N]; of labels, a
    prediction is those above their thresholds, divided by bars; of numbers,
    there is `numbers` [N, names] in place of probabilities, and no prediction.

    The bytes are of a JPEG, PNG, GIF, BMP or WebP. What TensorFlow's ops do not
    decode as Pillow does (see `decoding.decode_in_graph`) is an
    InvalidArgumentError that names the format.

    Returns:
      The largest difference from the Keras model's probabilities.

    Raises:
      FileExistsError: the folder holds something else.
      RuntimeError: that difference is above 1e-4; nothing is written.
    """
    plan.check_replaceable(pathlib.Path(directory))
    with files.atomic(pathlib.Path(directory)) as temporary:
        _write(classifier, temporary)
        differences = _compare(classifier, temporary)
        # As it stands, so that NaN is the worst.
        worst = max(
            differences, key=lambda k: np.nan_to_num(differences[k], nan=np.inf)
        )
        if not differences[worst] <= TOLERANCE:
            raise RuntimeError(
                f"The SavedModel differs from the Keras model by "
                f"{differences[worst]:.2g}, more than {TOLERANCE:g}, on "
                f"{worst}."
            )
    return differences[worst]


def write(
    classifier: classifier_lib.Classifier,
    source: object,
    path: pathlib.Path,
    precision: str,
) -> None:
    """Does `export_saved_model`, which needs no other source."""
    export_saved_model(classifier, path)


def load(directory: str | os.PathLike) -> classifier_lib.Classifier:
    """Returns the classifier of a SavedModel.

    Raises:
      FileNotFoundError: nothing in the folder says how images are prepared.
      OSError: a file is missing.
      untrusted.DamagedError: it is damaged, or maps other things than images to
        probabilities.
    """
    directory = pathlib.Path(directory)
    path = directory / run_folder.SETTINGS_FILE
    if not path.exists():
        raise FileNotFoundError(
            f"{directory} has no {path.name}, which names its classes and the "
            "preparation of images."
        )
    read = documents.read(path, metadata.Metadata)
    settings, size = read.settings, read.size
    network = signatures.SavedModel(directory)
    classes = len(settings["class_names"])
    if network.output_shape[-1] != classes:
        raise untrusted.DamagedError(
            f"{directory} gives {network.output_shape[-1]} probabilities, but "
            f"{path.name} names {classes} classes."
        )
    if network.size not in ((None, None), size):
        raise untrusted.DamagedError(
            f"{directory} takes images of {network.size[0]} x "
            f"{network.size[1]} pixels, but {path.name} says "
            f"{image_sizes.show(size)}."
        )
    return classifier_lib.Classifier(network, **settings)


def _write(classifier, path):
    names = tf.constant(classifier.class_names)
    shape = (*classifier.size, 3)

    def serve(images):
        found = classifier.model(images, training=False)
        answer = {
            classifier.outputs.values: found,
            "class_names": tf.identity(names),
        }
        if classifier.target == targets.CLASS:
            answer["prediction"] = tf.gather(names, tf.argmax(found, axis=-1))
        elif classifier.target == targets.LABELS:
            answer["prediction"] = _join_labels(classifier, names, found)
        return answer

    def serve_bytes(encoded):
        images = tf.map_fn(
            lambda image: classifier.preprocess(
                decoding.decode_in_graph(image, classifier.deep_pixels)
            ),
            encoded,
            fn_output_signature=tf.TensorSpec(shape, tf.float32),
        )
        return serve(images)

    archive = keras.export.ExportArchive()
    archive.add_endpoint(
        _TENSOR_ENDPOINT,
        serve,
        [tf.TensorSpec((None, *shape), tf.float32, name="images")],
    )
    archive.add_endpoint(
        metadata.BYTES_SIGNATURE,
        serve_bytes,
        [tf.TensorSpec((None,), tf.string, name="encoded")],
    )
    archive.write_out(str(path), verbose=False)
    files.write_text(
        path / run_folder.SETTINGS_FILE,
        metadata.to_text(classifier.settings, "float32"),
    )


def _join_labels(classifier, names, found):
    """Returns the labels of each image as one text, divided by bars."""
    limits = classifier.thresholds or [targets.THRESHOLD] * len(names)
    chosen = found >= tf.constant(limits, found.dtype)
    bar = targets.SEPARATOR
    texts = tf.where(chosen, tf.strings.join([bar, names])[None], "")
    return tf.strings.regex_replace(
        tf.strings.reduce_join(texts, axis=1), f"^[{bar}]", ""
    )


def _size(classifier, expected):
    """Returns what differences are relative to: 1, or how large numbers are."""
    if classifier.target != targets.NUMBERS:
        return 1.0
    return np.maximum(np.abs(expected).max(axis=0), 1e-6)


def _compare(classifier, path):
    """Returns {kind of file: largest difference from the Keras model}.

    The Keras model gets pixels as in training and evaluation.
    """
    made = sample_files.make(max(classifier.size))
    images = tf.stack(
        [classifier.preprocess(tf.constant(data)) for data in made.values()]
    )
    expected = np.asarray(classifier.model.predict_on_batch(images))
    signatures = tf.saved_model.load(str(path)).signatures
    encoded = tf.constant(list(made.values()))
    differences = {}
    for name, output in (
        ("pixels", signatures[metadata.TENSOR_SIGNATURE](images=images)),
        ("bytes", signatures[metadata.BYTES_SIGNATURE](encoded=encoded)),
    ):
        values = output[classifier.outputs.values]
        found = np.abs(values - expected) / _size(classifier, expected)
        found = found.max(axis=1)
        for kind, difference in zip(made, found, strict=True):
            differences[f"the {name} of {kind}"] = float(difference)
    return differences
