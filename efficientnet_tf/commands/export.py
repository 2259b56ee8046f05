"""Exports a classifier as a SavedModel or in Keras's own layers.

efficientnet export --model=efficientnet_lite0 --output=/tmp/lite0
"""

import dataclasses
import typing
from collections.abc import Callable

from absl import flags

from efficientnet_tf.commands import program, shared, summary
from efficientnet_tf.utils import configs
from efficientnet_tf.weights import catalog

if typing.TYPE_CHECKING:
    from efficientnet_tf.inference import classifier as classifier_lib


@dataclasses.dataclass(frozen=True)
class Format:
    """One row: how it is written, how it is used, and how its output ends.

    `decodes`: whether what is written decodes image files.
    `export` takes a classifier and the output, and returns the largest
    difference from the classifier's probabilities. `describe` takes the number
    of pixels a side and returns rows of the summary.
    """

    export: Callable[["classifier_lib.Classifier", str], float]
    describe: Callable[[int], dict[str, str]]
    suffix: str = ""
    decodes: bool = False


def _export_saved_model(classifier, output):
    from efficientnet_tf.deploy import saved_model

    return saved_model.export_saved_model(classifier, output)


def _describe_saved_model(size):
    from efficientnet_tf.deploy import saved_model

    return {
        saved_model.TENSOR_SIGNATURE: f"images, [N, {size}, {size}, 3]",
        saved_model.BYTES_SIGNATURE: "encoded JPEG, PNG, ... files, [N]",
    }


def _export_keras(classifier, output):
    from efficientnet_tf.deploy import keras_file

    return keras_file.export_keras(classifier, output)


def _describe_keras(size):
    return {
        "loads with": "keras.models.load_model, without this package",
        "takes": f"images in [0, 255], [N, {size}, {size}, 3]",
    }


FORMATS = {
    "saved_model": Format(
        _export_saved_model, _describe_saved_model, decodes=True
    ),
    "keras": Format(_export_keras, _describe_keras, suffix=".keras"),
}

WORKDIR = flags.DEFINE_string("workdir", None, shared.WORKDIR_HELP)
MODEL = flags.DEFINE_string("model", None, shared.MODEL_HELP)
WEIGHTS = flags.DEFINE_string("weights", "imagenet", shared.WEIGHTS_HELP)
SOURCE_FAMILY, NORMALIZATION = shared.define_weights_flags()
DEEP_PIXELS = flags.DEFINE_string("deep_pixels", None, shared.DEEP_PIXELS_HELP)
FORMAT = flags.DEFINE_string(
    "format", "saved_model", f"One of {', '.join(FORMATS)}."
)
OUTPUT = flags.DEFINE_string(
    "output", None, "The SavedModel's folder, or NAME.keras."
)
flags.mark_flag_as_required("output")


def main(_: list[str]) -> None:
    row = _get_format(FORMAT.value, OUTPUT.value)
    if DEEP_PIXELS.value and not row.decodes:
        raise ValueError(
            f"--deep_pixels={DEEP_PIXELS.value} is without effect for "
            f"--format={FORMAT.value}, which decodes no files."
        )
    classifier = shared.load_classifier(
        MODEL.value,
        catalog.parse(WEIGHTS.value),
        WORKDIR.value,
        source_family=SOURCE_FAMILY.value,
        normalization=NORMALIZATION.value,
        deep_pixels=DEEP_PIXELS.value,
    )
    difference = row.export(classifier, OUTPUT.value)
    summary.print_summary(
        f"Exported {WORKDIR.value or MODEL.value} to {OUTPUT.value}.",
        {
            **row.describe(classifier.resolution),
            "checked": f"differs from the Keras model by {difference:.1g}",
        },
    )
    program.print_result(
        {
            "output": OUTPUT.value,
            "format": FORMAT.value,
            "classes": len(classifier.class_names),
            "resolution": classifier.resolution,
            "max_difference": difference,
        }
    )


def _get_format(name, output):
    if name not in FORMATS:
        raise ValueError(configs.unknown("format", name, FORMATS))
    row = FORMATS[name]
    if not output.endswith(row.suffix):
        raise ValueError(
            f"--output={output} must end in {row.suffix} for --format={name}."
        )
    return row


if __name__ == "__main__":
    program.run(main)
